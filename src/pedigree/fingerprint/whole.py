# SPDX-License-Identifier: Apache-2.0
"""Reads all bytes of every tensor once: digests, and sampled columns.

Reading is one after the other, as many sources want it; rounding and hashing of
several tensors go on beside each other, for SHA-256 is slower than a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.bits import Bits
from pedigree.fingerprint.canonical import TensorHash
from pedigree.fingerprint.sampled import BitReader
from pedigree.fingerprint.slots import Piece
from pedigree.fingerprint.spec import RUN

BLOCK_BYTES = 1 << 20
"""Stored bytes at once; does not change any output."""
_WORKERS = 2


@dataclass(frozen=True, slots=True)
class Whole:
    """What the pass over one tensor gave.

    Attributes:
        digest: Of all its canonical values.
        columns: Shape (k, rows): the sampled columns, if any were asked for.
    """

    digest: bytes
    columns: Bits | None


class WholePass(AbstractContextManager["WholePass"]):
    """A pass over all tensors, a few ahead of whoever takes the results.

    Args:
        reader: Of the model.
    """

    def __init__(self, reader: BitReader) -> None:
        self._reader = reader
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(_WORKERS)
        self._pending: dict[Piece, Future[Whole]] = {}

    def start(self, asked: Iterable[tuple[Piece, NDArray[np.int64] | None]]) -> None:
        """Begin to read tensors, each with the columns that are wanted of it."""
        for piece, columns in asked:
            self._pending[piece] = self._pool.submit(self._read, piece, columns)

    def take(self, piece: Piece) -> Whole:
        """The result for a tensor that was begun; can be taken once.

        Raises:
            ArtifactError: See :meth:`BitReader.rows`.
            SourceError: The bytes could not be had.
        """
        return self._pending.pop(piece).result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, piece: Piece, columns: NDArray[np.int64] | None) -> Whole:
        shape = self._reader.shape(piece)
        state = TensorHash(shape)
        kept: list[Any] = []
        pick = None if columns is None else _picker(columns, shape[1])
        for bits in self._blocks(piece):
            state.update_bits(bits)
            if pick is not None:
                kept.append(pick(bits.reshape(-1, shape[1])))
        if columns is None:
            return Whole(state.digest(), None)
        found = np.concatenate(kept) if kept else np.zeros((0, len(columns)), "<u2")
        return Whole(state.digest(), found.T)

    def _blocks(self, piece: Piece) -> Iterator[Bits]:
        """All canonical bits in order; of matrices always whole rows."""
        reader = self._reader
        ranges = reader.block_ranges(piece, BLOCK_BYTES)
        if ranges is None:
            with self._lock:  # transposed ones are kept by the reader
                whole = reader.everything(piece)
            yield whole
            return
        for first, last in ranges:
            with self._lock:
                raw = reader.raw_block(piece, first, last)
            yield reader.decoded(piece, raw)


def _picker(columns: NDArray[np.int64], width: int) -> Callable[[Bits], Bits]:
    """Takes some columns out of rows; whole runs are copied as such."""
    runs = columns[::RUN] // RUN
    every = (runs[:, None] * RUN + np.arange(RUN)).reshape(-1)
    if width % RUN or not np.array_equal(every, columns):
        return lambda rows: rows[:, columns]
    return lambda rows: (
        rows.reshape(len(rows), -1, RUN).take(runs, axis=1).reshape(len(rows), -1)
    )
