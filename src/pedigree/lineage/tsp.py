# SPDX-License-Identifier: Apache-2.0
"""TSP: do the same neurons read and write the same tokens?

Definition
    Neuron i of a feed-forward block is the inner products of its gate row, up row and
    down column with the embeddings of tokens that both models have (the same text; if
    fewer than 16 are shared, the same row), embeddings centred and of length 1, rows
    scaled by the norm before them.  Each of the three profiles is centred over the
    tokens, scaled to length 1, and weighs the same.  The statistic is the sum of the
    cosines of neurons with equal index.
Effect
    Mean cosine of neurons with equal index, less that of others.
Survives
    Any change of basis of the residual stream (permutation, rotation, folded norms),
    another width, a reordered, longer or rebuilt vocabulary, rescaling, fine-tuning,
    continued pretraining, quantisation, pruning.  Not: permuted neurons, another
    number of neurons, re-drawn embeddings.
Cost
    The rows that ALIGN reads, and one product with 48 to 128 embedding rows.
Null
    A uniform permutation of the neurons of each block.  Tokens are features, not the
    tested axis: shared meaning makes all neurons of both models alike, which centring
    over the neurons takes out, and cannot pair neuron i with neuron i.
Assumes
    The neurons of a block are exchangeable, as in ALIGN.
Source
    Projection of weights on the vocabulary: Dar et al. 2023, arXiv:2209.02535; as a
    test of dependence, ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.anchors import shared_anchors, too_few
from pedigree.lineage.axis import Axis, Blocks, Rows, run
from pedigree.lineage.results import NotRun, TestResult
from pedigree.lineage.selection import (
    ROLES,
    Neurons,
    is_v1,
    joined,
    neurons,
    neurons_differ,
    nothing_shared,
)

TSP = Axis("TSP", shared=False)
TOKENS_MAX = 64
"""Shared tokens that are used, the first by their hash: the cost of all pairs of blocks
grows with their square, and 64 saturate the p-value of a fine-tune."""


def run_tsp(a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None) -> TestResult:
    """Compare neurons by the tokens they see; see the module's docstring."""
    blocks = token_blocks(a, b)
    if isinstance(blocks, TestResult):
        return blocks
    return run(TSP, *blocks, alpha_log10=alpha_log10)


def token_blocks(a: Fingerprint, b: Fingerprint) -> tuple[Blocks, Blocks] | TestResult:
    """Both models over the same neurons, or why that cannot be."""
    refused = neurons_differ(TSP.name, a, b)
    if refused:
        return refused
    if is_v1(a):
        return TestResult(
            name=TSP.name,
            reason=NotRun.NOT_KEPT,
            detail=f"fingerprints of {a.spec} do not keep token projections",
        )
    first, second = neurons(a, b)
    limits = _covered(first, "tsp"), _covered(first, "tspi")
    other = _covered(second, "tsp"), _covered(second, "tspi")
    anchors = shared_anchors(
        a, b, limits=(min(limits[0], other[0]), min(limits[1], other[1]))
    )
    if anchors is None:
        return too_few(TSP.name)
    kind = "tsp" if anchors.by_bytes else "tspi"
    pairs = [
        (
            _at(first.values(kind, role), anchors.a[:TOKENS_MAX]),
            _at(second.values(kind, role), anchors.b[:TOKENS_MAX]),
        )
        for role in ROLES
    ]
    features = joined(pairs)
    if features is None:
        return nothing_shared(TSP.name, "token projections of gate, up or down")
    empty = np.zeros((features[0].shape[1], 0), np.float32)
    return (
        Blocks(first.labels, features[0], empty),
        Blocks(second.labels, features[1], empty),
    )


def _covered(of: Neurons, kind: str) -> int:
    """Anchors that the projections of a model were made on."""
    kept = [of.values(kind, role) for role in ROLES]
    return max((x.shape[2] for x in kept if x is not None), default=0)


def _at(values: NDArray[np.int8] | None, anchors: NDArray[np.int64]) -> Rows | None:
    """Profiles over the shared tokens, centred."""
    if values is None:
        return None
    rows = values[:, :, anchors].astype(np.float32)
    rows -= rows.mean(axis=2, keepdims=True)
    return rows
