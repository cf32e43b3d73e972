# SPDX-License-Identifier: Apache-2.0
"""Reads all bytes of every tensor once: digests, and sampled columns.

Reading is one after the other, as many sources want it; rounding and hashing of
several tensors go on beside each other, for SHA-256 is slower than a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.bits import Bits
from pedigree.fingerprint.canonical import TensorHash
from pedigree.fingerprint.sampled import BitReader
from pedigree.fingerprint.slots import Piece
from pedigree.fingerprint.spec import RUN

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

BLOCK_BYTES = 1 << 20
"""Stored bytes at once; does not change any output."""
CODED_BYTES = 16 << 20
"""float32 bytes at once of a matrix whose rows must be decoded; does not change any
output."""
_WORKERS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is wanted of one tensor besides its digest.

    Attributes:
        piece: Where it is.
        rows: Sampled rows of a matrix; of other tensors the first values, by number.
        columns: Sampled columns of a matrix, or None.
    """

    piece: Piece
    rows: NDArray[np.int64] | int
    columns: NDArray[np.int64] | None


@dataclass(frozen=True, slots=True)
class Whole:
    """What the pass over one tensor gave.

    Attributes:
        digest: Of all its canonical values.
        sample: Shape (k, columns): the asked rows; or (k,), the first values.
        columns: Shape (k, rows): the sampled columns, if any were asked for.
    """

    digest: bytes
    sample: Bits
    columns: Bits | None


class WholePass(AbstractContextManager["WholePass"]):
    """A pass over all tensors, a few ahead of whoever takes the results.

    Args:
        reader: Of the model.
        beside: Whether to read in threads, which small models are not worth.
    """

    def __init__(self, reader: BitReader, *, beside: bool = True) -> None:
        self._reader = reader
        self._lock = Lock()
        self._pool = _pool() if beside else None
        self._pending: dict[Piece, Future[Whole] | Asked] = {}

    def start(self, asked: Iterable[Asked]) -> None:
        """Begin to read tensors."""
        for one in asked:
            self._pending[one.piece] = (
                one if self._pool is None else self._pool.submit(self._read, one)
            )

    def take(self, piece: Piece) -> Whole:
        """The result for a tensor that was begun; can be taken once.

        Raises:
            ArtifactError: See :meth:`BitReader.rows`.
            SourceError: The bytes could not be had.
        """
        found = self._pending.pop(piece)
        return self._read(found) if isinstance(found, Asked) else found.result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, asked: Asked) -> Whole:
        shape = self._reader.shape(asked.piece)
        state = TensorHash(shape)
        if isinstance(asked.rows, int):
            return self._read_start(asked, state)
        sample = np.zeros((len(asked.rows), shape[1]), np.uint16)
        columns: list[Any] = []
        pick = None if asked.columns is None else _picker(asked.columns, shape[1])
        first = 0
        for bits in self._blocks(asked.piece):
            state.update_bits(bits)
            block = bits.reshape(-1 if bits.size else 0, shape[1])
            here = (asked.rows >= first) & (asked.rows < first + len(block))
            sample[here] = block[asked.rows[here] - first]
            first += len(block)
            if pick is not None:
                columns.append(pick(block))
        if pick is None:
            return Whole(state.digest(), sample, None)
        return Whole(state.digest(), sample, np.concatenate(columns).T)

    def _read_start(self, asked: Asked, state: TensorHash) -> Whole:
        kept, missing = [np.zeros(0, np.uint16)], asked.rows
        for bits in self._blocks(asked.piece):
            state.update_bits(bits)
            kept.append(bits.reshape(-1)[:missing])
            missing -= kept[-1].size
        return Whole(state.digest(), np.concatenate(kept), None)

    def _blocks(self, piece: Piece) -> Iterator[Bits]:
        """All canonical bits in order; of matrices always whole rows."""
        reader = self._reader
        ranges = reader.block_ranges(piece, BLOCK_BYTES)
        if ranges is None and reader.is_row_major(piece):
            for first, last in reader.row_blocks(piece, CODED_BYTES):
                with self._lock:
                    found = reader.rows(piece, np.arange(first, last, dtype=np.int64))
                yield found
            return
        if ranges is None:
            with self._lock:  # transposed ones are kept by the reader
                whole = reader.everything(piece)
            yield whole
            return
        for first, last in ranges:
            with self._lock:
                raw = reader.raw_block(piece, first, last)
            yield reader.decoded(piece, raw)


def _pool() -> ThreadPoolExecutor:
    # Takes as long to load as a small model to read.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(_WORKERS)


def _picker(columns: NDArray[np.int64], width: int) -> Callable[[Bits], Bits]:
    """Takes some columns out of rows; whole runs are copied as such."""
    runs = columns[::RUN] // RUN
    every = (runs[:, None] * RUN + np.arange(RUN)).reshape(-1)
    if width % RUN or not np.array_equal(every, columns):
        return lambda rows: rows[:, columns]
    return lambda rows: (
        rows.reshape(len(rows), -1, RUN).take(runs, axis=1).reshape(len(rows), -1)
    )
