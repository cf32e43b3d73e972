# SPDX-License-Identifier: Apache-2.0
"""GAMMA: do norm vectors favour the same residual channels?

Definition
    The scale vectors of the norms before attention and before the feed-forward block
    of each layer, and the final one, as centred ranks over sampled channels.  Channel
    c of a layer is described by its two ranks; of the model by all of them.
Effect
    Mean rank correlation (Spearman).
Survives
    Whatever leaves the norm vectors in place: fine-tuning, quantisation, pruning,
    permuted neurons, re-drawn embeddings.  Not: norms folded into the next matrix,
    permuted or rotated residual channels, another width.
Cost
    Two vectors a layer: a few hundred kilobytes of any model.
Null
    A uniform permutation of the residual channels, shared by all layers.
Assumes
    As ALIGN on the residual axis.  Norms that never left their initial value say
    nothing, and are reported as such.
Source
    As ALIGN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.axis import Axis, Blocks, Rows, run
from pedigree.lineage.results import NotRun, TestResult
from pedigree.lineage.selection import is_v1, width_differs

GAMMA = Axis("GAMMA", shared=True)


def run_gamma(
    a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None
) -> TestResult:
    """Compare the norm vectors; see the module's docstring."""
    refused = width_differs(GAMMA.name, a, b)
    if refused:
        return refused
    if not all(_kept(x) for x in (a, b)):
        return TestResult(
            name=GAMMA.name,
            reason=NotRun.UNTRAINED_NORMS,
            detail="the norm vectors of one model are constant or not there",
        )
    return run(GAMMA, *norm_blocks(a, b), alpha_log10=alpha_log10)


def norm_blocks(a: Fingerprint, b: Fingerprint) -> tuple[Blocks, Blocks]:
    """Both models over the sampled residual channels of their norms."""
    ranks = [_parts(x) for x in (a, b)]
    rows = min(by_layer.shape[-1] for by_layer, _ in ranks)
    first, second = (
        Blocks(
            tuple(str(layer) for layer in x.layers),
            _standard(by_layer[..., :rows]).transpose(0, 2, 1) / np.float32(np.sqrt(2)),
            _standard(final[:rows])[:, None],  # (channels, 1)
        )
        for x, (by_layer, final) in zip((a, b), ranks, strict=True)
    )
    return first, second


def _parts(fingerprint: Fingerprint) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Ranks of the norms of each layer (layers, 2, channels), and of the last."""
    names = ("norm.ranks", "norm.final")
    if is_v1(fingerprint):
        names = ("v1.norms", "v1.norm_final")
    by_layer, final = (fingerprint.part(name) for name in names)
    channels = max(0 if x is None else x.shape[-1] for x in (by_layer, final))
    if by_layer is None:
        by_layer = np.zeros((len(fingerprint.layers), 2, channels), np.int8)
    return by_layer, np.zeros(channels, np.int8) if final is None else final


def _kept(fingerprint: Fingerprint) -> bool:
    return any(part.any() for part in _parts(fingerprint))


def _standard(ranks: NDArray[np.int8]) -> Rows:
    """Scale vectors along the last axis to mean square 1; constant ones stay 0."""
    values = ranks.astype(np.float32)
    power = np.sqrt(np.mean(values * values, axis=-1, keepdims=True))
    power[power == 0] = 1
    values /= power
    return values
