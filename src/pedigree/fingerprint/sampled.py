# SPDX-License-Identifier: Apache-2.0
"""Reads the sampled part of canonical tensors, as bits."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError, quote
from pedigree.fingerprint.bits import Bits, bits_of, canonical_bits
from pedigree.fingerprint.canonical import DIGEST_BYTES, CanonicalReader, canonical
from pedigree.fingerprint.model import NO_DIGEST, TensorRecord
from pedigree.fingerprint.slots import Layout, Piece, Slot
from pedigree.fingerprint.spec import FingerprintSpec
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.dtypes import DTYPES
from pedigree.tensors.layout import Extent

_BLOCK_BYTES = 4 << 20
"""Stored bytes at once of a whole matrix; does not change any output."""


class BitReader:
    """Canonical tensors of one checkpoint, read as 16-bit words.

    Args:
        checkpoint: The model's weights.
        reader: Knows layouts.
    """

    def __init__(self, checkpoint: Checkpoint, reader: CanonicalReader) -> None:
        self._checkpoint, self._reader = checkpoint, reader

    def shape(self, piece: Piece) -> tuple[int, ...]:
        """Canonical shape, without reading."""
        return self._reader.shape(piece)

    def is_row_major(self, piece: Piece) -> bool:
        """Whether some rows can be read without the others."""
        return self._reader.is_row_major(piece)

    def extents(self, piece: Piece, index: NDArray[np.int64] | None) -> list[Extent]:
        """Which bytes a read of some rows takes; see :class:`CanonicalReader`."""
        return self._reader.extents(piece, index)

    def ahead(self, extents: list[Extent]) -> None:
        """Read what will be asked for; see :class:`CanonicalReader`."""
        self._reader.ahead(extents)

    def rows(self, piece: Piece, index: NDArray[np.int64]) -> Bits:
        """Some rows of a canonical matrix, shape (k, columns).

        Raises:
            ArtifactError: A value is not finite (``NonFiniteTensor``), or reasons of
                :class:`~pedigree.tensors.checkpoint.Checkpoint`.
            SourceError: The bytes could not be had.
        """
        raw = self._reader.raw_rows(piece, index)
        if raw is None:
            return bits_of(self._reader.rows(piece, index))
        width = self.shape(piece)[-1]
        return self.decoded(piece, raw).reshape(len(index), width)

    def columns(self, piece: Piece, index: NDArray[np.int64]) -> Bits:
        """Some columns of a matrix that is stored transposed, shape (k, rows)."""
        lines = index
        if piece.index >= 0:
            lines = index + piece.index * self._checkpoint.tensors[piece.name].shape[1]
        found = bits_of(canonical(self._checkpoint.read_lines(piece.name, lines)))
        if piece.rows is None:
            return found
        every = np.arange(piece.rows.size)
        group, within = np.divmod(every, piece.rows.run)
        return found[:, piece.rows.begin + group * piece.rows.step + within]

    def start(self, piece: Piece, most: int) -> Bits:
        """The first values of a tensor of any rank, shape (at most ``most``,)."""
        info = self._checkpoint.tensors[piece.name]
        plain = piece.layout is Layout.PLAIN and piece.index < 0 and not piece.offset
        plain = plain and piece.rows is None
        coded = info.coding is not None
        if info.count <= most or not plain or coded:
            if len(self.shape(piece)) < 2:
                return bits_of(self._reader.vector(piece))[:most]
            if plain and coded and info.count > most:  # as few lines as are needed
                lines = np.arange(-(-most // info.columns), dtype=np.int64)
                return self.rows(piece, lines).reshape(-1)[:most]
            whole = canonical(self._checkpoint.read(piece.name))
            return bits_of(whole.reshape(-1))[:most]
        size = most * DTYPES[info.dtype].bits // 8
        raw = next(self._checkpoint.raw(piece.name))[:size]
        return self.decoded(piece, raw)

    def block_ranges(
        self, piece: Piece, block_bytes: int
    ) -> Iterator[tuple[int, int]] | None:
        """Ranges of rows (of values, for vectors) that can be read as stored bytes.

        None where stored values are not in canonical order, or share bytes, or are
        coded.
        """
        info, shape = self._checkpoint.tensors[piece.name], self.shape(piece)
        if info.coding is not None:
            return None
        bits = DTYPES[info.dtype].bits
        whole = piece.index < 0 and piece.rows is None and info.count > 0
        if piece.layout is not Layout.PLAIN or piece.offset or bits % 8 or not shape:
            return None
        if len(shape) != 2 and not whole:
            return None
        width = math.prod(shape[1:])
        step = max(1, block_bytes // max(1, width * bits // 8))
        return ((a, min(a + step, shape[0])) for a in range(0, shape[0], step))

    def raw_block(self, piece: Piece, first: int, last: int) -> bytes:
        """Stored bytes of one of :meth:`block_ranges`."""
        info, shape = self._checkpoint.tensors[piece.name], self.shape(piece)
        if piece.index < 0 and piece.rows is None:
            width = math.prod(shape[1:]) * DTYPES[info.dtype].bits // 8
            return self._checkpoint.raw_range(
                piece.name, first * width, (last - first) * width
            )
        found = self._reader.raw_rows(piece, np.arange(first, last, dtype=np.int64))
        return found or b""

    def row_blocks(self, piece: Piece, block_bytes: int) -> Iterator[tuple[int, int]]:
        """Ranges of rows that :meth:`rows` reads without the others.

        Of a tensor of more dimensions than two the rows are those of all its matrices.
        """
        shape = self.shape(piece)
        height, width = math.prod(shape[:-1]), shape[-1]
        step = max(1, block_bytes // max(1, 4 * width))
        return ((a, min(a + step, height)) for a in range(0, height, step))

    def everything(self, piece: Piece) -> Bits:
        """A whole canonical tensor, whatever its layout."""
        shape = self.shape(piece)
        ranges = self.block_ranges(piece, _BLOCK_BYTES) if len(shape) == 2 else None
        if ranges is not None:
            result = np.empty(shape, np.uint16)
            for first, last in ranges:
                found = self.decoded(piece, self.raw_block(piece, first, last))
                result[first:last] = found.reshape(last - first, shape[1])
            return result
        if len(shape) == 2:
            return self.rows(piece, np.arange(shape[0], dtype=np.int64))
        return self.start(piece, max(1, math.prod(shape)))

    def decoded(self, piece: Piece, raw: bytes) -> Bits:
        """Canonical bits of stored bytes of a tensor.

        Raises:
            ArtifactError: See :meth:`rows`.
        """
        info = self._checkpoint.tensors[piece.name]
        bits, finite = canonical_bits(raw, info.dtype)
        if not finite:
            raise ArtifactError(
                f"tensor {quote(piece.name)} of file {quote(info.path)} has values "
                "that are not finite, wanted finite weights",
                reason="NonFiniteTensor",
                path=info.path,
            )
        return bits


def record_of(
    slot: Slot,
    shape: tuple[int, ...],
    sample: Bits,
    spec: FingerprintSpec,
    *,
    full: bytes = NO_DIGEST,
) -> TensorRecord:
    """The record of one canonical tensor.

    Args:
        slot: Its place.
        shape: Canonical.
        sample: Its sampled values, any shape.
        spec: Fixes how many are counted.
        full: Digest of all values, if they were read.
    """
    flat = np.ascontiguousarray(sample, "<u2").reshape(-1)
    state = hashlib.sha256(b"pedigree sample v2")
    state.update(np.array([len(shape), *shape], "<i8").tobytes())
    state.update(flat.data)
    seen = np.zeros(1 << 16, np.bool_)
    seen[flat[: spec.distinct_values]] = True
    return TensorRecord(
        slot=slot,
        shape=shape if len(shape) <= 2 else (shape[0], math.prod(shape[1:])),
        sample_digest=state.digest()[:DIGEST_BYTES],
        full_digest=full,
        seen=flat.size,
        zeros=flat.size - int(np.count_nonzero(flat)),
        distinct=int(np.count_nonzero(seen)),
    )
