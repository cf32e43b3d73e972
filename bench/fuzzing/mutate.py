# SPDX-License-Identifier: Apache-2.0
"""Changes to inputs: of bytes, and of JSON values so that the text stays JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from bench.fuzzing.target import Target

_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31,
            2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 64, 2**31, 2**63, 2**64, 10**30, 1.5, -0.0,
    1e308, "", "a", "..", "../x", "/etc/passwd", "\x00", "\u00e9", "\u202e", "\ud800",
    "sha256:" + "0" * 64, [], {}, [0], [[]], {"": 0}, [None] * 9, "x" * 300,
)  # fmt: skip
_CHANGES_MAX = 4
_DEPTH = 1_500
"""More than Python's own readers recurse."""


class Mutator:
    """Makes inputs of inputs; the same seed gives the same ones.

    Args:
        target: Its words, its JSON and its longest input are used.
        random: Where choices come from.
    """

    def __init__(self, target: Target, random: Random) -> None:
        self._target, self._random = target, random
        self._changes: tuple[Callable[[bytearray], None], ...] = (
            self._flip, self._flip, self._set, self._number, self._insert,
            self._delete, self._repeat, self._cut, self._word, self._digits, self._deep,
        )  # fmt: skip

    def mutated(self, data: bytes, others: Sequence[bytes]) -> bytes:
        """A changed input.

        Args:
            data: What is changed.
            others: Inputs that parts may be taken from.
        """
        random = self._random
        if self._target.json is not None and random.random() < 0.5:
            changed = self.changed_json(data)
            if changed is not None:
                return changed[: self._target.bytes_max]
        made = bytearray(data)
        if others and random.random() < 0.1:
            made = self._spliced(made, random.choice(others))
        for _ in range(random.randint(1, _CHANGES_MAX)):
            random.choice(self._changes)(made)
        return bytes(made[: self._target.bytes_max])

    def _place(self, made: bytearray) -> int:
        return self._random.randrange(len(made) + 1)

    def _flip(self, made: bytearray) -> None:
        if made:
            made[self._random.randrange(len(made))] ^= 1 << self._random.randrange(8)

    def _set(self, made: bytearray) -> None:
        if made:
            made[self._random.randrange(len(made))] = self._random.randrange(256)

    def _number(self, made: bytearray) -> None:
        width = self._random.choice((1, 2, 4, 8))
        value = self._random.choice(_NUMBERS) % (1 << 8 * width)
        at = self._place(made)
        made[at : at + width] = value.to_bytes(width, "little")

    def _insert(self, made: bytearray) -> None:
        at = self._place(made)
        made[at:at] = self._random.randbytes(self._random.randint(1, 8))

    def _delete(self, made: bytearray) -> None:
        at = self._place(made)
        del made[at : at + self._random.choice((1, 2, 4, 8, 32))]

    def _repeat(self, made: bytearray) -> None:
        at = self._place(made)
        part = made[at : at + self._random.choice((1, 4, 16, 64))]
        made[at:at] = part * self._random.choice((1, 1, 2, 20))

    def _deep(self, made: bytearray) -> None:
        if self._random.random() < 0.9:  # it is long, and leaves no room for others
            return
        at = self._place(made)
        made[at:at] = self._random.choice((b"[", b"(", b'{"a":')) * _DEPTH

    def _cut(self, made: bytearray) -> None:
        del made[self._place(made) :]

    def _word(self, made: bytearray) -> None:
        if not self._target.words:
            return
        word, at = self._random.choice(self._target.words), self._place(made)
        made[at : at + self._random.choice((0, len(word)))] = word

    def _digits(self, made: bytearray) -> None:
        places = [at for at, byte in enumerate(made[:512]) if 48 <= byte < 58]
        if places:
            at = self._random.choice(places)
            made[at : at + 1] = str(self._random.choice(_NUMBERS)).encode()

    def _spliced(self, made: bytearray, other: bytes) -> bytearray:
        at = self._place(made)
        return made[:at] + other[self._random.randrange(len(other) + 1) :]

    def changed_json(self, data: bytes) -> bytes | None:
        """The input with one value of its JSON changed; None where there is none."""
        frame = self._target.json
        if frame is None:
            return None
        before, text, after = frame[0](data)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
        holder = [value]
        for _ in range(self._random.randint(1, 2)):
            self._change_value(holder)
        try:
            made = json.dumps(holder[0] if holder else None).encode()
        except (ValueError, RecursionError):
            return None
        return frame[1](before, made, after)

    def _change_value(self, root: list[Any]) -> None:
        """Change one place at random depth; ``root`` holds the whole value."""
        random = self._random
        owner: Any = root
        key: Any = 0
        for _ in range(random.randrange(9)):
            inner = owner[key] if owner else None
            if isinstance(inner, dict) and inner:
                owner, key = inner, random.choice(list(inner))
            elif isinstance(inner, list) and inner:
                owner, key = inner, random.randrange(len(inner))
            else:
                break
        if not owner:
            return
        kind = random.randrange(6)
        if kind == 0 and owner is not root:
            del owner[key]
        elif kind == 1 and isinstance(owner, dict):
            word = random.choice(self._target.words or (b"x",))
            owner[word.decode("utf-8", "replace")] = owner.pop(key)
        elif kind == 2 and isinstance(owner[key], str) and self._target.words:
            owner[key] = random.choice(self._target.words).decode("utf-8", "replace")
        elif kind == 3 and isinstance(owner[key], int):
            owner[key] = owner[key] + random.choice((-1, 1, 2**31, 2**63))
        elif kind == 4 and isinstance(owner, list):
            owner.append(owner[key])
        else:
            owner[key] = random.choice(_VALUES)
