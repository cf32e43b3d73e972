# SPDX-License-Identifier: Apache-2.0
"""Rounding to few bits leaves marks; training and pruning do not."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from pedigree.fingerprint.bits import bits_of, canonical_bits, values_of
from pedigree.fingerprint.canonical import canonical
from pedigree.fingerprint.lattice import FLOATING, TABLE, grids
from pedigree.fingerprint.slots import Role, Slot
from pedigree.fingerprint.spec import V2

Values = NDArray[np.float32]
SLOT = Slot(Role.UP, 0)


def _weights(seed: int, columns: int = 512) -> Values:
    random = np.random.default_rng(seed)
    return random.normal(0, 0.02, (8, columns)).astype(np.float32)


def _integers(w: Values, largest: int, group: int) -> Values:
    parts = w.reshape(len(w), -1, group)
    scale = np.abs(parts).max(axis=2, keepdims=True) / largest
    rounded: Values = (np.rint(parts / scale) * scale).astype(np.float32)
    return rounded.reshape(w.shape)


def _asymmetric(w: Values) -> Values:
    parts = w.reshape(len(w), -1, 128)
    low, high = parts.min(axis=2, keepdims=True), parts.max(axis=2, keepdims=True)
    scale = (high - low) / 15
    zero = np.rint(-low / scale)
    codes = np.clip(np.rint(parts / scale + zero), 0, 15)
    rounded: Values = ((codes - zero) * scale).astype(np.float32)
    return rounded.reshape(w.shape)


def _float8(w: Values) -> Values:
    scale = np.abs(w).max(axis=1, keepdims=True) / 448
    stored = (w / scale).astype(ml_dtypes.float8_e4m3fn)
    rounded: Values = stored.astype(np.float32) * scale
    return rounded


def _sixteen_levels(w: Values) -> Values:
    levels = np.array([0.08, 0.16, 0.246, 0.338, 0.441, 0.563, 0.723, 1.0])
    levels = np.concatenate([-levels, [0.0], levels[:-1]])
    parts = w.reshape(len(w), -1, 64)
    scale = np.abs(parts).max(axis=2, keepdims=True)
    nearest = np.abs(parts[..., None] / scale[..., None] - levels).argmin(axis=-1)
    rounded: Values = (levels[nearest] * scale).astype(np.float32)
    return rounded.reshape(w.shape)


def _grid(values: Values) -> int:
    return grids({SLOT: bits_of(canonical(values))}, V2).get(SLOT, 0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("rounded", "bits"),
    [
        (lambda w: _integers(w, 1, 32), 2),
        (lambda w: _integers(w, 7, 32), 4),
        (lambda w: _integers(w, 7, 128), 4),
        (_asymmetric, 4),
        (lambda w: _integers(w, 127, 32), 8),
        (lambda w: _integers(w, 127, w.shape[1]), 8),
        (_float8, FLOATING | 8),
        (_sixteen_levels, TABLE | 4),
    ],
    ids=["2", "4-g32", "4-g128", "4-zero", "8-g32", "8-row", "float8", "levels"],
)
def test_rounded_weights_are_seen_to_lie_on_their_lattice(
    rounded: Callable[[Values], Values], bits: int, seed: int
) -> None:
    assert _grid(rounded(_weights(seed))) == bits


def _pruned(w: Values) -> Values:
    kept: Values = np.where(np.abs(w) < np.quantile(np.abs(w), 0.8), 0, w)
    return kept.astype(np.float32)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "change",
    [
        lambda w: w,
        _pruned,
        lambda w: w.astype(np.float16).astype(np.float32),
        lambda w: w * np.float32(1e-6),
        lambda w: np.where(np.arange(w.shape[1]) == 3, np.float32(9), w),
        lambda w: np.full_like(w, 0.25),
        np.zeros_like,
    ],
    ids=["plain", "pruned", "half", "tiny", "outlier", "constant", "zeros"],
)
def test_other_weights_lie_on_no_lattice(
    change: Callable[[Values], Values], seed: int
) -> None:
    assert _grid(change(_weights(seed, columns=(64, 128, 512)[seed % 3]))) == 0


def test_canonical_bits_of_every_bfloat16_are_those_of_its_canonical_value() -> None:
    stored = np.arange(1 << 16, dtype=np.uint16)
    values = values_of(stored)
    finite = np.isfinite(values)
    found, good = canonical_bits(stored[finite].tobytes(), "BF16")
    assert good
    assert np.array_equal(found, bits_of(canonical(values[finite])))


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [0, 70_000, 99_999])
def test_one_value_that_is_no_number_is_seen_among_many(
    dtype: str, value: float, place: int
) -> None:
    values = np.full(100_000, 0.5, np.float32)
    values[place] = value
    raw = {
        "BF16": lambda: bits_of(values).tobytes(),
        "F16": lambda: values.astype("<f2").tobytes(),
        "F32": lambda: values.astype("<f4").tobytes(),
    }[dtype]()
    assert canonical_bits(raw, dtype)[1] is False
    values[place] = 1
    assert canonical_bits(bits_of(values).tobytes(), "BF16")[1] is True
