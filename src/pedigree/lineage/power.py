# SPDX-License-Identifier: Apache-2.0
"""What a permutation test would have seen: the power of a negative result."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pedigree.lineage.permutation import Matrix, bregman_weights, centre

_POWER_Z = 2.326
"""99 % quantile of the normal distribution."""
_TILTS = 14
_STEPS = 8


def smallest_effect(similarity: Sequence[Matrix], alpha_log10: float) -> float | None:
    """Mean cosine that a test would have reported significant with 99 % power.

    The diagonal is set to the mean of the other entries plus an effect e, and the
    smallest e whose proven bound (``permutation.log10_bound``, by rows) passes is found
    by bisection.  A row's bound ``S`` at tilt t grows by at most ``exp(t x)`` when an
    entry becomes x, since the weights of the bound fall with rank and the first is 1:
    the rows are sorted once, not for every e, which errs towards a larger effect.
    2.33 standard errors of the mean of the diagonal are added.

    Args:
        similarity: Matrices (n, n) of cosines, one for each independent permutation.
        alpha_log10: log10 of the threshold.

    Returns:
        At most 1; None if not even the effect of equal weights would have been seen.
    """
    spread = math.sqrt(float(np.mean([c.var() for c in similarity])))
    if spread <= 0.0:
        return None
    rows = [_Rows(c) for c in similarity]
    trace = sum(r.trace for r in rows)
    weight = sum(r.n - 1 for r in rows)
    deviation = math.sqrt(sum(r.variance for r in rows))
    tilts = np.geomspace(0.5, 0.5 * 2.0 ** (_TILTS - 1), _TILTS) / deviation
    logs = [r.log_sums(tilts) for r in rows]

    def passes(effect: float) -> bool:
        log_p = -tilts * (trace + effect * weight)
        for r, log_sums in zip(rows, logs, strict=True):
            raised = tilts[:, None] * (r.diagonal + effect)  # (tilts, n)
            log_p += np.logaddexp(log_sums, raised).sum(axis=1)
            log_p -= tilts * effect + math.lgamma(r.n + 1)
        return float(log_p.min()) / math.log(10.0) <= alpha_log10

    if not passes(1.0):
        return None
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    smallest = high + _POWER_Z * spread / math.sqrt(sum(r.n for r in rows))
    return smallest if smallest <= 1.0 else None


class _Rows:
    """One similarity matrix whose diagonal says nothing."""

    def __init__(self, c: Matrix) -> None:
        self.n = len(c)
        blank = c.copy()
        others = (float(c.sum()) - float(np.trace(c))) / (self.n * (self.n - 1))
        np.fill_diagonal(blank, others)
        d = centre(blank)
        self.diagonal = np.diagonal(d).copy()
        self.trace = float(self.diagonal.sum())
        self.variance = float((d * d).sum()) / (self.n - 1)
        self._ordered = -np.sort(-d, axis=1)

    def log_sums(self, tilts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shape (tilts, n): log of the bound's sum for each row; tilts double."""
        largest = self._ordered[:, 0]
        power = np.exp(tilts[0] * (self._ordered - largest[:, None]))
        weights = bregman_weights(self.n)
        result = np.empty((len(tilts), self.n))
        for k, tilt in enumerate(tilts):
            result[k] = tilt * largest + np.log(power @ weights)
            np.square(power, out=power)
        return result
