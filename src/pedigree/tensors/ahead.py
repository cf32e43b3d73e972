# SPDX-License-Identifier: Apache-2.0
"""Files of which some ranges were read before they are asked for.

A fingerprint asks for a few rows of one tensor after another.  Over a network each
question would wait for the one before it; read ahead, they wait together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from pedigree.ranges import RangeSource, WrappedRange


class AheadRange(WrappedRange):
    """A file that answers from what was read ahead, and else from itself.

    Args:
        file: The file.
    """

    def __init__(self, file: RangeSource) -> None:
        super().__init__(file)
        self._begins: list[int] = []
        self._pieces: list[bytes] = []

    def take(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Read ranges, in one call, in place of those that were read ahead before.

        Raises:
            ArtifactError: The file is shorter than it said (``TruncatedFile``).
            SourceError: The bytes could not be had.
        """
        self._begins, self._pieces = [], []
        asked = _joined(ranges)
        self._pieces = self._file.read_many(asked)
        self._begins = [begin for begin, _ in asked]

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``."""
        found = self._held(offset, length)
        return self._file.read(offset, length) if found is None else found

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Ranges in the order asked; one call for all that were not read ahead."""
        found = [self._held(*each) for each in ranges]
        missing = [r for r, held in zip(ranges, found, strict=True) if held is None]
        others = iter(self._file.read_many(missing) if missing else [])
        return [next(others) if held is None else held for held in found]

    def _held(self, offset: int, length: int) -> bytes | None:
        place = bisect_right(self._begins, offset) - 1
        if place < 0 or length < 0:
            return None
        piece, start = self._pieces[place], offset - self._begins[place]
        if start + length > len(piece):
            return None
        return piece[start : start + length]


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges by offset, those that touch or overlap made one."""
    joined: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        if joined and offset <= joined[-1][0] + joined[-1][1]:
            begin = joined[-1][0]
            end = max(begin + joined[-1][1], offset + length)
            joined[-1] = (begin, end - begin)
        else:
            joined.append((offset, length))
    return joined
