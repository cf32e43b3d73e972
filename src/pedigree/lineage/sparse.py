# SPDX-License-Identifier: Apache-2.0
"""SPARSE: merges of parts of changes, as DARE and TIES make them.

Definition
    Of each model's change from a base, single weights are left out (DARE: at random;
    TIES: the small ones), and what is kept is scaled by one factor and added to the
    base.  So where one parent alone was kept, the change of the merge is an exact
    multiple of that parent's change, with one factor everywhere; where none was, the
    merge equals the base bit by bit.
Decision
    At least 10 % of the weights equal one reference, and other references in fewer than
    0.8 times as many places; and for at least two others, among the weights where
    rounding leaves the factor known to 0.05, 15 % or more have one and the same factor,
    three times as many as have one that is a quarter larger or a fifth smaller.
    Siblings that were tuned on one text correlate, but their ratios spread.
Shares
    Least squares over the weights that no single parent explains, where several were
    kept: relative shares of the changes, approximate.
Cost
    Two sorts of the samples for each reference.
Limits
    After rounding to a lattice no multiple is exact, and nothing is told.
Source
    Yu et al. 2024 (DARE); Yadav et al. 2023 (TIES).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EQUAL_MIN = 0.1
OTHERS_MAX = 0.8
WIDTH_MAX = 0.1
"""Width of the interval of factors that rounding leaves."""
FACTOR_MIN = 0.05
"""Smaller multiples of a change are none."""
EXACT_MIN = 0.15
STANDS_OUT = 3.0
"""Times as many as at the factor half or twice as large."""
KNOWN_MIN = 200
"""Weights wanted whose factor is known well."""

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Sparse:
    """A merge of parts of changes.

    Attributes:
        base: Column of the reference that was changed.
        shares: Of the changes, by column; 0 for the base and for strangers.
        equal: Share of weights that equal the base.
        exact: Share of the others that are multiples of one parent's change.
    """

    base: int
    shares: Values
    equal: float
    exact: float


def read_sparse(target: Values, columns: Values) -> Sparse | None:
    """What parts of changes a model is made of, or None.

    Args:
        target: Shape (weights,), rounded to bfloat16.
        columns: Shape (weights, references).
    """
    equal = (columns == target[:, None]).mean(axis=0)
    base = int(np.argmax(equal))
    others = np.delete(equal, base)
    if equal[base] < EQUAL_MIN or others.max(initial=0.0) >= OTHERS_MAX * equal[base]:
        return None
    changed = columns[:, base] != target
    if int(changed.sum()) < KNOWN_MIN:
        return None
    half = _step(target[changed]) / 2
    change = target[changed] - columns[changed, base]
    changes = columns[changed] - columns[changed][:, [base]]
    exact = np.zeros(changes.shape, bool)
    for k in range(changes.shape[1]):
        if k != base:
            exact[:, k] = _multiples(change, changes[:, k], half)
    parents = np.flatnonzero(exact.any(axis=0))
    if len(parents) < 2:
        return None
    several = ~exact.any(axis=1)
    columns_left = changes[several][:, parents] if several.sum() > KNOWN_MIN else None
    shares = np.zeros(changes.shape[1])
    if columns_left is None:
        shares[parents] = exact[:, parents].mean(axis=0)
    else:
        fitted = np.linalg.lstsq(columns_left, change[several], rcond=None)[0]
        shares[parents] = np.maximum(fitted, 0.0)
    total = float(shares.sum())
    if total <= 0:
        return None
    return Sparse(base, shares / total, float(equal[base]), float((~several).mean()))


def _multiples(change: Values, parent: Values, half: Values) -> NDArray[np.bool_]:
    """Where a change is one multiple of a parent's; nowhere if that is by chance."""
    none = np.zeros(len(change), bool)
    moved = parent != 0
    factor = np.where(moved, change / np.where(moved, parent, 1.0), 0.0)
    width = np.where(moved, half / np.where(moved, np.abs(parent), 1.0), np.inf)
    known = moved & (2 * width <= WIDTH_MAX)
    away = known & (factor > FACTOR_MIN)
    if int(away.sum()) < KNOWN_MIN:
        return none
    low, high = factor - width, factor + width
    best = _deepest(low[away], high[away])
    depth = _depth(low[known], high[known], best)
    beside = max(_depth(low[known], high[known], best * x) for x in (0.8, 1.25))
    if depth < EXACT_MIN * int(known.sum()) or depth < STANDS_OUT * beside:
        return none
    covered: NDArray[np.bool_] = moved & (low <= best) & (best <= high)
    return covered


def _deepest(low: Values, high: Values) -> float:
    """A point that lies in as many intervals as any."""
    ends = np.concatenate([low, high])
    step = np.concatenate([np.ones(len(low)), -np.ones(len(high))])
    order = np.lexsort((-step, ends))  # at equal ends, open before closing
    at = int(np.argmax(np.cumsum(step[order])))
    return float((ends[order][at] + ends[order][min(at + 1, len(ends) - 1)]) / 2)


def _depth(low: Values, high: Values, point: float) -> int:
    return int(((low <= point) & (point <= high)).sum())


def _step(values: Values) -> Values:
    """Spacing of bfloat16 around each value."""
    exponent = np.floor(np.log2(np.maximum(np.abs(values), 2.0**-126)))
    step: Values = np.exp2(exponent - 7)
    return step
