# SPDX-License-Identifier: Apache-2.0
"""A model source of which no byte may differ between two reads.

A model is hashed first and sampled afterwards.  Whoever writes to the folder could let
the first see one model and the second another, and so have evidence made that says of
one model what is true of the other.  Times of files do not show that: pages of a mapped
file change without them.  So a mark of every block is kept from its first read on, and
whatever reads the block again must find the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pedigree.errors import SourceUnavailable, quote
from pedigree.ranges import (
    ModelSource,
    RangeSource,
    WrappedRange,
    WrappedSource,
    read_spans,
)

BLOCK_BYTES = 64 << 10
"""A mark for each: 35 MB for a model of 140 GB (arbitrary)."""
_MARK_BYTES = 16
"""SHA-256, cut: 128 bits, against a second content for a given one."""
_UNREAD = bytes(_MARK_BYTES)
_SPAN_MAX_BYTES = 32 << 20


class SteadySource(WrappedSource):
    """A source whose reads agree with each other.

    Args:
        source: The source, whose reads may not.
    """

    def __init__(self, source: ModelSource) -> None:
        super().__init__(source)
        self._marks: dict[str, bytearray] = {}

    def open(self, path: str) -> RangeSource:
        """Ranged reads of one listed file, which agree with all earlier ones."""
        file = self._source.open(path)
        blocks = -(-file.size // BLOCK_BYTES)
        marks = self._marks.setdefault(path, bytearray(blocks * _MARK_BYTES))
        return _SteadyRange(file, marks)


class _SteadyRange(WrappedRange):
    def __init__(self, file: RangeSource, marks: bytearray) -> None:
        super().__init__(file)
        self._marks = marks

    def read(self, offset: int, length: int) -> bytes:
        end = offset + length
        if offset < 0 or length <= 0 or end > self.size:
            return self._file.read(offset, length)  # which says what is wrong
        first = offset // BLOCK_BYTES
        begin = first * BLOCK_BYTES
        until = min(self.size, -(-end // BLOCK_BYTES) * BLOCK_BYTES)
        data = self._file.read(begin, until - begin)
        self._compare(first, memoryview(data))
        return (
            data if (begin, until) == (offset, end) else data[offset - begin :][:length]
        )

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return read_spans(
            self.read, ranges, gap_bytes=BLOCK_BYTES, span_max_bytes=_SPAN_MAX_BYTES
        )

    def _compare(self, block: int, data: memoryview) -> None:
        for begin in range(0, len(data), BLOCK_BYTES):
            piece = data[begin : begin + BLOCK_BYTES]
            mark = hashlib.sha256(piece).digest()[:_MARK_BYTES]
            place = slice(block * _MARK_BYTES, (block + 1) * _MARK_BYTES)
            if self._marks[place] == _UNREAD:
                self._marks[place] = mark
            elif self._marks[place] != mark:
                raise SourceUnavailable(
                    f"file {quote(self.path)} changed while it was being read: its "
                    f"bytes from {block * BLOCK_BYTES} on are not those read before",
                    reason="ChangedWhileReading",
                    hint="try again when nobody writes to it any more",
                )
            block += 1
