# SPDX-License-Identifier: Apache-2.0
"""The header of a GGUF file, versions 2 and 3: strict and bounded.

A file is magic, version, two counts, keys with values, then names, shapes, types and
offsets of tensors, then data.  Lengths are 64 bits wide and come from whoever made the
file, so none of them is believed: what it announces must fit the bytes that are there
and the bounds below before a loop runs or memory is taken.  Elements of arrays are
passed over, never held.

Source: ``docs/gguf.md`` of the ggml project, and what files in use hold.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from pedigree.errors import ArtifactError, quote
from pedigree.limits import Limits
from pedigree.ranges import RangeSource
from pedigree.tensors.gguf_blocks import BLOCK_TYPES, UNREAD_TYPES

Scalar = int | float | bool | str

PLAIN_TYPES = {
    0: "F32",
    1: "F16",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    30: "BF16",
}
"""ggml type number to the name of a storage type of one value after the other."""
_PLAIN_BYTES = {0: 4, 1: 2, 24: 1, 25: 2, 26: 4, 27: 8, 28: 8, 30: 2}
_WINDOW_BYTES = 1 << 20
_METADATA_MAX_BYTES = 256_000_000
"""Vocabularies with merges take about 10 MB (guess with room)."""
_KEYS_MAX = 65_536
_KEY_MAX_BYTES = 65_535
_TEXT_MAX_BYTES = 65_536
"""Longer strings, such as chat templates of some, are passed over."""
_STRINGS_MAX = 4_194_304
"""Strings in all arrays: each takes a step (ten times the largest vocabulary)."""
_NAME_MAX_BYTES = 64
_RANK_MAX = 4
_COUNT_LIMIT = 2**63
_ALIGNMENT_MAX = 1 << 20
DEFAULT_ALIGNMENT = 32
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<B",
    10: "<Q",
    11: "<q",
    12: "<d",
}
"""GGUF value type number to its layout."""


class ArrayRange(NamedTuple):
    """Where an array of the metadata is: value type, elements, bytes of the file."""

    kind: int
    length: int
    begin: int
    end: int


class GgufTensor(NamedTuple):
    """One tensor: shape with the fastest dimension last, ggml type, file bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a header says.

    Attributes:
        version: 2 or 3.
        scalars: Numbers, truths and short strings, by key.
        arrays: Where arrays are, by key.
        tensors: In the order of their bytes.
        data_begin: First byte of the data in the file.
    """

    version: int
    scalars: Mapping[str, Scalar]
    arrays: Mapping[str, ArrayRange]
    tensors: tuple[GgufTensor, ...]
    data_begin: int


def read_gguf_header(file: RangeSource, limits: Limits) -> GgufHeader:
    """Read and check a whole header, by reads of at most 1 MiB.

    Args:
        file: The file.
        limits: Bounds.

    Raises:
        ArtifactError: ``MalformedGguf``, ``TruncatedFile``, ``BigEndianGguf``,
            ``UnsupportedGgufVersion``, ``UnsupportedDtype``, ``LimitExceeded``,
            ``DuplicateKey``, ``DuplicateTensor`` or ``OverlappingTensors``.
        SourceError: The bytes could not be had.
    """
    cursor = _Cursor(file)
    version = _version(cursor)
    tensor_count = cursor.number("<Q")
    key_count = cursor.number("<Q")
    if tensor_count > limits.tensors_max:
        cursor.refuse(
            "LimitExceeded",
            f"has {tensor_count} tensors, allowed are {limits.tensors_max}",
        )
    if key_count > _KEYS_MAX:
        cursor.refuse("LimitExceeded", f"has {key_count} keys, allowed are {_KEYS_MAX}")
    scalars: dict[str, Scalar] = {}
    arrays: dict[str, ArrayRange] = {}
    for _ in range(key_count):
        key = cursor.text(_KEY_MAX_BYTES, "a key")
        if key in scalars or key in arrays:
            cursor.refuse("DuplicateKey", f"has the key {quote(key)} twice")
        _value(cursor, key, scalars, arrays)
    alignment = _alignment(cursor, scalars)
    found = [_tensor(cursor, alignment) for _ in range(tensor_count)]
    data_begin = -(-cursor.at // alignment) * alignment
    tensors = tuple(
        sorted(
            (
                each._replace(begin=each.begin + data_begin, end=each.end + data_begin)
                for each in found
            ),
            key=lambda each: (each.begin, each.end, each.name),
        )
    )
    _check_places(cursor, tensors)
    return GgufHeader(version, scalars, arrays, tensors, data_begin)


class _Cursor:
    """Takes bytes one after the other; holds one window of the file."""

    def __init__(self, file: RangeSource) -> None:
        self._file = file
        self._begin = 0
        self._window = b""
        self.at = 0
        self.size = file.size
        self.strings = 0

    def refuse(self, reason: str, got: str, hint: str | None = None) -> NoReturn:
        path = self._file.path
        raise ArtifactError(
            f"file {quote(path)} {got}", reason=reason, hint=hint, path=path
        )

    def skip(self, length: int) -> None:
        """Pass over bytes; they need not be few."""
        if length > self.size - self.at:
            self.refuse(
                "TruncatedFile",
                f"needs {length} bytes of header from byte {self.at} on, but is "
                f"{self.size} bytes; it was cut off or built to exhaust memory",
            )
        self.at += length
        if self.at > _METADATA_MAX_BYTES:
            self.refuse(
                "LimitExceeded",
                f"has a header of more than {_METADATA_MAX_BYTES} bytes",
            )

    def take(self, length: int) -> bytes:
        """The next bytes; at most a window of them."""
        begin = self.at
        self.skip(length)
        first = begin - self._begin
        if first < 0 or first + length > len(self._window):
            wanted = min(_WINDOW_BYTES, self.size - begin)
            self._window = self._file.read(begin, wanted)
            self._begin, first = begin, 0
        return self._window[first : first + length]

    def number(self, layout: str) -> int:
        value: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return value

    def text(self, most: int, what: str) -> str:
        length = self.number("<Q")
        if length > most:
            reason = "TruncatedFile" if length > self.size else "LimitExceeded"
            self.refuse(reason, f"has {what} of {length} bytes, allowed are {most}")
        raw = self.take(length)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse("MalformedGguf", f"has {what} that is not UTF-8")


def _version(cursor: _Cursor) -> int:
    magic = cursor.take(4)
    if magic == b"FUGG":
        _big_endian(cursor)
    if magic != b"GGUF":
        cursor.refuse("MalformedGguf", f"starts with {magic!r}, wanted b'GGUF'")
    version = cursor.number("<I")
    if version and version & 0xFFFF == 0:
        _big_endian(cursor)
    if version not in (2, 3):
        cursor.refuse(
            "UnsupportedGgufVersion",
            f"is GGUF of version {version}, read are 2 and 3",
            "convert the model again with a current converter",
        )
    return version


def _big_endian(cursor: _Cursor) -> NoReturn:
    cursor.refuse(
        "BigEndianGguf",
        "is GGUF for big-endian machines, read are little-endian files",
        "publish the little-endian file",
    )


def _value(
    cursor: _Cursor,
    key: str,
    scalars: dict[str, Scalar],
    arrays: dict[str, ArrayRange],
) -> None:
    kind = cursor.number("<I")
    if kind == _ARRAY:
        arrays[key] = _array(cursor, key)
    elif kind == _STRING:
        begin = cursor.at
        length = cursor.number("<Q")
        if length > _TEXT_MAX_BYTES:
            cursor.skip(length)
            arrays[key] = ArrayRange(_STRING, 1, begin, cursor.at)
        else:
            cursor.at = begin
            scalars[key] = cursor.text(_TEXT_MAX_BYTES, f"a value of {quote(key, 64)}")
    elif kind == _BOOL:
        truth = cursor.number("<B")
        if truth > 1:
            cursor.refuse(
                "MalformedGguf", f"has the truth value {truth}, wanted 0 or 1"
            )
        scalars[key] = bool(truth)
    elif kind in _NUMBERS:
        scalars[key] = cursor.number(_NUMBERS[kind])
    else:
        cursor.refuse("MalformedGguf", f"has a value of the unknown type {kind}")


def _array(cursor: _Cursor, key: str) -> ArrayRange:
    kind = cursor.number("<I")
    count = cursor.number("<Q")
    begin = cursor.at
    if kind == _STRING:
        cursor.strings += count
        if count > (cursor.size - begin) // 8:
            cursor.refuse(
                "TruncatedFile",
                f"has an array of {count} strings as {quote(key, 64)}, but only "
                f"{cursor.size - begin} bytes follow",
            )
        if cursor.strings > _STRINGS_MAX:
            cursor.refuse(
                "LimitExceeded",
                f"has {cursor.strings} strings in arrays, allowed are {_STRINGS_MAX}",
            )
        for _ in range(count):
            cursor.skip(cursor.number("<Q"))
    elif kind in _NUMBERS:
        cursor.skip(count * struct.calcsize(_NUMBERS[kind]))
    elif kind == _ARRAY:
        cursor.refuse(
            "MalformedGguf", f"has arrays in an array as {quote(key, 64)}, wanted none"
        )
    else:
        cursor.refuse("MalformedGguf", f"has an array of the unknown type {kind}")
    return ArrayRange(kind, count, begin, cursor.at)


def _alignment(cursor: _Cursor, scalars: Mapping[str, Scalar]) -> int:
    value = scalars.get("general.alignment", DEFAULT_ALIGNMENT)
    if (
        type(value) is not int
        or not 8 <= value <= _ALIGNMENT_MAX
        or value & (value - 1)
    ):
        cursor.refuse(
            "MalformedGguf",
            f"has the alignment {quote(value, 32)}, wanted a power of two from 8 to "
            f"{_ALIGNMENT_MAX}",
        )
    return value


def _tensor(cursor: _Cursor, alignment: int) -> GgufTensor:
    """One entry; its bytes count from the begin of the data."""
    name = cursor.text(_NAME_MAX_BYTES, "a tensor name")
    if not name or _CONTROL.search(name):
        cursor.refuse("MalformedGguf", f"has the tensor name {quote(name)}")
    rank = cursor.number("<I")
    if not 1 <= rank <= _RANK_MAX:
        cursor.refuse(
            "MalformedGguf",
            f"has {rank} dimensions in tensor {quote(name)}, wanted 1 to {_RANK_MAX}",
        )
    dims = [cursor.number("<Q") for _ in range(rank)]
    count = 1
    for dimension in dims:
        count *= dimension
    if not 0 < count < _COUNT_LIMIT:
        cursor.refuse(
            "MalformedGguf",
            f"has the dimensions {dims} in tensor {quote(name)}, wanted from 1 to "
            "2**63 - 1 values",
        )
    kind = cursor.number("<I")
    offset = cursor.number("<Q")
    if offset % alignment:
        cursor.refuse(
            "MalformedGguf",
            f"has tensor {quote(name)} at data byte {offset}, wanted a multiple of "
            f"{alignment}",
        )
    size = _stored_bytes(cursor, name, kind, count, dims[0])
    return GgufTensor(name, tuple(reversed(dims)), kind, offset, offset + size)


def _stored_bytes(
    cursor: _Cursor, name: str, kind: int, count: int, columns: int
) -> int:
    if kind in _PLAIN_BYTES:
        return count * _PLAIN_BYTES[kind]
    block = BLOCK_TYPES.get(kind)
    if block is None:
        cursor.refuse(
            "UnsupportedDtype",
            f"stores tensor {quote(name)} as {UNREAD_TYPES.get(kind, 'ggml type')} "
            f"({kind}), which is not decoded",
            "publish the model in a type that is read, such as Q4_K_M",
        )
    if columns % block.values:
        cursor.refuse(
            "MalformedGguf",
            f"has {columns} columns of {block.name} in tensor {quote(name)}, wanted a "
            f"multiple of {block.values}",
        )
    return count // block.values * block.bytes


def _check_places(cursor: _Cursor, tensors: tuple[GgufTensor, ...]) -> None:
    names: set[str] = set()
    at = 0
    for each in tensors:
        if each.name in names:
            cursor.refuse("DuplicateTensor", f"has tensor {quote(each.name)} twice")
        names.add(each.name)
        if each.begin < at:
            cursor.refuse(
                "OverlappingTensors",
                f"has tensor {quote(each.name)} at byte {each.begin}, wanted {at} or "
                "later, where the one before it ends",
            )
        at = each.end
    if at > cursor.size:
        cursor.refuse(
            "TruncatedFile",
            f"is {cursor.size} bytes, its tensors need {at}; it was cut off",
        )
