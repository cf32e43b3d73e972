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
from pedigree.lineage.align import width_differs
from pedigree.lineage.axis import Axis, Blocks, Rows, run
from pedigree.lineage.results import NotRun, TestResult

GAMMA = Axis("GAMMA", shared=True)


def run_gamma(
    a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None
) -> TestResult:
    """Compare the norm vectors; see the module's docstring."""
    refused = width_differs(GAMMA.name, a, b)
    if refused:
        return refused
    if not all(x.norms.any() or x.norm_final.any() for x in (a, b)):
        return TestResult(
            name=GAMMA.name,
            reason=NotRun.UNTRAINED_NORMS,
            detail="the norm vectors of one model are constant or not there",
        )
    return run(GAMMA, norm_blocks(a), norm_blocks(b), alpha_log10=alpha_log10)


def norm_blocks(fingerprint: Fingerprint) -> Blocks:
    """A model over the sampled residual channels of its norms."""
    rows = _standard(fingerprint.norms).transpose(0, 2, 1)  # (layers, channels, 2)
    final = _standard(fingerprint.norm_final)[:, None]  # (channels, 1)
    return Blocks(
        tuple(str(layer) for layer in fingerprint.layers),
        rows / np.float32(np.sqrt(2)),
        final,
    )


def _standard(ranks: NDArray[np.int8]) -> Rows:
    """Scale vectors along the last axis to mean square 1; constant ones stay 0."""
    values = ranks.astype(np.float32)
    power = np.sqrt(np.mean(values * values, axis=-1, keepdims=True))
    power[power == 0] = 1
    values /= power
    return values
