# SPDX-License-Identifier: Apache-2.0
"""PNI: do the same neurons have the same angles between their weights?

Definition
    Neuron i of a feed-forward block is four numbers, each as a normal score of its rank
    within the block: cos(u, d), cos(g, u) cos(g, d), |cos(g, u)| and |cos(g, d)| of its
    gate row g, up row u and down column d; rows are scaled by the norm before them.
    Without gates there is only cos(u, d).
Effect
    Mean rank correlation of equal neurons.
Survives
    What ROWNORM survives, and any rescaling of g, u and d, since angles have no length.
    These angles are learnt, not drawn: of two models that share only their
    initialisation they agree far less than the weights do.  Not: permuted neurons,
    another number of neurons.
Cost
    The rows that ALIGN reads; down columns only where they are read anyway.
Null
    A uniform permutation of the neurons of each block.
Assumes
    As ROWNORM.
Source
    As ROWNORM.
"""

from __future__ import annotations

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.axis import Axis
from pedigree.lineage.invariants import run_scalars
from pedigree.lineage.results import TestResult

PNI = Axis("PNI", shared=False)
FEATURES = (2, 3, 4, 5)
"""Columns of the stored scalars."""


def run_pni(a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None) -> TestResult:
    """Compare the angles inside neurons; see the module's docstring."""
    return run_scalars(PNI, FEATURES, a, b, alpha_log10=alpha_log10)
