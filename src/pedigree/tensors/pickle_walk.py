# SPDX-License-Identifier: Apache-2.0
"""What tensors a PyTorch pickle describes, without running any of it.

A pickle is a program.  This reads it with a machine of its own that knows the few
instructions and the few names that a map of tensors needs, and makes nothing but plain
values of them: nothing is imported, looked up or called.  Whatever else a pickle holds
is refused with its place, for what is not understood could do anything.

Source: ``Lib/pickletools.py`` of Python 3.11 for the instructions,
``torch/_utils.py`` and ``torch/serialization.py`` of PyTorch 2.x for the names.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import Enum
from typing import Any, NoReturn

from pedigree.errors import ArtifactError, quote
from pedigree.tensors.pickle_words import (
    OPCODES,
    STORAGES,
    TORCH_DTYPES,
    Storage,
    StorageType,
    Strided,
    TensorType,
)

PICKLE_MAX_BYTES = 64 << 20
OPCODES_MAX = 5_000_000
STACK_MAX = 1_000_000
MEMO_MAX = 4_000_000
_LONG_MAX_BYTES = 16
_LINE_MAX_BYTES = 128
_KEY_LIMIT = 2**31
"""Integers as keys count parameters; larger ones could be made to collide."""


class _Call(Enum):
    """Names that may be called, and what is made of them instead."""

    TENSOR = "_rebuild_tensor_v2"
    TENSOR_TYPED = "_rebuild_tensor_v3"
    PARAMETER = "_rebuild_parameter"
    ORDERED = "OrderedDict"
    SIZE = "Size"


class _Ordered(dict[Any, Any]):
    """Stands for ``collections.OrderedDict``, whose state may be set."""


_NAMES: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _Call.ORDERED,
    ("torch._utils", "_rebuild_tensor_v2"): _Call.TENSOR,
    ("torch._utils", "_rebuild_tensor_v3"): _Call.TENSOR_TYPED,
    ("torch._utils", "_rebuild_parameter"): _Call.PARAMETER,
    ("torch", "Size"): _Call.SIZE,
    ("torch.storage", "UntypedStorage"): StorageType("U8"),
    **{("torch", name): StorageType(dtype) for name, dtype in STORAGES.items()},
    **{("torch", name): TensorType(dtype) for name, dtype in TORCH_DTYPES.items()},
}


def walk(data: bytes, *, path: str) -> tuple[object, dict[str, Storage]]:
    """Read a pickle that describes tensors.

    Args:
        data: The whole pickle.
        path: File it came from, for messages.

    Returns:
        What it describes: dictionaries, lists and tuples of :class:`Strided` and of
        plain values; containers may be shared and may hold themselves.  And the
        storages it names, by key.

    Raises:
        ArtifactError: ``ForbiddenPickle``, or ``LimitExceeded``.
    """
    if len(data) > PICKLE_MAX_BYTES:
        raise ArtifactError(
            f"pickle of {quote(path)} is {len(data)} bytes, "
            f"allowed are {PICKLE_MAX_BYTES}",
            reason="LimitExceeded",
            path=path,
        )
    machine = _Machine(data, path)
    return machine.run(), machine.storages


class _Machine:
    """Stack, marks and memo of one reading."""

    def __init__(self, data: bytes, path: str) -> None:
        self.data, self.path = data, path
        self.at = self.start = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def refuse(self, got: str) -> NoReturn:
        raise ArtifactError(
            f"pickle of {quote(self.path)} {got} at byte {self.start}; wanted nothing "
            "but a map of tensors",
            reason="ForbiddenPickle",
            hint="do not load this file; ask for the weights as safetensors",
            path=self.path,
        )

    def limit(self, what: str, allowed: int) -> NoReturn:
        raise ArtifactError(
            f"pickle of {quote(self.path)} has over {allowed} {what}; it was built to "
            "exhaust memory",
            reason="LimitExceeded",
            path=self.path,
        )

    def run(self) -> object:
        if self.data[:1] != b"\x80":
            self.refuse("does not begin with PROTO")
        steps = 0
        while True:
            steps += 1
            if steps > OPCODES_MAX:
                self.limit("instructions", OPCODES_MAX)
            self.start = self.at
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                return self.result()
            step = _STEPS.get(code)
            if step is None:
                name = OPCODES.get(code, f"unknown instruction {code:#04x}")
                self.refuse(f"holds {name}")
            step(self)
            if len(self.stack) + len(self.marks) > STACK_MAX:
                self.limit("values on its stack", STACK_MAX)

    def result(self) -> object:
        if len(self.stack) != 1 or self.marks:
            self.refuse("stops with other than one value")
        if self.at != len(self.data):
            self.refuse(f"has {len(self.data) - self.at} bytes after its STOP")
        return self.stack[0]

    def take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self.data):
            self.refuse("is cut off")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            self.refuse("takes a value that is not there")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            self.refuse("takes a mark that is not there")
        first = self.marks.pop()
        items = self.stack[first:]
        del self.stack[first:]
        return items

    def proto(self) -> None:
        if self.start != 0 or not 2 <= self.number(1) <= 5:
            self.refuse("holds a second PROTO or one that is not 2 to 5")

    def frame(self) -> None:
        if self.number(8) > len(self.data) - self.at:
            self.refuse("holds a FRAME that is longer than it")

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def put(self, index: int) -> None:
        if index >= MEMO_MAX:
            self.limit("memo places", MEMO_MAX)
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            self.refuse(f"gets memo {index}, which was not put,")
        self.push(self.memo[index])

    def text(self, width: int) -> None:
        raw = self.take(self.number(width))
        try:
            self.push(raw.decode("utf-8"))
        except UnicodeDecodeError:
            self.refuse("holds text that is not Unicode")

    def long(self, width: int) -> None:
        length = self.number(width)
        if length > _LONG_MAX_BYTES:
            self.refuse(f"holds an integer of {length} bytes")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def signed(self) -> None:
        self.push(int.from_bytes(self.take(4), "little", signed=True))

    def real(self) -> None:
        self.push(struct.unpack(">d", self.take(8))[0])

    def tuple_of(self, length: int) -> None:
        items = [self.pop() for _ in range(length)]
        self.push(tuple(reversed(items)))

    def append(self) -> None:
        self.extend([self.pop()])

    def extend(self, items: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            self.refuse("appends to what is not a list")
        target.extend(items)

    def set_item(self) -> None:
        self.set_items([self.pop(), self.pop()][::-1])

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, dict) or len(items) % 2:
            self.refuse("sets items of what is not a dictionary, or half a pair,")
        for key, value in zip(items[::2], items[1::2], strict=True):
            plain = type(key) is int and 0 <= key < _KEY_LIMIT
            if not plain and type(key) is not str:
                self.refuse("has a key that is neither text nor a small integer")
            if key in target:
                self.refuse(f"sets the key {quote(key)} twice")
            target[key] = value

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + _LINE_MAX_BYTES)
        if end < 0:
            self.refuse("holds a GLOBAL without end")
        raw = self.take(end + 1 - self.at)[:-1]
        if not raw.isascii():
            self.refuse(f"names {quote(raw)}")
        return raw.decode("ascii")

    def name(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str:
            self.refuse("names a global by what is not text")
        found = _NAMES.get((module, name))
        if found is None:
            how = OPCODES[self.data[self.start]]
            self.refuse(f"names {quote(f'{module[:96]}.{name[:96]}')} by {how}")
        self.push(found)

    def stack_name(self) -> None:
        name = self.pop()
        self.name(self.pop(), name)

    def persistent(self) -> None:
        value = self.pop()
        if type(value) is not tuple or len(value) != 5 or value[0] != "storage":
            self.refuse("has a persistent id that is no storage")
        _, kind, key, device, count = value
        if (
            not isinstance(kind, StorageType)
            or type(key) is not str
            or type(device) is not str
            or type(count) is not int
            or count < 0
        ):
            self.refuse("has a malformed storage")
        known = self.storages.setdefault(key, Storage(key, kind.dtype, count))
        if (known.dtype, known.count) != (kind.dtype, count):
            self.refuse(f"describes storage {quote(key)} in two ways")
        self.push(known)

    def reduce(self) -> None:
        arguments = self.pop()
        function = self.pop()
        if not isinstance(function, _Call) or type(arguments) is not tuple:
            self.refuse("holds REDUCE of what may not be called")
        self.push(_CALLS[function](self, arguments))

    def ordered(self, arguments: tuple[Any, ...]) -> object:
        if arguments:
            self.refuse("calls OrderedDict with arguments")
        return _Ordered()

    def size(self, arguments: tuple[Any, ...]) -> object:
        if len(arguments) != 1 or not _is_integers(arguments[0]):
            self.refuse("calls torch.Size with other than integers")
        return arguments[0]

    def parameter(self, arguments: tuple[Any, ...]) -> object:
        if len(arguments) != 3 or not isinstance(arguments[0], Strided):
            self.refuse("makes a parameter of what is no tensor")
        return self.hookless(arguments[0], arguments[1], arguments[2])

    def tensor(self, arguments: tuple[Any, ...]) -> object:
        if len(arguments) != 6:  # a seventh is metadata, of which nothing is known
            self.refuse(f"makes a tensor of {len(arguments)} arguments")
        kind = arguments[0].dtype if isinstance(arguments[0], Storage) else ""
        return self.strided(kind, arguments)

    def tensor_typed(self, arguments: tuple[Any, ...]) -> object:
        if len(arguments) != 7 or not isinstance(arguments[6], TensorType):
            self.refuse("makes a tensor of other than seven arguments with a type")
        return self.strided(arguments[6].dtype, arguments)

    def strided(self, dtype: str, arguments: tuple[Any, ...]) -> object:
        storage, offset, shape, stride, grad, hooks = arguments[:6]
        if (
            not isinstance(storage, Storage)
            or type(offset) is not int
            or not _is_integers(shape)
            or not _is_integers(stride)
            or len(shape) != len(stride)
        ):
            self.refuse("makes a tensor of other than storage, offset, shape, stride")
        found = Strided(storage, dtype, offset, shape, stride)
        return self.hookless(found, grad, hooks)

    def hookless(self, found: Strided, grad: object, hooks: object) -> Strided:
        if type(grad) is not bool or not (hooks is None or hooks == {}):
            self.refuse("makes a tensor with hooks")
        return found

    def build(self) -> None:
        state = self.pop()
        target = self.top()
        # Any other attribute could stand for a method that later steps would call.
        if (
            not isinstance(target, _Ordered)
            or type(state) not in (dict, _Ordered)
            or set(state) - {"_metadata"}
        ):
            self.refuse("holds BUILD with a state that is not _metadata")


def _is_integers(value: object) -> bool:
    return type(value) is tuple and all(type(item) is int for item in value)


_CALLS: dict[_Call, Callable[[_Machine, tuple[Any, ...]], object]] = {
    _Call.TENSOR: _Machine.tensor,
    _Call.TENSOR_TYPED: _Machine.tensor_typed,
    _Call.PARAMETER: _Machine.parameter,
    _Call.ORDERED: _Machine.ordered,
    _Call.SIZE: _Machine.size,
}

_STEPS: dict[int, Callable[[_Machine], None]] = {
    0x80: _Machine.proto,
    0x95: _Machine.frame,
    ord("("): _Machine.mark,
    ord("q"): lambda m: m.put(m.number(1)),
    ord("r"): lambda m: m.put(m.number(4)),
    0x94: lambda m: m.put(len(m.memo)),
    ord("h"): lambda m: m.get(m.number(1)),
    ord("j"): lambda m: m.get(m.number(4)),
    0x8C: lambda m: m.text(1),
    ord("X"): lambda m: m.text(4),
    0x8D: lambda m: m.text(8),
    ord("K"): lambda m: m.push(m.number(1)),
    ord("M"): lambda m: m.push(m.number(2)),
    ord("J"): _Machine.signed,
    0x8A: lambda m: m.long(1),
    0x8B: lambda m: m.long(4),
    ord("G"): _Machine.real,
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord(")"): lambda m: m.push(()),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("t"): lambda m: m.push(tuple(m.pop_mark())),
    ord("]"): lambda m: m.push([]),
    ord("}"): lambda m: m.push({}),
    ord("a"): _Machine.append,
    ord("e"): lambda m: m.extend(m.pop_mark()),
    ord("s"): _Machine.set_item,
    ord("u"): lambda m: m.set_items(m.pop_mark()),
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: _Machine.stack_name,
    ord("Q"): _Machine.persistent,
    ord("R"): _Machine.reduce,
    ord("b"): _Machine.build,
}
