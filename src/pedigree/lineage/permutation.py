# SPDX-License-Identifier: Apache-2.0
"""The permutation null: is a pairing of rows better than a random pairing?

Two models are described over one axis (neurons, residual channels) by n unit rows
each.  ``C[i, j]`` is the inner product of row i of A and row j of B.  If B was trained
without A and the axis is *exchangeable* (training commutes with permuting it), then
index i of A and index i of B were paired by nothing but a uniform random permutation,
whatever the rows look like.  The statistic is ``T = tr(D)``, with ``D`` the matrix
``C`` centred by rows and columns.

Nothing here extrapolates a fitted curve into the far tail.  A p-value is

* an **Edgeworth** expansion on the exact first four moments where it is large, decides
  nothing, and the moments are near those of a normal distribution,
* a **Monte Carlo** p-value, itself exact, in the doubtful range, and
* a **proven upper bound** in the tail, valid for every n and every ``D``.

This module does not know what the rows mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

MONTE_CARLO_FROM_Z = 2.5
"""Below it the four-moment expansion is used (p above about 0.006)."""
MONTE_CARLO_DRAWS = 10_000
_BATCHES = (500, 1500, 8000)
"""Draws between looks; together :data:`MONTE_CARLO_DRAWS`."""
_ENOUGH_HITS = 50
"""Hits after which the p-value is known to 14 % and no more draws are made."""
_SKEWNESS_MAX = 0.3
_KURTOSIS_MAX = 0.5
"""Beyond either the expansion is not used: with one dominant row, where T has two
values, it was seen to give 1e-4 for half of all pairings."""
_BOUND_FROM_LOG10_P = -3.0
"""The bound is taken from here down: Monte Carlo has about 10 hits at 1e-3."""
_EDGEWORTH_MAX_Z = 4.0
_IDLE_LOG10_P = -2.0
"""Above 0.01 after correction for cells nothing is decided: the expansion will do."""
_FIRST_TILT = 0.5
_DOUBLINGS = 16
_REFINEMENTS = (0.595, 0.707, 0.841, 1.189, 1.414, 1.682)
"""Where the bound is searched, in units of 1 / sd of T: for a normal T the best tilt is
Z, and the bound is only taken from Z = 2.5 up."""
_LN10 = math.log(10.0)


class Method(StrEnum):
    """How a p-value was obtained."""

    EDGEWORTH = "Edgeworth"
    MONTE_CARLO = "MonteCarlo"
    BOUND = "Bound"


@dataclass(frozen=True, slots=True)
class Moments:
    """Of ``tr(D[:, pi])`` over uniform permutations pi; the mean is 0."""

    variance: float
    skewness: float
    excess_kurtosis: float


@dataclass(frozen=True, slots=True)
class Tail:
    """One p-value: ``P(T_pi >= T)``, one-sided."""

    z: float
    log10_p: float
    method: Method


def centre(similarity: NDArray[np.floating]) -> Matrix:
    """Subtract row and column means: ``D`` has zero row and column sums.

    Args:
        similarity: Shape (n, n).
    """
    c = similarity.astype(np.float64)
    c -= c.mean(axis=0, keepdims=True)
    c -= c.mean(axis=1, keepdims=True)
    return c


def moments(d: Matrix) -> Moments:
    """Exact moments of the permutation distribution of ``tr(D)``.

    With zero row and column sums every term in which an index occurs once vanishes,
    which leaves, for S2 = sum D^2, R and Q the row and column sums of D^2, F the
    squared Frobenius norm of ``D D'``, and (n)_k = n (n-1) ... (n-k+1)::

        E[T^2] = S2 / (n-1)
        E[T^3] = n sum D^3 / ((n-1)(n-2))
        E[T^4] = S4/n + 4 S4/(n)_2 + 3 (S2^2 - R.R - Q.Q + S4)/(n)_2
               + 6 (S2^2 - 2 R.R - 2 Q.Q + 4 S4)/(n)_3
               + (36 S4 - 18 R.R - 18 Q.Q + 3 S2^2 + 6 F)/(n)_4

    Source: Hoeffding 1951 (variance), doi:10.1214/aoms/1177729545; the third and
    fourth by the same expansion, checked against all permutations in the tests.

    Args:
        d: Shape (n, n), n >= 4, centred.
    """
    n = d.shape[0]
    square = d * d
    rows, columns = square.sum(axis=1), square.sum(axis=0)  # (n,), (n,)
    s2, s3, s4 = (
        float(square.sum()),
        float((square * d).sum()),
        float((square**2).sum()),
    )
    rr, qq = float(rows @ rows), float(columns @ columns)
    gram = d @ d.T
    f = float((gram * gram).sum())
    n2, n3 = n * (n - 1), n * (n - 1) * (n - 2)
    n4 = n3 * (n - 3)
    second = s2 / (n - 1)
    third = n * s3 / ((n - 1) * (n - 2))
    fourth = (
        s4 / n
        + 4 * s4 / n2
        + 3 * (s2 * s2 - rr - qq + s4) / n2
        + 6 * (s2 * s2 - 2 * rr - 2 * qq + 4 * s4) / n3
        + (36 * s4 - 18 * rr - 18 * qq + 3 * s2 * s2 + 6 * f) / n4
    )
    if second <= 0.0:
        return Moments(0.0, 0.0, 0.0)
    return Moments(second, third / second**1.5, fourth / second**2 - 3.0)


def log10_bound(blocks: Sequence[Matrix], total: float) -> float:
    """A proven upper bound on ``log10 P(sum of T_pi >= total)``.

    Chernoff: ``P <= E[exp(t T)] exp(-t total)`` for every t >= 0, and
    ``E[exp(t T)] = per(exp(t D)) / n!``.  The permanent is at most the product over
    rows of ``sum_k a_k delta_k``, a_1 >= a_2 >= ... the sorted row and
    ``delta_k = k!^(1/k) - (k-1)!^(1/(k-1))``: write the row as a combination of 0/1
    rows with k leading ones; the permanent is linear in each row, and Bregman's
    theorem bounds that of a 0/1 matrix by the product of ``k!^(1/k)``.  The same holds
    by columns.  The bound is 1 at t = 0 and reaches 1/n! when every row's largest
    entry is its own partner, so it can never fall below 1/n!; ties only raise it.

    Any t gives a valid bound, so how it is searched for costs evidence at most: t is
    doubled until the bound rises, then refined between the neighbours of the best.

    Source: Bregman 1973 (Minc's conjecture); for weighted rows Soules 2005,
    doi:10.1016/j.laa.2004.06.022.

    Args:
        blocks: Centred matrices (n, n); each has its own independent permutation.
        total: Observed sum of their traces.

    Returns:
        At most 0 and at least ``-sum log10(n!)``.
    """
    scale = math.sqrt(sum(float((d * d).sum()) / (len(d) - 1) for d in blocks))
    if scale <= 0.0 or total <= 0.0:
        return 0.0
    floor = -sum(math.lgamma(len(d) + 1) for d in blocks)
    sides = [_Sides(d) for d in blocks]
    tilt, best, best_tilt = _FIRST_TILT / scale, 0.0, 0.0
    for side in sides:
        side.start(tilt)
    for _ in range(_DOUBLINGS):
        log_p = sum(side.log_mean() for side in sides) - tilt * total
        if log_p < best:
            best, best_tilt = log_p, tilt
        elif best_tilt or best <= floor:
            break
        for side in sides:
            side.double()
        tilt *= 2
    if best_tilt and best > floor:
        for factor in _REFINEMENTS:
            near = best_tilt * factor
            for side in sides:
                side.start(near)
            log_p = sum(side.log_mean() for side in sides) - near * total
            best = min(best, log_p)
    return max(best, floor) / _LN10


class _Sides:
    """Bound on ``log E[exp(t T)]`` of one block, by rows and by columns."""

    def __init__(self, d: Matrix) -> None:
        ordered = [-np.sort(-d, axis=1), -np.sort(-d.T, axis=1)]
        self._largest = [float(side[:, 0].sum()) for side in ordered]
        self._below = [side - side[:, :1] for side in ordered]  # at most 0
        self._weights = bregman_weights(len(d))
        self._log_factorial = math.lgamma(len(d) + 1)

    def start(self, tilt: float) -> None:
        self._tilt = tilt
        self._powers = [np.exp(tilt * below) for below in self._below]

    def double(self) -> None:
        """Double the tilt; squaring is much cheaper than another exponential."""
        self._tilt *= 2
        for power in self._powers:
            np.square(power, out=power)

    def log_mean(self) -> float:
        by_side = [
            self._tilt * largest + float(np.log(power @ self._weights).sum())
            for largest, power in zip(self._largest, self._powers, strict=True)
        ]
        return min(by_side) - self._log_factorial


@lru_cache(maxsize=64)
def bregman_weights(n: int) -> NDArray[np.float64]:
    """Shape (n,): delta_k = k!^(1/k) - (k-1)!^(1/(k-1)), delta_1 = 1."""
    k = np.arange(1, n + 1)
    roots = np.exp(np.array([math.lgamma(i + 1) / i for i in k]))
    return np.diff(roots, prepend=0.0)


def tail(blocks: Sequence[Matrix], *, seed: int, cells: int = 1) -> Tail:
    """P-value of the identity pairing, pooled over independent blocks.

    Args:
        blocks: Centred matrices (n, n), n >= 4; each has its own permutation.
        seed: Of the Monte Carlo draws; equal inputs give equal outputs.
        cells: How many p-values the caller takes the smallest of.  Where the expansion
            times this decides nothing, nothing better is computed.

    Returns:
        ``z`` by the exact variance, and the p-value; z = 0 and p = 1 when nothing
        varies.
    """
    total = sum(float(np.trace(d)) for d in blocks)
    variance = sum(float((d * d).sum()) / (len(d) - 1) for d in blocks)
    if variance <= 0.0:
        return Tail(0.0, 0.0, Method.EDGEWORTH)
    z = total / math.sqrt(variance)
    if z < MONTE_CARLO_FROM_Z or (z < _EDGEWORTH_MAX_Z and cells > 1):
        log10_p = _edgeworth(blocks, z)
        idle = log10_p is not None and log10_p + math.log10(cells) >= _IDLE_LOG10_P
        if log10_p is not None and (z < MONTE_CARLO_FROM_Z or idle):
            return Tail(z, log10_p, Method.EDGEWORTH)
    if z >= MONTE_CARLO_FROM_Z:
        bound = log10_bound(blocks, total)
        if bound <= _BOUND_FROM_LOG10_P:
            return Tail(z, bound, Method.BOUND)
    return Tail(z, _monte_carlo_log10_p(blocks, total, seed), Method.MONTE_CARLO)


def _edgeworth(blocks: Sequence[Matrix], z: float) -> float | None:
    """log10 p by the expansion; None if T is too far from normal for it."""
    parts = [moments(d) for d in blocks]
    variance = sum(part.variance for part in parts)
    skewness = sum(p.skewness * p.variance**1.5 for p in parts) / variance**1.5
    kurtosis = sum(p.excess_kurtosis * p.variance**2 for p in parts) / variance**2
    if abs(skewness) > _SKEWNESS_MAX or abs(kurtosis) > _KURTOSIS_MAX:
        return None
    return _edgeworth_log10_p(z, skewness, kurtosis)


def _edgeworth_log10_p(z: float, skewness: float, kurtosis: float) -> float:
    """Upper tail by the Edgeworth series to fourth order (Hall 1992, 2.3)."""
    correction = (
        skewness / 6 * (z * z - 1)
        + kurtosis / 24 * (z**3 - 3 * z)
        + skewness * skewness / 72 * (z**5 - 10 * z**3 + 15 * z)
    )
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    p = 0.5 * math.erfc(z / math.sqrt(2)) + density * correction
    return math.log10(min(1.0, max(p, 1.0 / MONTE_CARLO_DRAWS)))


def _monte_carlo_log10_p(blocks: Sequence[Matrix], total: float, seed: int) -> float:
    """Monte Carlo p-value ``(1 + hits) / (1 + draws)``, stopped when it is large.

    A stop after few draws happens only with many hits, that is where p is far above
    what the stop could hide: for every alpha the event ``p <= alpha`` is contained in
    that of a fixed number of draws, so the p-value stays valid.

    Source: Phipson & Smyth 2010, doi:10.2202/1544-6115.1585; stopping, Besag &
    Clifford 1991, doi:10.1093/biomet/78.2.301.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    tolerance = 1e-9 * max(1.0, abs(total))  # equal sums in another order still tie
    hits = draws = 0
    for batch in _BATCHES:
        drawn = np.zeros(batch)
        for d in blocks:
            n = d.shape[0]
            order = np.tile(np.arange(n, dtype=np.int32), (batch, 1))
            random.permuted(order, axis=1, out=order)
            drawn += d[np.arange(n), order].sum(axis=1)  # (batch, n) -> (batch,)
        hits += int((drawn >= total - tolerance).sum())
        draws += batch
        if hits >= _ENOUGH_HITS:
            break
    return math.log10((1 + hits) / (1 + draws))
