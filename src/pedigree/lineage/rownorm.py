# SPDX-License-Identifier: Apache-2.0
"""ROWNORM: are the same neurons long?

Definition
    Neuron i of a feed-forward block is two numbers, each as a normal score of its rank
    within the block: log|g| of its gate row (of its up row without gates), and
    log(|u||d|) of its up row and down column; rows are scaled by the norm before them.
Effect
    Mean rank correlation of equal neurons.
Survives
    Any orthogonal change of the residual stream, folded norms, up and down rescaled
    against each other, changed signs, another width, anything outside the feed-forward
    blocks; fine-tuning and, weaker, continued pretraining and quantisation.  Not:
    permuted neurons, another number of neurons, strong noise.
Cost
    The rows that ALIGN reads; down columns only where they are read anyway.
Null
    A uniform permutation of the neurons of each block.
Assumes
    The neurons of a block are exchangeable, as in ALIGN.  Sorted neurons are not:
    scores that follow the index are left out, and the test is refused if none is left
    or if neighbours of partners do as well as partners (``lineage.axis``).
    Of attention no norms are compared: heads are too few for a permutation test and
    rotary pairs inside one are not exchangeable.
Source
    Invariances: the identities of RMSNorm networks under rotation; test as ALIGN.
"""

from __future__ import annotations

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.axis import Axis
from pedigree.lineage.invariants import run_scalars
from pedigree.lineage.results import TestResult

ROWNORM = Axis("ROWNORM", shared=False)
FEATURES = (0, 1)
"""Columns of the stored scalars."""


def run_rownorm(
    a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None
) -> TestResult:
    """Compare the lengths of neurons; see the module's docstring."""
    return run_scalars(ROWNORM, FEATURES, a, b, alpha_log10=alpha_log10)
