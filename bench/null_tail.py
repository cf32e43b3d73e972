# SPDX-License-Identifier: Apache-2.0
"""The far tail of a permutation distribution, by simulation.

Subset simulation: many permutations are drawn, the tenth with the largest statistic is
kept and multiplied, and moved by random transpositions that keep the statistic above
the level reached, over and over.  The product of the shares kept estimates
probabilities that no plain simulation reaches.

Source: Au & Beck 2001, doi:10.1016/S0266-8920(01)00019-4.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
PARTICLES = 2000
KEPT = 0.1
SWEEPS = 3
"""Proposed transpositions per level, in units of n."""


def log10_tail(
    d: Matrix, levels: list[float], random: np.random.Generator
) -> list[float]:
    """Estimates of ``log10 P(T_pi >= level)``.

    Args:
        d: Centred matrix (n, n).
        levels: Ascending.
        random: Source of the permutations.

    Returns:
        One for each level; ``-inf`` if it was not reached.
    """
    n = len(d)
    order = random.permuted(np.tile(np.arange(n), (PARTICLES, 1)), axis=1)
    total = d[np.arange(n), order].sum(axis=1)  # (particles,)
    log_p, found = 0.0, []
    for level in levels:
        while (share := float((total >= level).mean())) < KEPT:
            cut = float(np.quantile(total, 1 - KEPT))
            above = float((total > cut).mean())
            if above == 0.0 or log_p < -120:
                break
            log_p += math.log10(above)
            chosen = random.choice(np.flatnonzero(total > cut), PARTICLES)
            order, total = order[chosen], total[chosen]
            _move(d, order, total, cut, random)
        found.append(log_p + math.log10(share) if share > 0 else -math.inf)
    return found


def _move(
    d: Matrix,
    order: NDArray[np.intp],
    total: Matrix,
    cut: float,
    random: np.random.Generator,
) -> None:
    """Transpose pairs in place wherever the statistic stays above the cut."""
    count, n = order.shape
    every = np.arange(count)
    for _ in range(SWEEPS * n):
        i, j = random.integers(n, size=(2, count))
        x, y = order[every, i], order[every, j]
        changed = total + d[i, y] + d[j, x] - d[i, x] - d[j, y]
        accepted = (changed > cut) & (i != j)
        at = every[accepted]
        order[at, i[accepted]], order[at, j[accepted]] = y[accepted], x[accepted]
        total[accepted] = changed[accepted]
