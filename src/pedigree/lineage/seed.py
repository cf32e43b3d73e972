# SPDX-License-Identifier: Apache-2.0
"""SEED: trained apart from one random initialisation, or derived?

Definition
    Two models that start from the same random numbers keep a part of them: weights of
    the same index stay a little alike, everywhere to the same degree, and with them,
    less or as much, all that is computed from them.  A derivative keeps most of its
    parent's weights or, if they were moved or hidden, their invariants.
Decision
    ``SharedInit`` if both axes of ALIGN are sure and weak, nothing that sees trained
    structure is strong (norms, inner products within a neuron, what neurons read of
    tokens, the embedding), and no tensor is equal.  Anything strong makes it
    ``Derived``: a copy that was damaged in one way keeps another.
Thresholds
    Measured, with margins, in ``docs/lineage.md``.  Toy models from one seed show 0.22
    to 0.41; what descends shows 0.78 and more in some test, laundered or not.
Limits
    A derivative in which noise outweighs the weights looks the same; it no longer
    computes what its origin did.  Models that were trained very little after their
    common initialisation are alike by more than the threshold, and are called
    ``Derived``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pedigree.lineage.results import TestResult

ALIGN = ("ALIGN-neuron", "ALIGN-residual")
STRUCTURE = ("GAMMA", "ROWNORM", "PNI", "TSP", "MATCH", "QF")
ALIGN_MAX = 0.5
STRUCTURE_MAX = 0.6
EMBEDDING_MAX = 0.85
"""Rows of tokens that training rarely meets keep more of their initialisation."""
SURE_LOG10 = -8.0


@dataclass(frozen=True, slots=True)
class Seed:
    """Weak likeness of weights, and nothing strong beside it.

    Attributes:
        align: The larger effect of the two axes of ALIGN.
        structure: The largest effect of trained structure.
        test: Which test has it.
    """

    align: float
    structure: float
    test: str


def read_seed(tests: Mapping[str, TestResult]) -> Seed | None:
    """What a pair shares, if that is no more than its initialisation; else None."""
    ran = {name: test for name, test in tests.items() if test.ran}
    if not all(n in ran and ran[n].log10_p <= SURE_LOG10 for n in ALIGN):
        return None
    structure = [ran[name] for name in STRUCTURE if name in ran]
    equal = "HASH" in ran and ran["HASH"].n > 0
    embedding = ran["EMB"].effect if "EMB" in ran else 0.0
    if not structure or equal or embedding > EMBEDDING_MAX:
        return None
    best = max(structure, key=lambda test: test.effect)
    align = max(ran[name].effect for name in ALIGN)
    if align > ALIGN_MAX or best.effect > STRUCTURE_MAX:
        return None
    return Seed(align, best.effect, best.name)
