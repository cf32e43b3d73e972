# SPDX-License-Identifier: Apache-2.0
"""A model source of which no byte may differ between two reads.

A model is hashed first and sampled afterwards.  Whoever writes to the folder, or runs
the server, could let the first see one model and the second another, and so have
evidence made that says of one model what is true of the other.  Times of files do not
show that: pages of a mapped file change without them.  Nor do entity tags: a server
says what it likes.  So a mark of every block is kept from its first read on, and
whatever reads the block again must find the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from pedigree.errors import SourceUnavailable, quote
from pedigree.ranges import (
    ModelSource,
    RangeSource,
    Span,
    WrappedRange,
    WrappedSource,
    coalesce,
    spread,
)
from pedigree.refs import Scheme

BLOCK_BYTES = 64 << 10
"""A mark for each: 35 MB for a model of 140 GB (arbitrary)."""
_MARK_BYTES = 16
"""SHA-256, cut: 128 bits, against a second content for a given one."""
_UNREAD = bytes(_MARK_BYTES)
_PAGE_MARKS = 1024
"""Marks that are made room for at once, when one of their blocks is read: a file may
say that it has any size."""
_SPAN_MAX_BYTES = 16 << 20
_AT_ONCE_BYTES = 64 << 20
"""Blocks that are in memory at once, for what was asked of them (arbitrary)."""
UNSTEADY = frozenset({Scheme.FILE, Scheme.S3, Scheme.GCS, Scheme.AZURE, Scheme.HTTPS})
"""Places whose bytes are hashed here, and that whoever names them may run.  The Hub and
registries state digests of large files, which are then not hashed."""


class SteadySource(WrappedSource):
    """A source whose reads agree with each other.

    Args:
        source: The source, whose reads may not.
    """

    def __init__(self, source: ModelSource) -> None:
        super().__init__(source)
        self._marks: dict[str, dict[int, bytearray]] = {}

    def open(self, path: str) -> RangeSource:
        """Ranged reads of one listed file, which agree with all earlier ones."""
        marks = self._marks.setdefault(path, {})
        return _SteadyRange(self._source.open(path), marks)


class _SteadyRange(WrappedRange):
    def __init__(self, file: RangeSource, marks: dict[int, bytearray]) -> None:
        super().__init__(file)
        self._marks = marks

    def read(self, offset: int, length: int) -> bytes:
        end = offset + length
        if offset < 0 or length <= 0 or end > self.size:
            return self._file.read(offset, length)  # which says what is wrong
        begin, until = self._blocks(offset, length)
        data = self._file.read(begin, until - begin)
        self._compare(begin // BLOCK_BYTES, memoryview(data))
        return (
            data if (begin, until) == (offset, end) else data[offset - begin :][:length]
        )

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        for offset, length in ranges:
            if offset < 0 or length < 0 or offset + length > self.size:
                return self._file.read_many(ranges)  # which says what is wrong
        spans = coalesce(ranges, gap_bytes=BLOCK_BYTES, span_max_bytes=_SPAN_MAX_BYTES)
        return spread(spans, self._bodies(spans), len(ranges))

    def _bodies(self, spans: Sequence[Span]) -> Iterator[bytes]:
        """What spans hold; several are asked for at once, for sources that are far."""
        for group in _groups(spans):
            whole = [self._blocks(span.offset, span.length) for span in group]
            found = self._file.read_many([(at, end - at) for at, end in whole])
            for span, (at, _), data in zip(group, whole, found, strict=True):
                self._compare(at // BLOCK_BYTES, memoryview(data))
                first = span.offset - at
                yield data if len(data) == span.length else data[first:][: span.length]

    def _blocks(self, offset: int, length: int) -> tuple[int, int]:
        """Begin and end of the blocks that a range touches."""
        begin = offset // BLOCK_BYTES * BLOCK_BYTES
        end = -(-(offset + length) // BLOCK_BYTES) * BLOCK_BYTES
        return (begin, min(self.size, end)) if length else (offset, offset)

    def _compare(self, block: int, data: memoryview) -> None:
        for begin in range(0, len(data), BLOCK_BYTES):
            piece = data[begin : begin + BLOCK_BYTES]
            mark = hashlib.sha256(piece).digest()[:_MARK_BYTES]
            number, at = divmod(block, _PAGE_MARKS)
            place = slice(at * _MARK_BYTES, (at + 1) * _MARK_BYTES)
            page = self._marks.get(number) or self._marks.setdefault(
                number, bytearray(_PAGE_MARKS * _MARK_BYTES)
            )
            if page[place] == _UNREAD:
                page[place] = mark
            elif page[place] != mark:
                raise SourceUnavailable(
                    f"file {quote(self.path)} changed while it was being read: its "
                    f"bytes from {block * BLOCK_BYTES} on are not those read before",
                    reason="ChangedWhileReading",
                    hint="try again when nobody writes to it any more",
                )
            block += 1


def _groups(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Spans in their order, so many that their blocks fit in memory at once."""
    group: list[Span] = []
    held = 0
    for span in spans:
        size = span.length + 2 * BLOCK_BYTES
        if group and held + size > _AT_ONCE_BYTES:
            yield group
            group, held = [], 0
        group.append(span)
        held += size
    if group:
        yield group
