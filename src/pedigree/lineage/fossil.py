# SPDX-License-Identifier: Apache-2.0
"""FOSSIL: embedding rows that training never touched tell who came first.

Definition
    The row of a token that does not occur in the training data gets no gradient; weight
    decay alone shrinks it, by one factor c for all such rows.  Rows of B that equal c
    times those of A within rounding, with one c, are counted.
Direction
    Shrinking is not undone: with c < 1 the model with the smaller rows is the later
    one.  With c = 1 (no decay, frozen or low-rank training) nothing is said.
Assumes
    That one descends from the other: siblings that were both decayed show a ratio too,
    so the sentence is conditional.  A rescaled embedding shrinks all rows alike, and is
    told apart by that: of a fossil, some rows are no multiples.
No p-value
    It orients an edge that the tests have shown; it does not show one.
Source
    Loshchilov & Hutter 2019, decoupled weight decay: untouched weights are multiplied
    by (1 - lr * wd) in every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.paired import raw_values

ROWS_MIN = 16
"""Untouched rows wanted (arbitrary; a trained row fits by chance in fewer than 1 of
2,048, measured on independent models)."""
CHANGED_MIN = 32
"""Values wanted among them that moved at all."""
AGAINST_MAX = 0.1
"""Share of these that may have moved the other way."""
HINT_MIN = 12
HINT_AGAINST = 0.25
"""Fewer or less unanimous values only lean: 13 against 3 has a chance of 1 in 100."""
ALL_ROWS = 0.97
"""From this share of fitting rows on, the whole table was rescaled."""


@dataclass(frozen=True, slots=True)
class Fossil:
    """What untouched rows say.

    Attributes:
        rows: Rows of B that are c times those of A.
        of: Rows compared.
        factor: c.
        shrunk: Values among them that are smaller in B.
        grown: Values that are larger in B.
    """

    rows: int
    of: int
    factor: float
    shrunk: int
    grown: int

    @property
    def oriented(self) -> bool:
        """Whether they tell who came first."""
        changed = self.shrunk + self.grown
        against = min(self.shrunk, self.grown)
        return (
            self.rows >= ROWS_MIN
            and self.rows <= ALL_ROWS * self.of
            and changed >= CHANGED_MIN
            and against <= AGAINST_MAX * changed
        )

    @property
    def hints(self) -> bool:
        """Whether they lean one way, too little to tell it alone."""
        changed = self.shrunk + self.grown
        against = min(self.shrunk, self.grown)
        return (
            self.rows >= ROWS_MIN
            and self.rows <= ALL_ROWS * self.of
            and changed >= HINT_MIN
            and against <= HINT_AGAINST * changed
        )


def read_fossil(a: Fingerprint, b: Fingerprint) -> Fossil | None:
    """Untouched embedding rows of two models of one width; None if nothing is kept."""
    rows_a, rows_b = a.part("fossil.rows"), b.part("fossil.rows")
    values_a, values_b = a.part("fossil.index"), b.part("fossil.index")
    if (
        rows_a is None
        or rows_b is None
        or values_a is None
        or values_b is None
        or a.shape.width != b.shape.width
    ):
        return None
    _, at_a, at_b = np.intersect1d(rows_a, rows_b, return_indices=True)
    first = raw_values(values_a)[at_a].astype(np.float64)  # (rows, 8)
    second = raw_values(values_b)[at_b].astype(np.float64)
    live = (np.count_nonzero(first, axis=1) >= 6) & second.any(axis=1)
    first, second = first[live], second[live]
    if not len(first):
        return None
    low, high = _factors(first, second)
    fits = low <= high
    if not fits.any():
        return Fossil(0, len(first), 1.0, 0, 0)
    factor = _most_common(low[fits], high[fits])
    fits &= (low <= factor) & (factor <= high)
    sizes = np.abs(first[fits]), np.abs(second[fits])
    fitted = float((sizes[0] * sizes[1]).sum() / (sizes[0] ** 2).sum())
    return Fossil(
        rows=int(fits.sum()),
        of=len(first),
        factor=fitted,
        shrunk=int((sizes[1] < sizes[0]).sum()),
        grown=int((sizes[1] > sizes[0]).sum()),
    )


def _factors(
    a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each row the interval of c with ``|b - c a|`` within rounding of both."""
    half = (_step(a) + _step(b)) / 2  # both were rounded to bfloat16
    size = np.where(a == 0, 1.0, np.abs(a))
    centre = np.where(a == 0, np.where(np.abs(b) <= half, 1.0, np.inf), b * a / size**2)
    width = np.where(a == 0, np.inf, half / size)
    with np.errstate(invalid="ignore"):
        low, high = centre - width, centre + width
    low = np.where(np.isnan(low), np.inf, low).max(axis=1)
    high = np.where(np.isnan(high), -np.inf, high).min(axis=1)
    return np.maximum(low, 0.05), high


def _step(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spacing of bfloat16 around each value."""
    exponent = np.floor(np.log2(np.maximum(np.abs(values), 2.0**-126)))
    step: NDArray[np.float64] = np.exp2(exponent - 7)
    return step


def _most_common(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """A point that lies in as many of the intervals as any."""
    ends = np.concatenate([low, high])
    change = np.concatenate([np.ones(len(low)), -np.ones(len(high))])
    order = np.lexsort((-change, ends))  # at equal ends, open before closing
    depth = np.cumsum(change[order])
    at = int(np.argmax(depth))
    return float((ends[order][at] + ends[order][min(at + 1, len(ends) - 1)]) / 2)
