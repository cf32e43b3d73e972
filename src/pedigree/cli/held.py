# SPDX-License-Identifier: Apache-2.0
"""A source of which small files are read once, however often they are asked for.

The fingerprint of a small model takes several passes over its weights, the context
signals take one more and read the tokenizer again.
"""

from __future__ import annotations

from collections.abc import Sequence

from pedigree.ranges import ModelSource, RangeSource, WrappedSource

FILE_MAX_BYTES = 8 << 20
"""Larger files are read by ranges, as asked."""
HELD_MAX_BYTES = 24 << 20
"""Of one model, in memory."""


class HeldSource(WrappedSource):
    """A :class:`~pedigree.ranges.ModelSource` over another one.

    Args:
        source: Where bytes come from, and what counts them.
    """

    def __init__(self, source: ModelSource) -> None:
        super().__init__(source)
        self._held: dict[str, bytes] = {}
        self._sizes = {entry.path: entry.size for entry in source.files()}

    def open(self, path: str) -> RangeSource:
        """Ranged reads of one listed file, of memory if it is small.

        Raises:
            KeyError: The path was not listed.
            SourceError: The bytes could not be had.
        """
        held = self._held.get(path)
        if held is not None:
            return _HeldRange(path, held)
        file, size = self._source.open(path), self._sizes[path]
        room = HELD_MAX_BYTES - sum(map(len, self._held.values()))
        if not 0 < size <= min(FILE_MAX_BYTES, room):
            return file
        self._held[path] = file.read(0, size)
        return _HeldRange(path, self._held[path])


class _HeldRange:
    """Ranged reads of memory; see :class:`~pedigree.ranges.RangeSource`."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path, self._data = path, data

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        if not 0 <= offset <= offset + length <= len(self._data):
            raise IndexError(
                f"file has {len(self._data)} bytes, asked were {length} from {offset}"
            )
        return self._data[offset : offset + length]

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return [self.read(offset, length) for offset, length in ranges]
