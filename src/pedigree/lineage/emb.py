# SPDX-License-Identifier: Apache-2.0
"""EMB: do embedding and head give the same tokens the same coordinates?

Definition
    Residual channel c is its values in the embedding rows of tokens that both models
    have, and in their head rows if neither head is tied.  Tokens are the same text
    (bytes); if fewer than 16 are shared, or a tokenizer is missing, the same row.
    Embedding and head are scaled to length 1 and weigh the same.  The statistic is the
    sum of the cosines of channels with equal index.
Effect
    Mean cosine of channels with equal index, less that of others.
Survives
    Fine-tuning, continued pretraining, quantisation, pruning, a longer or rebuilt
    vocabulary that keeps old tokens, any change of the layers.  Not: re-drawn
    embeddings, permuted or rotated residual channels, another width.
Cost
    A few hundred rows of embedding and head; one matrix product.
Null
    A uniform permutation of the residual channels.  Tokens are features, not the tested
    axis: that frequent tokens are alike in all models changes both descriptions of
    every channel alike and cannot pair channel c with channel c.
Assumes
    As ALIGN on the residual axis.
Source
    As ALIGN; matching of embedding columns over shared tokens also in AWM (2025),
    arXiv:2510.06738.
"""

from __future__ import annotations

import numpy as np

from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.sampling import Axis as SampledAxis
from pedigree.fingerprint.sampling import sample
from pedigree.lineage.anchors import Anchors, shared_anchors, too_few
from pedigree.lineage.axis import Axis, Blocks, run
from pedigree.lineage.results import TestResult
from pedigree.lineage.selection import is_v1, joined, nothing_shared, width_differs

EMB = Axis("EMB", shared=True)
_TABLES = ("embedding", "head")


def run_emb(a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None) -> TestResult:
    """Compare embedding and head; see the module's docstring."""
    blocks = embedding_blocks(a, b)
    if isinstance(blocks, TestResult):
        return blocks
    return run(EMB, *blocks, alpha_log10=alpha_log10)


def embedding_blocks(
    a: Fingerprint, b: Fingerprint
) -> tuple[Blocks, Blocks] | TestResult:
    """Both models over the sampled residual channels, or why that cannot be."""
    refused = width_differs(EMB.name, a, b)
    if refused:
        return refused
    anchors = _v1_anchors(a, b) if is_v1(a) else shared_anchors(a, b)
    if anchors is None:
        return too_few(EMB.name)
    kind = "bytes" if anchors.by_bytes else "index"
    pairs = []
    for table in _TABLES:
        name = f"v1.{table}" if is_v1(a) else f"{table}.{kind}"
        first, second = a.part(name), b.part(name)
        if first is None or second is None:
            continue
        kept = (anchors.a < first.shape[1]) & (anchors.b < second.shape[1])
        pairs.append(
            (first[:, anchors.a[kept]], second[:, anchors.b[kept]]),
        )
    features = joined(pairs)
    if features is None:
        return nothing_shared(EMB.name, "rows of embedding or head")
    none = np.zeros((0, len(features[0]), 0), np.float32)
    return Blocks((), none, features[0]), Blocks((), none, features[1])


def _v1_anchors(a: Fingerprint, b: Fingerprint) -> Anchors | None:
    """Version 1 has no tokens by bytes, and samples rows one by one."""
    chosen = [
        sample(x.settings.seed, SampledAxis.TOKEN, x.shape.vocabulary, part.shape[1])
        for x, part in ((x, x.part("v1.embedding")) for x in (a, b))
        if part is not None
    ]
    if len(chosen) < 2:
        return None
    _, at_a, at_b = np.intersect1d(chosen[0], chosen[1], return_indices=True)
    return Anchors(False, at_a, at_b) if len(at_a) else None
