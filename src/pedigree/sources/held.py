# SPDX-License-Identifier: Apache-2.0
"""A source whose small files are read once, however often they are asked for.

Hashing, headers, samples and whole tensors are passes of their own over the same bytes,
and each passes over a small model several times.  What is held is also what all of them
see: it cannot be one thing for the hash and another for the fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pedigree.ranges import (
    FileEntry,
    ModelSource,
    RangeSource,
    WrappedRange,
    WrappedSource,
)

CHUNK_BYTES = 8 << 20
"""Read and held at once; whoever hashes a file asks for as much."""


class HeldSource(WrappedSource):
    """A :class:`~pedigree.ranges.ModelSource` over another one.

    Which files are held is settled by the list of files: the smallest first, each whole
    or not at all.  A piece is read when it is first asked for.

    Args:
        source: Where bytes come from, and what counts them.
        most_bytes: Of all held files.
        wanted: Whether a file is worth it; None for every file.
    """

    def __init__(
        self,
        source: ModelSource,
        most_bytes: int,
        wanted: Callable[[FileEntry], bool] | None = None,
    ) -> None:
        super().__init__(source)
        files = [each for each in source.files() if wanted is None or wanted(each)]
        self._held = {
            entry.path: _Held(entry.size) for entry in _smallest(files, most_bytes)
        }

    @property
    def held_bytes(self) -> int:
        """Of all files that are held or will be."""
        return sum(held.size for held in self._held.values())

    def open(self, path: str) -> RangeSource:
        """Ranged reads of one listed file, of memory if it is held.

        Raises:
            KeyError: The path was not listed.
            SourceError: The bytes could not be had.
        """
        file, held = self._source.open(path), self._held.get(path)
        return file if held is None else _HeldRange(file, held)

    def keep(self, most_bytes: int) -> None:
        """Give memory back, of the largest files first, until so much is held.

        Files that are open stay open; their bytes come from the source again.
        """
        over = self.held_bytes - most_bytes
        for path in sorted(self._held, key=lambda path: -self._held[path].size):
            if over <= 0:
                return
            held = self._held.pop(path)
            held.chunks = None
            over -= held.size


class _Held:
    """One file in memory.

    Attributes:
        size: Bytes of it.
        chunks: By number, those that were read; None when they were given back.
    """

    __slots__ = ("chunks", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.chunks: dict[int, bytes] | None = {}


class _HeldRange(WrappedRange):
    """Ranged reads of memory; see :class:`~pedigree.ranges.RangeSource`."""

    def __init__(self, file: RangeSource, held: _Held) -> None:
        super().__init__(file)
        self._held = held

    def read(self, offset: int, length: int) -> bytes:
        chunks, end = self._held.chunks, offset + length
        if chunks is None or not 0 <= offset < end <= self._held.size:
            return self._file.read(offset, length)  # which says what is wrong
        first, last = offset // CHUNK_BYTES, (end - 1) // CHUNK_BYTES
        begin = first * CHUNK_BYTES
        if first == last:
            return self._chunk(chunks, first)[offset - begin : end - begin]
        pieces = [
            memoryview(self._chunk(chunks, number)) for number in range(first, last + 1)
        ]
        pieces[0] = pieces[0][offset - begin :]
        pieces[-1] = pieces[-1][: end - last * CHUNK_BYTES]
        return b"".join(pieces)

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if self._held.chunks is None:
            return self._file.read_many(ranges)
        return [self.read(offset, length) for offset, length in ranges]

    def _chunk(self, chunks: dict[int, bytes], number: int) -> bytes:
        found = chunks.get(number)
        if found is None:
            begin = number * CHUNK_BYTES
            found = self._file.read(begin, min(CHUNK_BYTES, self._held.size - begin))
            chunks[number] = found
        return found


def _smallest(files: Iterable[FileEntry], most_bytes: int) -> list[FileEntry]:
    """As many of the smallest files as fit."""
    found: list[FileEntry] = []
    for entry in sorted(files, key=lambda entry: (entry.size, entry.path)):
        if entry.size > most_bytes:
            break
        most_bytes -= entry.size
        found.append(entry)
    return found
