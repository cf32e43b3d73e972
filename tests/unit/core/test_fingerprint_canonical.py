# SPDX-License-Identifier: Apache-2.0
"""Canonical values and sampling: the laws that make fingerprints comparable."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from pedigree.fingerprint.canonical import TensorHash, canonical
from pedigree.fingerprint.roles import Role
from pedigree.fingerprint.sampling import Axis, sample, sketch_matrix
from pedigree.fingerprint.sketches import centred_ranks, quantise

FLOATS = npst.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)
WEIGHTS = npst.arrays(
    np.float32, st.integers(1, 40), elements=st.floats(-64, 64, width=32)
)


@given(FLOATS)
def test_canonical_values_stay_when_made_canonical_again(
    values: NDArray[np.float32],
) -> None:
    once = canonical(values)
    assert np.array_equal(once, canonical(once))
    assert np.isfinite(once).all()


@given(WEIGHTS)
def test_a_cast_to_bfloat16_does_not_change_canonical_values(
    values: NDArray[np.float32],
) -> None:
    cast = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert np.array_equal(canonical(values), canonical(cast))


@given(WEIGHTS)
def test_a_cast_of_bfloat16_to_float16_does_not_change_canonical_values(
    values: NDArray[np.float32],
) -> None:
    stored = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    cast = stored.astype(np.float16).astype(np.float32)
    assert np.array_equal(canonical(stored), canonical(cast))


def test_negative_zero_is_zero() -> None:
    assert not np.signbit(canonical(np.array([-0.0, -1e-30], np.float32))).any()


def test_digests_depend_on_shape_and_values_and_on_nothing_else() -> None:
    values = canonical(np.arange(12, dtype=np.float32))

    def digest(shape: tuple[int, ...], parts: list[NDArray[np.float32]]) -> bytes:
        state = TensorHash(shape)
        for part in parts:
            state.update(part)
        return state.digest()

    whole = digest((3, 4), [values])
    assert whole == digest((3, 4), [values[:5], values[5:]])
    assert whole != digest((4, 3), [values])
    assert whole != digest((3, 4), [values[::-1]])


@given(small=st.integers(0, 400), more=st.integers(0, 400), count=st.integers(1, 64))
@settings(deadline=None)
def test_samples_of_a_longer_axis_agree_where_the_shorter_one_reaches(
    small: int, more: int, count: int
) -> None:
    short = sample(7, Axis.TOKEN, small, count)
    long = sample(7, Axis.TOKEN, small + more, count)
    assert len(short) == min(small, count)
    assert set(long[long < small]) <= set(short)
    assert list(short) == sorted(set(short))


def test_samples_depend_on_seed_and_axis() -> None:
    one = sample(7, Axis.TOKEN, 1000, 20).tolist()
    assert one == sample(7, Axis.TOKEN, 1000, 20).tolist()
    assert one != sample(8, Axis.TOKEN, 1000, 20).tolist()
    assert one != sample(7, Axis.CHANNEL, 1000, 20).tolist()


def test_sample_positions_of_version_1_never_change() -> None:
    assert sample(SEED_V1, Axis.NEURON, 352, 8).tolist() == GOLDEN_NEURONS
    assert sample(SEED_V1, Axis.TOKEN, 2048, 8).tolist() == GOLDEN_TOKENS


SEED_V1 = 0x706564696772
GOLDEN_NEURONS = [67, 71, 75, 134, 145, 165, 305, 340]
GOLDEN_TOKENS = [587, 785, 858, 861, 1019, 1610, 1895, 1943]


def test_a_sketch_keeps_inner_products_on_average() -> None:
    random = np.random.default_rng(3)
    x, y = random.normal(size=(2, 500))
    exact = x @ y
    kept = []
    for seed in range(300):
        matrix = sketch_matrix(seed, Role.UP, 500, 32)
        kept.append((x @ matrix) @ (y @ matrix))
    error = np.std(kept) / np.sqrt(300)
    assert abs(np.mean(kept) - exact) < 4 * error
    bound = np.sqrt(((x @ x) * (y @ y) + exact**2) / 32)
    assert np.std(kept) < 1.2 * bound


def test_every_index_has_one_signed_bucket() -> None:
    matrix = sketch_matrix(5, Role.DOWN, 64, 8)
    assert (np.abs(matrix).sum(axis=1) == 1).all()
    assert (np.abs(matrix).sum(axis=0) > 0).all()


def test_quantised_rows_keep_their_direction_and_zeros_stay() -> None:
    random = np.random.default_rng(4)
    rows = random.normal(size=(50, 32)) * np.geomspace(1e-6, 1e6, 50)[:, None]
    rows[7] = 0
    kept = quantise(rows).astype(float)
    live = np.arange(50) != 7
    cosine = (kept * rows).sum(axis=1)[live] / (
        np.linalg.norm(kept, axis=1)[live] * np.linalg.norm(rows, axis=1)[live]
    )
    assert cosine.min() > 0.9995
    assert not kept[7].any()


@pytest.mark.parametrize(
    ("values", "ranks"),
    [
        ([1.0, 2.0, 3.0], [-127, 0, 127]),
        ([5.0, 5.0, 5.0], [0, 0, 0]),
        ([1.0, 1.0, 2.0, 2.0], [-85, -85, 85, 85]),
        ([4.0], [0]),
    ],
)
def test_ranks_are_centred_and_ties_share_one(
    values: list[float], ranks: list[int]
) -> None:
    assert centred_ranks(np.array(values, np.float32)).tolist() == ranks
