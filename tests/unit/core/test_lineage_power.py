# SPDX-License-Identifier: Apache-2.0
"""What a negative result says would have been seen, is seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from pedigree.lineage.permutation import (
    MONTE_CARLO_FROM_Z,
    Method,
    centre,
    log10_bound,
    tail,
)
from pedigree.lineage.power import smallest_effect


def cosines(seed: int, n: int = 48, features: int = 64) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, n, features))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    product: NDArray[np.float64] = a @ b.T
    return product


def related(effect: float, seed: int) -> NDArray[np.float64]:
    """Cosines of unit rows with those of a relative."""
    random = np.random.default_rng(seed)
    a, noise = random.normal(size=(2, 48, 64))
    b = effect * a + math.sqrt(1 - effect**2) * noise
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    product: NDArray[np.float64] = a @ b.T
    return product


def test_the_promised_effect_is_seen_in_nearly_all_relatives() -> None:
    promised = smallest_effect([cosines(1)], -8.0)
    assert promised is not None
    seen = [
        log10_bound([d], float(np.trace(d))) <= -8.0
        for d in (centre(related(promised, seed)) for seed in range(100))
    ]
    assert sum(seen) >= 97


def test_the_promise_is_not_far_above_what_is_needed() -> None:
    promised = smallest_effect([cosines(1)], -8.0)
    assert promised is not None
    seen = [
        log10_bound([d], float(np.trace(d))) <= -8.0
        for d in (centre(related(0.6 * promised, seed)) for seed in range(50))
    ]
    assert sum(seen) <= 25


def test_more_blocks_and_lower_demands_promise_smaller_effects() -> None:
    one, many = [cosines(1)], [cosines(seed) for seed in range(8)]
    found = [
        smallest_effect(many, -8.0),
        smallest_effect(one, -8.0),
        smallest_effect(one, -20.0),
    ]
    numbers = [x for x in found if x is not None]
    assert len(numbers) == 3
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[1] / 2


def test_what_no_number_of_rows_can_show_is_not_promised() -> None:
    assert smallest_effect([cosines(1, n=16)], -14.0) is None
    assert smallest_effect([np.ones((32, 32))], -8.0) is None


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.4])
def test_of_many_cells_no_better_p_value_is_computed_than_decides(
    strength: float,
) -> None:
    d = centre(cosines(3) + strength * np.eye(48) * 0.2)
    alone, among = tail([d], seed=1), tail([d], seed=1, cells=10**6)
    assert alone.z == among.z
    if alone.z >= MONTE_CARLO_FROM_Z:
        assert alone.method is not Method.EDGEWORTH
    assert among.method is Method.EDGEWORTH
    assert among.log10_p == pytest.approx(alone.log10_p, abs=0.4)


def test_stopping_early_keeps_p_values_valid() -> None:
    """With one dominant row all p-values come from draws, which stop when large."""
    random = np.random.default_rng(5)
    a, b = random.normal(0, 0.3, (2, 24, 12))
    a[0] += 3
    b[0] += 3
    p = np.array(
        [
            10 ** tail([centre(a @ b[random.permutation(24)].T)], seed=seed).log10_p
            for seed in range(300)
        ]
    )
    for alpha in (0.02, 0.05, 0.1, 0.3):
        error = 3 * math.sqrt(alpha * (1 - alpha) / len(p))
        assert (p <= alpha).mean() <= alpha + error
