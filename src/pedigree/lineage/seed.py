# SPDX-License-Identifier: Apache-2.0
"""SEED: trained apart from one random initialisation, or derived?

Definition
    Two models that start from the same random numbers keep a part of them: weights of
    the same index stay alike (ALIGN), though all that training added is independent.
    What training adds shows in the tests of trained structure: inner products within a
    neuron (PNI), norms (ROWNORM, GAMMA), what neurons read of tokens (TSP, MATCH), the
    embedding (EMB).  The statistic is the largest of their effects relative to that of
    ALIGN.
Decision
    ``SharedInit`` if ALIGN found the models related, its effect is small, and every
    test of trained structure that ran has a small share of it.  A derivative keeps
    structure and weights together, however far it was trained, or loses the weights'
    likeness first (permuted, rotated).
Limits
    A derivative whose trained structure was destroyed by noise looks the same; it no
    longer computes what its origin did.  Thresholds are measured, with their margins,
    in ``docs/lineage.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pedigree.lineage.results import TestResult

STRUCTURE = ("PNI", "TSP", "ROWNORM", "GAMMA", "EMB", "MATCH")
ALIGN_MAX = 0.5
RATIO_MAX = 0.6
SURE_LOG10 = -8.0


@dataclass(frozen=True, slots=True)
class Seed:
    """Shared weights against shared structure.

    Attributes:
        align: Effect of ALIGN, the larger of the two axes.
        structure: The largest effect of trained structure.
        test: Which test has it.
    """

    align: float
    structure: float
    test: str

    @property
    def ratio(self) -> float:
        """Structure relative to weights."""
        return self.structure / self.align if self.align > 0 else 0.0

    @property
    def shared(self) -> bool:
        """Whether only the initialisation is shared."""
        return self.align <= ALIGN_MAX and self.ratio <= RATIO_MAX


def read_seed(tests: Mapping[str, TestResult]) -> Seed | None:
    """Weigh ALIGN against structure; None where ALIGN saw nothing or is alone."""
    align = [
        tests[name].effect
        for name in ("ALIGN-neuron", "ALIGN-residual")
        if name in tests and tests[name].ran and tests[name].log10_p <= SURE_LOG10
    ]
    ran = [tests[n] for n in STRUCTURE if n in tests and tests[n].ran]
    if not align or not ran:
        return None
    best = max(ran, key=lambda test: test.effect)
    return Seed(max(align), best.effect, best.name)
