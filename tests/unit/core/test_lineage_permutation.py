# SPDX-License-Identifier: Apache-2.0
"""Theorems about the permutation null, checked against all permutations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pedigree.lineage import permutation


def _all_traces(d: NDArray[np.float64]) -> NDArray[np.float64]:
    n = len(d)
    return np.array(
        [
            d[np.arange(n), list(order)].sum()
            for order in itertools.permutations(range(n))
        ]
    )


def _matrix(n: int, seed: int, heavy: bool = False) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    c = random.standard_t(2, (n, n)) if heavy else random.normal(size=(n, n))
    return permutation.centre(c)


@pytest.mark.parametrize("seed", range(5))
def test_the_four_moments_are_those_of_all_permutations(seed: int) -> None:
    d = _matrix(6, seed, heavy=True)
    traces = _all_traces(d)
    exact = permutation.moments(d)
    deviation = traces.std()
    assert traces.mean() == pytest.approx(0, abs=1e-9)
    assert exact.variance == pytest.approx(traces.var())
    assert exact.skewness == pytest.approx((traces**3).mean() / deviation**3)
    assert exact.excess_kurtosis == pytest.approx((traces**4).mean() / deviation**4 - 3)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(4, 6),
    seed=st.integers(0, 2**32 - 1),
    strength=st.floats(0, 5),
    heavy=st.booleans(),
)
def test_the_bound_is_never_below_the_exact_p_value(
    n: int, seed: int, strength: float, heavy: bool
) -> None:
    c = _matrix(n, seed, heavy) + strength * np.eye(n)
    d = permutation.centre(c)
    total = float(np.trace(d))
    exact = (_all_traces(d) >= total - 1e-9).mean()
    assert permutation.log10_bound([d], total) >= math.log10(exact) - 1e-9


def test_the_bound_for_two_blocks_is_never_below_the_exact_p_value() -> None:
    for seed in range(20):
        first = permutation.centre(_matrix(5, seed) + np.eye(5))
        second = permutation.centre(_matrix(4, seed + 100) + np.eye(4))
        total = float(np.trace(first) + np.trace(second))
        sums = _all_traces(first)[:, None] + _all_traces(second)[None, :]
        exact = (sums >= total - 1e-9).mean()
        assert permutation.log10_bound([first, second], total) >= math.log10(exact)


def test_a_perfect_pairing_reaches_the_floor_of_one_in_n_factorial() -> None:
    n = 32
    d = permutation.centre(np.eye(n))
    floor = -math.lgamma(n + 1) / math.log(10)
    assert permutation.log10_bound([d], float(np.trace(d))) == pytest.approx(floor)
    assert permutation.tail([d], seed=1).log10_p >= floor


def test_equal_rows_are_no_evidence() -> None:
    d = permutation.centre(np.ones((16, 16)))
    assert permutation.tail([d], seed=1) == permutation.Tail(
        0.0, 0.0, permutation.Method.EDGEWORTH
    )


def test_ties_raise_the_bound_above_the_floor() -> None:
    twins = np.kron(np.eye(8), np.ones((2, 2)))  # 8 pairs of equal rows
    d = permutation.centre(twins)
    exact = 8 * math.log10(2) - math.lgamma(17) / math.log(10)
    assert permutation.log10_bound([d], float(np.trace(d))) >= exact - 1e-9


def test_p_values_of_random_pairings_are_uniform_where_they_are_large() -> None:
    random = np.random.default_rng(7)
    base = random.standard_t(3, (24, 10)) + 3 * random.normal(size=10)
    other = random.standard_t(3, (24, 10)) + 3 * random.normal(size=10)
    p = np.array(
        [
            10
            ** permutation.tail(
                [permutation.centre(base @ other[random.permutation(24)].T)], seed=k
            ).log10_p
            for k in range(800)
        ]
    )
    ranks = np.sort(p)
    distance = np.abs(ranks - (np.arange(800) + 0.5) / 800).max()
    assert distance < 1.63 / math.sqrt(800)  # Kolmogorov-Smirnov at 1 %


def test_the_doubtful_range_is_answered_by_monte_carlo_and_repeats_exactly() -> None:
    random = np.random.default_rng(11)
    c = random.normal(size=(24, 24)) + 0.5 * np.eye(24)
    d = permutation.centre(c)
    first = permutation.tail([d], seed=3)
    assert first.method is permutation.Method.MONTE_CARLO
    assert first == permutation.tail([d], seed=3)
    normal = 0.5 * math.erfc(first.z / math.sqrt(2))
    assert first.log10_p == pytest.approx(math.log10(normal), abs=0.6)


def test_a_stronger_pairing_never_has_a_larger_bound() -> None:
    noise = _matrix(32, 5)
    bounds = []
    for strength in (0.5, 1.0, 2.0, 4.0, 8.0):
        d = permutation.centre(noise + strength * np.eye(32))
        bounds.append(permutation.log10_bound([d], float(np.trace(d))))
    assert bounds == sorted(bounds, reverse=True)


def test_one_dominant_row_does_not_make_random_pairings_significant() -> None:
    """Found by the calibration bench: the expansion alone said 1e-4 for most."""
    random = np.random.default_rng(12)
    a, b = random.normal(0, 1e-3, (2, 32, 20))
    a[0] += 1
    b[0] += 1
    for seed in range(40):
        c = a @ b[random.permutation(32)].T
        found = permutation.tail([permutation.centre(c)], seed=seed)
        assert found.log10_p > -2.3  # the least p-value is near 1/32


def test_p_values_of_outlier_rows_are_uniform() -> None:
    random = np.random.default_rng(13)
    a, b = random.standard_t(4, (2, 32, 20))
    a[:3] *= 12
    b[:3] *= 12
    p = [
        10
        ** permutation.tail(
            [permutation.centre(a @ b[random.permutation(32)].T)], seed=seed
        ).log10_p
        for seed in range(120)
    ]
    distance = np.abs(np.sort(p) - (np.arange(120) + 0.5) / 120).max()
    assert distance < 1.63 / math.sqrt(120)  # Kolmogorov-Smirnov at 1 %
