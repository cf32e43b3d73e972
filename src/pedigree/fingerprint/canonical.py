# SPDX-License-Identifier: Apache-2.0
"""Canonical values: what of a weight survives how it is stored.

Two checkpoints hold the same weights if their canonical tensors are equal: names,
shards, order, transposition, and casts that lose nothing do not matter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.slots import Layout, Piece, Rows
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.layout import Extent

DIGEST_BYTES = 16
"""128 bits: finding a second tensor with a given digest takes 2**128 trials."""
BLOCK_BYTES = 4 << 20
"""float32 bytes held at once of a plain tensor; does not change any output."""
KEPT_BYTES = 64 << 20
"""float32 bytes of stored tensors kept for further pieces; does not change any
output.  One tensor is kept whatever its size, as its pieces are asked for in turn."""
_MAGIC = np.float32(0.75)
"""Spacing of float32 there is 2**-24, that of the subnormal float16 numbers."""
_EXACT_FROM = np.float32(2.0**-17)
"""From here up every bfloat16 is a float16 too, to the last bit."""
_ZERO = np.float32(0.0)

_CHUNK = 65_536


def canonical(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to bfloat16, and below 2**-17 to multiples of 2**-24; no negative zero.

    Both to nearest, ties to even, saturating.  Idempotent, so a bfloat16 model and its
    casts to float32 and to float16 (unless that overflows) have equal canonical
    values, and so have a float16 or float32 model and its cast to bfloat16.

    Args:
        values: Any shape, float32, finite.

    Returns:
        The same shape, float32, owned by the caller.
    """
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    result = np.empty_like(flat)
    for begin in range(0, flat.size, _CHUNK):
        _round(flat[begin : begin + _CHUNK], result[begin : begin + _CHUNK])
    return result.reshape(values.shape)


def _round(values: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """One stretch of :func:`canonical`, short enough for the processor's cache."""
    bits = values.view(np.uint32)
    if int(np.bitwise_or.reduce(bits)) & 0xFFFF:
        _to_bfloat16(bits, out)
        np.add(out, _ZERO, out=out)  # -0.0 becomes 0.0
    else:
        np.add(values, _ZERO, out=out)
    small = np.flatnonzero(np.abs(out) < _EXACT_FROM)
    if small.size:
        # Adding and taking away 0.75, whose last bit is 2**-24, rounds to that bit.
        out[small] = (out[small] + _MAGIC) - _MAGIC


def _to_bfloat16(bits: NDArray[np.uint32], out: NDArray[np.float32]) -> None:
    rounded = out.view(np.uint32)
    np.right_shift(bits, np.uint32(16), out=rounded)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits
    rounded &= np.uint32(0xFFFF0000)
    size = np.abs(out)
    if size.max(initial=0.0) == np.inf:  # within half a step of the largest
        np.subtract(rounded, np.uint32(0x10000), out=rounded, where=np.isinf(size))


class TensorHash:
    """Digest of one canonical tensor: SHA-256 over its shape, then its values.

    The input is ``b"pedigree tensor v1"``, the rank and each dimension as
    little-endian 64-bit integers, then the canonical values row by row as
    little-endian bfloat16; the digest is cut to :data:`DIGEST_BYTES`.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._state = hashlib.sha256(b"pedigree tensor v1")
        self._state.update(np.array([len(shape), *shape], "<i8").tobytes())

    def update(self, values: NDArray[np.float32]) -> None:
        """Add canonical values, in row-major order."""
        high = np.ascontiguousarray(values).view(np.uint32) >> np.uint32(16)
        self._state.update(high.astype("<u2").tobytes())

    def update_bits(self, bits: NDArray[np.uint16]) -> None:
        """Add the high halves of canonical values, in row-major order."""
        self._state.update(np.ascontiguousarray(bits, "<u2").data)

    def digest(self) -> bytes:
        """The digest of what was added."""
        return self._state.digest()[:DIGEST_BYTES]


class CanonicalReader:
    """Reads canonical tensors of one checkpoint, whole or by rows.

    Plain tensors are read by ranges, in blocks of bounded size.  Transposed ones have
    no rows to read alone: the stored matrix is read whole and a few are kept, so that
    the canonical tensors of a fused one cost one read.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._kept: dict[tuple[str, int], NDArray[np.float32]] = {}
        self._kept_bytes = 0

    def shape(self, piece: Piece) -> tuple[int, ...]:
        """Shape of a canonical tensor, (rows, columns) or (n,), without reading it."""
        shape = self._checkpoint.tensors[piece.name].shape
        if piece.index >= 0:
            shape = shape[1:]
        if piece.layout is Layout.TRANSPOSED:
            shape = shape[::-1]
        if piece.rows is not None:
            shape = (piece.rows.size, *shape[1:])
        return shape

    def is_row_major(self, piece: Piece) -> bool:
        """Whether some rows can be read without the others."""
        return piece.layout is Layout.PLAIN and len(self.shape(piece)) > 1

    def rows(self, piece: Piece, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some rows of a canonical matrix.

        Args:
            piece: A matrix; or more of them, of which all rows are counted.
            index: Shape (k,), canonical rows in any order; consecutive ones are read
                at once.

        Returns:
            Shape (k, columns), canonical float32.

        Raises:
            IndexError: A row is outside the matrix.
            ArtifactError: Reasons of :meth:`Checkpoint.read`.
            SourceError: The bytes could not be had.
        """
        index = np.asarray(index, np.int64)
        height = math.prod(self.shape(piece)[:-1])
        if index.size and not 0 <= int(index.min()) <= int(index.max()) < height:
            raise IndexError(f"canonical tensor has {height} rows, asked was another")
        where = _stored_rows(piece.rows, index)
        if not self.is_row_major(piece):
            whole = self._whole(piece)
            return self._finish(piece, whole[..., where].T)
        lines = where
        if piece.index >= 0:
            stored = self._checkpoint.tensors[piece.name].shape
            lines = where + piece.index * stored[1]
        return self._finish(piece, self._checkpoint.read_lines(piece.name, lines))

    def raw_rows(self, piece: Piece, index: NDArray[np.int64]) -> bytes | None:
        """Stored bytes of some rows of a canonical matrix.

        Returns:
            None where stored rows are not canonical ones: read :meth:`rows` then.

        Raises:
            IndexError: A row is outside the matrix.
            ArtifactError: Reasons of :meth:`Checkpoint.raw_lines`.
            SourceError: The bytes could not be had.
        """
        if not self.is_row_major(piece) or piece.offset:
            return None
        height = math.prod(self.shape(piece)[:-1])
        if index.size and not 0 <= int(index.min()) <= int(index.max()) < height:
            raise IndexError(f"canonical tensor has {height} rows, asked was another")
        lines = _stored_rows(piece.rows, index)
        if piece.index >= 0:
            lines = lines + piece.index * self._checkpoint.tensors[piece.name].shape[1]
        return self._checkpoint.raw_lines(piece.name, lines)

    def extents(self, piece: Piece, index: NDArray[np.int64] | None) -> list[Extent]:
        """Which bytes a read of some rows takes, or of all for None or transposed."""
        info = self._checkpoint.tensors[piece.name]
        if index is None or not self.is_row_major(piece):
            if info.coding is not None:
                return self._checkpoint.extents(
                    piece.name, np.arange(info.lines, dtype=np.int64)
                )
            return [Extent(info.path, info.begin, info.nbytes)]
        lines = _stored_rows(piece.rows, index)
        if piece.index >= 0:
            lines = lines + piece.index * info.shape[1]
        return self._checkpoint.extents(piece.name, lines)

    def ahead(self, extents: list[Extent]) -> None:
        """Read what will be asked for; see :meth:`Checkpoint.ahead`."""
        self._checkpoint.ahead(extents)

    def vector(self, piece: Piece) -> NDArray[np.float32]:
        """All of a canonical vector, shape (n,), float32."""
        whole = self._whole(piece)
        if piece.rows is not None:
            every = np.arange(piece.rows.size, dtype=np.int64)
            whole = whole[_stored_rows(piece.rows, every)]
        return self._finish(piece, whole.reshape(-1))

    def blocks(self, piece: Piece) -> Iterator[NDArray[np.float32]]:
        """A canonical tensor in consecutive blocks of rows.

        Yields:
            Shape (k, in) or (k,) or (), canonical float32.
        """
        if piece.layout is Layout.PLAIN and piece.index < 0 and piece.rows is None:
            for block in self._checkpoint.blocks(piece.name, BLOCK_BYTES):
                yield self._finish(piece, block)
            return
        shape = self.shape(piece)
        if len(shape) < 2:
            yield self.vector(piece)
            return
        step = max(1, BLOCK_BYTES // (4 * max(1, shape[1])))
        if piece.layout is Layout.TRANSPOSED:
            step = shape[0]
        for first in range(0, shape[0], step):
            last = min(first + step, shape[0])
            yield self.rows(piece, np.arange(first, last, dtype=np.int64))

    def _finish(self, piece: Piece, values: NDArray[np.float32]) -> NDArray[np.float32]:
        result = canonical(values)
        if piece.offset:
            result = canonical(result + np.float32(piece.offset))
        return result

    def _whole(self, piece: Piece) -> NDArray[np.float32]:
        """The stored tensor, or its entry of a stack; not yet canonical."""
        key = (piece.name, piece.index)
        kept = self._kept.pop(key, None)
        if kept is None:
            kept = self._read(piece)
            if kept.ndim < 2:
                return kept
            self._kept_bytes += kept.nbytes
        self._kept[key] = kept  # the last in order is the last used
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            oldest = self._kept.pop(next(iter(self._kept)))
            self._kept_bytes -= oldest.nbytes
        return kept

    def _read(self, piece: Piece) -> NDArray[np.float32]:
        if piece.index < 0:
            return self._checkpoint.read(piece.name)
        inner = self._checkpoint.tensors[piece.name].shape[1:]
        count = inner[0] if len(inner) > 1 else 1
        first = piece.index * count
        lines = np.arange(first, first + count, dtype=np.int64)
        return self._checkpoint.read_lines(piece.name, lines).reshape(inner)


def _stored_rows(rows: Rows | None, index: NDArray[np.int64]) -> NDArray[np.int64]:
    if rows is None:
        return index
    group, within = np.divmod(index, rows.run)
    return rows.begin + group * rows.step + within
