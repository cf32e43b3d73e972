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
    The unit is a pair of *families* (a base model and its descendants are one, a
    distilled student is its own), and its datum the smallest p-value of all comparisons
    of its models: ``P(K >= k)`` of the best pair of blocks, times the number of pairs
    of blocks.  ``beta`` is the largest value with which these are conservative: the
    share of units below any value, even its 95 % upper limit (Clopper & Pearson 1934),
    does not exceed the value, in the lower half.

The margin
    ``beta`` is at most :data:`BETA_MAX`, which so far is what decides: the data would
    allow more.  Between 1 and 5 % of the neurons of GPT-2 models from different seeds
    are "universal" by their activations (Gurnee et al. 2024, arXiv:2401.12181).  If all
    of these matched by both views, and a fifth of the others by accident, a fifth of
    the matches would agree: p = 1e-3 here.  To decide, half must agree.

What it does not give
    A p-value below about one over the number of family pairs rests on the form of the
    law, not on data.  The least possible one, for n of n neurons, is about
    ``n**-beta * G(beta + 1)``.
"""

from __future__ import annotations

import json
import math
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

FILE = "nullbank-1.json"
BETA_MAX = 30.0
"""However many pairs were measured; see the module's docstring."""
RATE_MATCHED = 20
Comparison = Sequence[tuple[int, int]]
"""Of two models: agreed and matched in every pair of blocks."""
_LN10 = math.log(10.0)


@dataclass(frozen=True, slots=True)
class Law:
    """The null of one test on one kind of block.

    Attributes:
        beta: Of the law.
        allowed: What the data would allow, up to 1000.
        pairs: Pairs of families it was fitted to.
        comparisons: Pairs of models.
        cells: Pairs of blocks that were matched for it.
        agreed: Agreements in all of them.
        matched: Neurons matched by both views in all of them.
        largest: Largest share of agreements in a pair of blocks with at least
            :data:`RATE_MATCHED` matches.
    """

    beta: float
    allowed: float = 0.0
    pairs: int = 0
    comparisons: int = 0
    cells: int = 0
    agreed: int = 0
    matched: int = 0
    largest: float = 0.0

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
                f"{law.cells} pairs of blocks, {law.comparisons} pairs of models, "
                f"{law.pairs} pairs of families; largest rate {law.largest:.3f}; beta "
                f"{law.beta:.1f}, the data would allow {law.allowed:.0f}"
            )
        return "\n".join(lines)


@lru_cache(maxsize=1)
def load() -> NullBank:
    """The null bank that ships with this version."""
    data = pkgutil.get_data("pedigree.lineage", f"data/{FILE}")
    stored = json.loads(data or b"")
    laws = {name: Law(**entry) for name, entry in stored["laws"].items()}
    return NullBank(stored["version"], stored["made"], laws)


def fit(units: Sequence[Sequence[Comparison]], most: float = BETA_MAX) -> float:
    """``beta``, see the module's docstring.

    Args:
        units: For each pair of families its comparisons: (agreed, matched) of every
            pair of blocks.
        most: Where to stop.
    """
    allowed = [upper_limit(below, len(units)) for below in range((len(units) + 1) // 2)]
    low, high = 0.0, most
    if _conservative(high, units, allowed):
        return high
    while high - low > 0.05:
        middle = (low + high) / 2
        if _conservative(middle, units, allowed):
            low = middle
        else:
            high = middle
    return low


def _conservative(
    beta: float, units: Sequence[Sequence[Comparison]], allowed: Sequence[float]
) -> bool:
    law = Law(beta)
    least = sorted(min(_log10_p(law, found) for found in unit) for unit in units)
    return all(10**p >= limit for p, limit in zip(least, allowed, strict=False))


def _log10_p(law: Law, comparison: Comparison) -> float:
    best = min((law.log10_p(k, n) for k, n in comparison), default=0.0)
    return min(0.0, best + math.log10(max(1, len(comparison))))


def upper_limit(hits: int, trials: int) -> float:
    """One-sided 95 % upper limit of a rate (Clopper & Pearson 1934), by bisection."""
    low, high = hits / trials, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if _at_most(hits, trials, middle) > 0.05:
            low = middle
        else:
            high = middle
    return high


def _at_most(hits: int, trials: int, rate: float) -> float:
    """Probability of at most ``hits`` among ``trials``."""
    term = total = (1 - rate) ** trials
    for k in range(hits):
        term *= (trials - k) / (k + 1) * rate / (1 - rate)
        total += term
    return total
