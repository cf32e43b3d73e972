# SPDX-License-Identifier: Apache-2.0
"""Weights made into IQ1_S, IQ2_XS and IQ3_S blocks, for tests that write such files.

The numbers of these types are places in tables of points.  Here a group of values takes
one of its possible scales by its size, and then the nearest point; llama.cpp searches
for better scales, so its files are a little closer to the weights.

Every packer also gives the values that it meant, for whoever checks a reader.

Layouts: structures ``block_iq*`` of ``ggml-common.h`` in ggml.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gguf
import numpy as np
from gguf import quants
from numpy.typing import NDArray

Values = NDArray[np.float32]
Numbers = NDArray[np.int64]
Packed = tuple[NDArray[np.uint8], Values]
"""Blocks, shape (n, bytes), and the values they stand for, shape (n, 256)."""

_AT_ONCE = 1 << 13
"""Vectors compared with all points at once: bounds the memory."""


def points_of(name: str) -> Values:
    """The points of a type, shape (points, 4 or 8); the package holds the tables."""
    kind: Any = quants._type_traits[gguf.GGMLQuantizationType[name]]
    kind.init_grid()
    table: Values = np.asarray(kind.grid, np.float32).reshape(kind.grid_shape)
    return table


def _nearest(vectors: Values, points: Values) -> Numbers:
    """Place of the nearest point of each vector, shape (n,)."""
    found = np.empty(len(vectors), np.int64)
    half = (points * points).sum(axis=1) / 2
    for at in range(0, len(vectors), _AT_ONCE):
        some = vectors[at : at + _AT_ONCE]
        found[at : at + _AT_ONCE] = (half - some @ points.T).argmin(axis=1)
    return found


def _scales(
    groups: Values, multiples: Values, size: float
) -> tuple[Values, Numbers, Values]:
    """One scale of each block, places in ``multiples`` of each group, both multiplied.

    Args:
        groups: Shape (n, groups, values).
        multiples: What a group can multiply the block's scale by, rising.
        size: Root mean square of points that fits values of size 1.

    Returns:
        Shapes (n,), (n, groups) and (n, groups).
    """
    wanted = np.sqrt((groups * groups).mean(axis=2)) / size
    scale = (wanted.max(axis=1) / multiples[-1]).astype(np.float16).astype(np.float32)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    steps = wanted * inverse[:, None]
    edges = (multiples[1:] + multiples[:-1]) / 2
    places = np.searchsorted(edges, steps)
    return scale, places, scale[:, None] * multiples[places]


def _steps(groups: Values, scales: Values) -> Values:
    """Values in units of the scale of their group; zeros where that is zero."""
    by = scales[..., None]
    return np.divide(groups, by, out=np.zeros_like(groups), where=by > 0)


def _bytes(*fields: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Fields of each block, shape (n, ...), one after the other."""
    flat = [np.ascontiguousarray(each).reshape(len(each), -1) for each in fields]
    return np.hstack([each.view(np.uint8) for each in flat])


def _halves(places: Numbers) -> NDArray[np.uint8]:
    """Pairs of 4-bit numbers, the first of a pair lower."""
    pairs = places.reshape(len(places), -1, 2)
    return (pairs[..., 0] | pairs[..., 1] << 4).astype(np.uint8)


def _iq1_s(blocks: Values) -> Packed:
    """Half d; 32 low bytes of places; 8 words of high bits, a scale and a shift."""
    groups = blocks.reshape(-1, 8, 32)
    multiples = np.arange(1, 16, 2, dtype=np.float32)
    scale, places, both = _scales(groups, multiples, 0.8)
    points = points_of("IQ1_S")
    shifts = np.array([0.125, -0.125], np.float32)
    steps = _steps(groups, both) - shifts[:, None, None, None]  # (2, n, 8, 32)
    found = _nearest(steps.reshape(-1, 8), points).reshape(*steps.shape[:3], 4)
    near = points[found].reshape(steps.shape)
    minus = ((near - steps) ** 2).sum(axis=3).argmin(axis=0)  # (n, 8)
    best = np.where(minus[..., None], found[1], found[0])
    near = np.where(minus[..., None], near[1], near[0]) + shifts[minus][..., None]
    high = (best >> 8 << np.array([0, 3, 6, 9])).sum(axis=2)
    words = (high | places << 12 | minus << 15).astype("<u2")
    stored = _bytes(scale.astype("<f2"), (best & 255).astype(np.uint8), words)
    return stored, (near * both[..., None]).reshape(blocks.shape)


def _iq2_xs(blocks: Values) -> Packed:
    """Half d; 32 words of a place and seven signs; 8 bytes of two 4-bit scales."""
    groups = blocks.reshape(-1, 16, 16)
    multiples = np.arange(1, 33, 2, dtype=np.float32) / np.float32(8)
    scale, places, both = _scales(groups, multiples, 22.0)
    steps = _steps(groups, both).reshape(-1, 8)
    minus = steps < 0
    # Minus must be even in number: the smallest value gives way.
    odd = minus.sum(axis=1) % 2 == 1
    least = np.abs(steps).argmin(axis=1)
    minus[odd, least[odd]] ^= True
    sizes = np.where(minus, -steps, steps)
    points = points_of("IQ2_XS")
    found = _nearest(sizes, points)
    signs = (minus[:, :7] << np.arange(7)).sum(axis=1)
    words = (found | signs << 9).astype("<u2").reshape(-1, 32)
    near = np.where(minus, -points[found], points[found]).reshape(groups.shape)
    stored = _bytes(scale.astype("<f2"), words, _halves(places))
    return stored, (near * both[..., None]).reshape(blocks.shape)


def _iq3_s(blocks: Values) -> Packed:
    """Half d; 64 low bytes of places; 8 of ninth bits; 32 of signs; 4 of scales."""
    groups = blocks.reshape(-1, 8, 32)
    multiples = np.arange(1, 33, 2, dtype=np.float32)
    scale, places, both = _scales(groups, multiples, 6.3)
    steps = _steps(groups, both).reshape(-1, 4)
    points = points_of("IQ3_S")
    nearest = _nearest(np.abs(steps), points)
    found = nearest.reshape(-1, 64)
    ninth = np.packbits((found >> 8).astype(np.uint8), axis=1, bitorder="little")
    minus = np.packbits(steps.reshape(-1, 256) < 0, axis=1, bitorder="little")
    low = (found & 255).astype(np.uint8)
    near = np.where(steps < 0, -points[nearest], points[nearest]).reshape(groups.shape)
    stored = _bytes(scale.astype("<f2"), low, ninth, minus, _halves(places))
    return stored, (near * both[..., None]).reshape(blocks.shape)


NUMBERS = {"IQ1_S": 19, "IQ2_XS": 17, "IQ3_S": 21}
"""Number of each type in a GGUF file."""
_PACKERS: dict[str, Callable[[Values], Packed]] = {
    "IQ1_S": _iq1_s,
    "IQ2_XS": _iq2_xs,
    "IQ3_S": _iq3_s,
}


def packed(values: Values, name: str) -> Packed:
    """Blocks of a matrix, line after line, and what they stand for.

    Args:
        values: Shape (rows, columns), finite; columns a multiple of 256.
        name: One of :data:`NUMBERS`.
    """
    if values.shape[1] % 256:
        raise ValueError(f"{values.shape[1]} columns, wanted a multiple of 256")
    blocks = np.ascontiguousarray(values, np.float32).reshape(-1, 256)
    stored, meant = _PACKERS[name](blocks)
    return stored, meant.reshape(values.shape)
