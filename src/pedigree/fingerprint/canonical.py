# SPDX-License-Identifier: Apache-2.0
"""Canonical values: what of a weight survives how it is stored.

Two checkpoints hold the same weights if their canonical tensors are equal: names,
shards, order, transposition, and casts that lose nothing do not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.roles import Layout, Piece
from pedigree.tensors.checkpoint import Checkpoint

DIGEST_BYTES = 16
"""128 bits: finding a second tensor with a given digest takes 2**128 trials."""
BLOCK_BYTES = 4 << 20
"""float32 bytes held at once of a plain tensor; does not change any output."""
_MAGIC = np.float32(0.75)
"""Spacing of float32 there is 2**-24, that of the subnormal float16 numbers."""
_EXACT_FROM = np.float32(2.0**-17)
"""From here up every bfloat16 is a float16 too, to the last bit."""

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
    rounded = out.view(np.uint32)
    np.right_shift(bits, np.uint32(16), out=rounded)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits
    rounded &= np.uint32(0xFFFF0000)
    size = np.abs(out)
    if size.max(initial=0.0) == np.inf:  # within half a step of the largest
        np.subtract(rounded, np.uint32(0x10000), out=rounded, where=np.isinf(size))
    small = size < _EXACT_FROM
    # Adding and taking away 0.75, whose last bit is 2**-24, rounds to that bit.
    np.copyto(out, (out + _MAGIC) - _MAGIC, where=small)
    out += np.float32(0.0)  # -0.0 becomes 0.0


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

    def digest(self) -> bytes:
        """The digest of what was added."""
        return self._state.digest()[:DIGEST_BYTES]


class CanonicalReader:
    """Reads canonical tensors of one checkpoint.

    Plain tensors are read in blocks of bounded size.  Transposed ones are read whole,
    once for all canonical tensors they hold; only small models store them so.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._last: tuple[str, NDArray[np.float32]] | None = None

    def shape(self, piece: Piece) -> tuple[int, ...]:
        """Shape of a canonical tensor, without reading it."""
        stored = self._checkpoint.tensors[piece.name].shape
        if piece.layout is Layout.PLAIN:
            return stored
        turned = stored[::-1]
        if piece.layout is Layout.TRANSPOSED_THIRDS:
            return (turned[0] // 3, *turned[1:])
        return turned

    def blocks(self, piece: Piece) -> Iterator[NDArray[np.float32]]:
        """A canonical tensor in consecutive blocks of rows.

        Yields:
            Shape (k, in) or (k,) or (), canonical float32.
        """
        if piece.layout is Layout.PLAIN:
            for block in self._checkpoint.blocks(piece.name, BLOCK_BYTES):
                yield canonical(block)
            return
        turned = self._whole(piece.name).T  # (out, in) or (out,)
        if piece.layout is Layout.TRANSPOSED_THIRDS:
            size = turned.shape[0] // 3
            turned = turned[piece.third * size : (piece.third + 1) * size]
        yield np.ascontiguousarray(turned)

    def _whole(self, name: str) -> NDArray[np.float32]:
        if self._last is None or self._last[0] != name:
            self._last = (name, canonical(self._checkpoint.read(name)))
        return self._last[1]
