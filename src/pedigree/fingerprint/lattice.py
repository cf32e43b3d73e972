# SPDX-License-Identifier: Apache-2.0
"""Tells from a few values that a tensor was rounded to a coarser lattice before.

Quantised weights that were brought back to bfloat16 still lie on the lattice, within
the rounding of bfloat16.  Per tensor the first sampled rows are looked at, their first
256 columns: 16 groups of 32.  Source of the formats: their published definitions;
thresholds are arbitrary and far from what independent values reach: one random value
passes with probability below 0.3, and at least 32 must pass.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.bits import Bits, values_of
from pedigree.fingerprint.slots import Slot
from pedigree.fingerprint.spec import FingerprintSpec

GROUP = 32
"""Values that share a step: of the formats in use, the shortest group."""
CHUNK = 128
COLUMNS = 256
FLOATING = 0x80
"""Added for floating-point lattices: 0x88 for 8-bit floats."""
TABLE = 0x40
"""Added for lattices that are no arithmetic progression: 0x44 for 16 free values."""
_LEVELS = ((1, 2), (3, 3), (15, 4))
"""Largest number of steps in a group, and the bits that hold it."""
_SHARE = 0.9
_INT8 = 127
_NEAR = 32.0
"""Steps up to which the rounding of bfloat16 stays below a fifth of a step."""
_SLACK, _SLOPE = 0.02, 0.0055
_FEWEST = 32

Values = NDArray[np.float32]


def grids(samples: Mapping[Slot, Bits], spec: FingerprintSpec) -> dict[Slot, int]:
    """The lattice of each tensor.

    Args:
        samples: By slot: shape (rows, columns), first sampled rows, canonical.
        spec: Says how many rows.

    Returns:
        By slot, without the tensors that lie on none: bits of the coarsest lattice,
        with :data:`FLOATING` or :data:`TABLE` added where that is its kind.
    """
    by_shape: dict[tuple[int, ...], list[Slot]] = {}
    for slot, rows in samples.items():
        width = min(COLUMNS, rows.shape[1] // GROUP * GROUP)
        if len(rows) >= spec.grid_rows and width >= GROUP:
            by_shape.setdefault((spec.grid_rows, width), []).append(slot)
    found: dict[Slot, int] = {}
    for (height, width), slots in by_shape.items():
        whole = [samples[slot][:height] & np.uint16(0x7FFF) for slot in slots]
        peaks = values_of(np.array([rows.max(axis=1) for rows in whole]))
        tiles = np.stack([rows[:, :width] for rows in whole])  # (t, rows, width)
        bits = _lattices(tiles, peaks)
        found |= {slot: bit for slot, bit in zip(slots, bits, strict=True) if bit}
    return found


def _lattices(tiles: Bits, peaks: Values) -> list[int]:
    """Bits for each tile.

    Args:
        tiles: Shape (t, rows, width): bits of magnitudes.
        peaks: Shape (t, rows): largest magnitude of each whole row.
    """
    count = len(tiles)
    groups = np.sort(tiles.reshape(count, -1, GROUP), axis=2)
    fresh = groups > 0
    fresh[:, :, 1:] &= groups[:, :, 1:] != groups[:, :, :-1]
    distinct, nonzero = fresh.sum(axis=2), (groups > 0).sum(axis=2)  # (t, groups)
    total = nonzero.sum(axis=1)
    ratio = distinct.sum(axis=1) / np.maximum(total, 1)
    varied = (groups[:, :, -1] > 0).any(axis=1) & (
        groups.reshape(count, -1).max(axis=1) > _least(groups)
    )
    result = np.zeros(count, np.int64)
    values = values_of(groups)
    few = varied & (ratio < 0.75) & (total >= _FEWEST)
    if few.any():
        result[few] = _uniform(values[few])
        table = few & (result == 0) & (ratio <= 0.6)
        table &= (distinct <= 8).mean(axis=1) >= _SHARE
        result[table] = TABLE | 4
    left = varied & (result == 0)
    if left.any():
        result[left] = _eight(tiles[left], values[left], peaks[left])
    return [int(bits) for bits in result]


def _least(groups: Bits) -> NDArray[np.uint16]:
    """Smallest magnitude above zero of each tile, shape (t,)."""
    flat = groups.reshape(len(groups), -1)
    least: NDArray[np.uint16] = np.where(flat > 0, flat, 0x7FFF).min(axis=1)
    return least


def _uniform(values: Values) -> NDArray[np.int64]:
    """2, 3 or 4 where nearly all groups are few multiples of a step, else 0."""
    peak = values[:, :, -1:]  # (t, groups, 1), sorted
    some = peak[:, :, 0] > 0
    best = np.full(some.shape, 99)
    for steps in range(15, 0, -1):
        ratio = values / np.where(peak > 0, peak / steps, 1)
        error = np.abs(ratio - np.rint(ratio))
        best[(error <= _SLACK + _SLOPE * ratio).all(axis=2) & some] = steps
    result = np.zeros(len(values), np.int64)
    for levels, bits in reversed(_LEVELS):
        fits = (best <= levels).sum(axis=1) >= _SHARE * np.maximum(some.sum(axis=1), 1)
        result[fits & some.any(axis=1)] = bits
    return result


def _eight(tiles: Bits, values: Values, peaks: Values) -> NDArray[np.int64]:
    """8 for 8-bit integers by group or row, 0x88 for 8-bit floats, else 0."""
    result = np.zeros(len(tiles), np.int64)
    if tiles.shape[2] >= CHUNK:
        result[_is_float(tiles, peaks)] = FLOATING | 8
    rows = values_of(tiles)
    by_row = _is_int8(rows, peaks[:, :, None])
    by_group = _is_int8(values, values[:, :, -1:])
    result[(by_row | by_group) & (result == 0)] = 8
    return result


def _is_int8(values: Values, peak: Values) -> NDArray[np.bool_]:
    ratio = values / np.where(peak > 0, peak / _INT8, np.inf)
    near = (ratio >= 0.5) & (ratio <= _NEAR)
    error = np.abs(ratio - np.rint(ratio))
    small = (ratio < 0.5) & (ratio > _SLACK)  # no multiple of the step
    good = (near & (error <= _SLACK + _SLOPE * ratio)).sum(axis=(1, 2))
    bad = (small | near).sum(axis=(1, 2)) - good
    fits: NDArray[np.bool_] = (good >= _FEWEST) & (bad <= good // 50)
    return fits


def _is_float(tiles: Bits, peaks: Values) -> NDArray[np.bool_]:
    """Whether mantissas are those of a three-bit one, times one scale."""
    count, height, width = tiles.shape
    width = width // CHUNK * CHUNK
    part = tiles[:, :, :width].reshape(count, height, -1, CHUNK)
    large = values_of(part) >= peaks[:, :, None, None] / 64
    mantissas = np.where(large & (part > 0), part & 0x7F, 0xFF).astype(np.uint8)
    mantissas.sort(axis=3)
    fresh = mantissas < 0xFF
    fresh[..., 1:] &= mantissas[..., 1:] != mantissas[..., :-1]
    distinct, seen = fresh.sum(axis=3), (mantissas < 0xFF).sum(axis=3)
    fits: NDArray[np.bool_] = ((distinct <= 8) & (seen >= _FEWEST)).all(axis=(1, 2))
    return fits
