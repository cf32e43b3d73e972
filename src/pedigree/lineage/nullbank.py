# SPDX-License-Identifier: Apache-2.0
"""How often neurons of models that never met match twice by accident.

No symmetry of training gives an exact null for a test that survives every change that
leaves the function alone: such a change can be applied with random strength, and then
puts a descendant anywhere where an independent model could be.  So MATCH and QF rest on
measurements, which ship with the program: for pairs of independent models, how many
neurons matched by two views (N), and how many agreed (K).

The law
    The rate of agreement of an independent pair is itself random, with
    ``P(rate > x) = (1 - x)**beta``; given the rate, K is binomial.  So K is
    beta-binomial with parameters 1 and beta, whose tail is a product (Polya's urn)::

        P(K >= k) = N! / (N - k)!  *  G(N - k + beta + 1) / G(N + beta + 1)

The fit
    The unit is a pair of *families* (a base model and its descendants are one), and its
    datum the largest rate K/N over all pairs of models and blocks in it.  ``beta`` is
    the largest value with which the law exceeds the 95 % upper limit (Clopper & Pearson
    1934) of the observed rate of exceedance at every threshold in the upper half of the
    data, and at most :data:`BETA_MAX`.  The data are noisy largest values and the law
    is of one noiseless rate; and a test multiplies its p-value by the number of pairs
    of blocks besides.  Both errors are on the safe side.

What it does not give
    A p-value below about one over the number of family pairs rests on the form of the
    law, not on data.  The least possible one, for n of n neurons, is about
    ``n**-beta * G(beta + 1)``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

FILE = "nullbank-1.json"
MATCHED_MIN = 20
"""Matched neurons below which a rate is noise: such cells are counted as if that many
had matched."""
BETA_MAX = 60.0
"""However many pairs are measured: beyond, 20 % of agreements would be called
impossible (1e-6), which no measurement of this kind can promise (a choice)."""
_LN10 = math.log(10.0)


@dataclass(frozen=True, slots=True)
class Law:
    """The null of one test on one kind of block.

    Attributes:
        beta: Of the law.
        pairs: Pairs of families it was fitted to.
        cells: Pairs of blocks that were matched for it.
        agreed: Agreements in all of them.
        matched: Neurons matched by both views in all of them.
        largest: Largest rate of agreement that was seen.
    """

    beta: float
    pairs: int
    cells: int
    agreed: int
    matched: int
    largest: float

    def log10_p(self, agreed: int, matched: int) -> float:
        """log10 of ``P(K >= agreed)``.

        Args:
            agreed: K, 0 to ``matched``.
            matched: N.
        """
        if agreed <= 0:
            return 0.0
        log_p = (
            math.lgamma(matched + 1)
            - math.lgamma(matched - agreed + 1)
            + math.lgamma(matched - agreed + self.beta + 1)
            - math.lgamma(matched + self.beta + 1)
        )
        return min(0.0, log_p / _LN10)

    def z(self, agreed: int, matched: int) -> float:
        """K less its mean, in standard deviations of the law."""
        if matched <= 0:
            return 0.0
        rate = 1 / (1 + self.beta)
        spread = 1 + (matched - 1) / (self.beta + 2)
        deviation = math.sqrt(matched * rate * (1 - rate) * spread)
        return (agreed - matched * rate) / deviation

    def smallest_rate(self, matched: int, alpha_log10: float) -> float | None:
        """The least K/N that reaches a threshold; None if N of N would not."""
        low, high = 0, matched
        if matched <= 0 or self.log10_p(matched, matched) > alpha_log10:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if self.log10_p(middle, matched) <= alpha_log10:
                high = middle
            else:
                low = middle
        return high / matched


@dataclass(frozen=True, slots=True)
class NullBank:
    """The measurements, as they ship.

    Attributes:
        version: Of the file; part of what a p-value of MATCH or QF means.
        made: When, by what, from which models.
        laws: By ``TEST/kind``.
    """

    version: str
    made: Mapping[str, Any]
    laws: Mapping[str, Law]

    def law(self, test: str, *, whole: bool) -> Law:
        """Of a test, for whole blocks against each other or for samples of one."""
        return self.laws[f"{test}/{'whole' if whole else 'sampled'}"]

    def summary(self) -> str:
        """What stands behind the p-values, for people."""
        lines = [f"null bank {self.version}, made {self.made['date']}"]
        for name, law in sorted(self.laws.items()):
            lines.append(
                f"{name}: {law.agreed} of {law.matched} matches agreed in "
                f"{law.cells} pairs of blocks, {law.pairs} pairs of families; largest "
                f"rate {law.largest:.3f}, beta {law.beta:.1f}"
            )
        return "\n".join(lines)


@lru_cache(maxsize=1)
def load() -> NullBank:
    """The null bank that ships with this version."""
    text = resources.files("pedigree.lineage").joinpath("data", FILE).read_text("utf-8")
    stored = json.loads(text)
    laws = {name: Law(**entry) for name, entry in stored["laws"].items()}
    return NullBank(stored["version"], stored["made"], laws)


def fit(rates: Sequence[float]) -> float:
    """``beta``, see the module's docstring.

    Args:
        rates: Largest rate of agreement of each pair of families.
    """
    ordered = sorted((min(max(rate, 1e-6), 1 - 1e-6) for rate in rates), reverse=True)
    beta = BETA_MAX
    for exceeding, threshold in enumerate(ordered[: (len(ordered) + 1) // 2]):
        allowed = math.log(upper_limit(exceeding, len(ordered)))
        beta = min(beta, allowed / math.log1p(-threshold))
    return beta


def upper_limit(hits: int, trials: int) -> float:
    """One-sided 95 % upper limit of a rate (Clopper & Pearson 1934), by bisection."""
    low, high = hits / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        below = sum(
            math.comb(trials, k) * middle**k * (1 - middle) ** (trials - k)
            for k in range(hits + 1)
        )
        low, high = (middle, high) if below > 0.05 else (low, middle)
    return high
