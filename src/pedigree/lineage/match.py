# SPDX-License-Identifier: Apache-2.0
"""MATCH: do neurons find each other by what they read and by what they write?

Definition
    Neurons are described by the tokens they see, as in TSP.  Neurons of a block of A
    are matched to neurons of a block of B by their gate rows, and again by their up
    rows, of which only the line counts and not the sign (in blocks without a gate: by
    up rows, and by down columns).  N neurons have a partner by both, K the same.
Effect
    K / N in the best pair of blocks, or in all blocks at the same place together.
Survives
    Everything TSP survives, and permuted neurons, heads, experts and layers, signs and
    scales of neurons, dropped layers and neurons, dense blocks made into experts: the
    whole group of changes that leave the function alone, with quantisation or long
    further training on top.  Rows doubled by neurons that cancel each other, too: what
    is as near as the nearest counts as it, see :mod:`pedigree.lineage.mutual`.
    Not: re-drawn embeddings (see QF), gate and up trained anew.
Cost
    Tables of all neurons of one model, of 128 bytes a view and neuron; of the other, 32
    neurons a block do.  One product of tables for each pair of blocks.
Null
    Measured on independent models: :mod:`pedigree.lineage.nullbank`.  It is not exact,
    and cannot be: what can be changed at will without a change of function leaves no
    symmetry to permute.
Assumes
    Independent models agree no more often than independent models of the bank did, by
    the margin that the bank's law has.
Source
    Zhu et al. 2025, arXiv:2502.12292 (matching gate and up by activations); on weights,
    with whitened views that say nothing of each other, ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.anchors import Anchors, shared_anchors, too_few
from pedigree.lineage.results import NotRun, TestResult
from pedigree.lineage.selection import is_v1, nothing_shared, unknown_roles
from pedigree.lineage.views import (
    GATED,
    has_tables,
    sampled_blocks,
    views_of,
    whole_blocks,
)

if TYPE_CHECKING:
    from pedigree.lineage.mutual import Block

NAME = "MATCH"


def run(a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None) -> TestResult:
    """Match neurons by token projections; see the module's docstring."""
    blocks = blocks_of(a, b)
    if isinstance(blocks, TestResult):
        return blocks
    from pedigree.lineage.matching import match

    return match(
        NAME,
        *blocks,
        signed=views_of(a) != GATED,
        alpha_log10=alpha_log10,
    )


def blocks_of(
    a: Fingerprint, b: Fingerprint
) -> tuple[list[Block], list[Block]] | TestResult:
    """Both models over the same tokens, or why that cannot be."""
    refused = unknown_roles(NAME, a, b)
    if refused:
        return refused
    if not any(has_tables(x, kind) for x in (a, b) for kind in ("table", "tablei")):
        return TestResult(
            name=NAME,
            reason=NotRun.NOT_KEPT if is_v1(a) else NotRun.NEEDS_DEEP,
            detail="neither fingerprint keeps all neurons of a block",
        )
    if views_of(a) != views_of(b):
        return nothing_shared(NAME, "blocks of one kind: one has gates, one has not")
    anchors = shared_anchors(a, b, limits=(_covered(a, b, ""), _covered(a, b, "i")))
    if anchors is None:
        return too_few(NAME)
    sides = (
        _side(a, anchors, anchors.a),
        _side(b, anchors, anchors.b),
    )
    if not all(sides) or not any(block.whole for side in sides for block in side):
        return nothing_shared(NAME, "token projections of two views of a neuron")
    return sides


def _covered(a: Fingerprint, b: Fingerprint, kind: str) -> int:
    """Anchors that both models projected their neurons on."""
    widths = []
    for model in (a, b):
        kept = (model.part(f"{x}.up") for x in (f"table{kind}", f"neuron.tsp{kind}"))
        widths.append(max((x.shape[-1] for x in kept if x is not None), default=0))
    return min(widths)


def _side(
    model: Fingerprint, anchors: Anchors, columns: NDArray[np.int64]
) -> list[Block]:
    kind = "" if anchors.by_bytes else "i"
    roles = views_of(model)
    whole = whole_blocks(model, f"table{kind}", roles, columns)
    known = frozenset(block.label for block in whole)
    sampled = sampled_blocks(model, f"neuron.tsp{kind}", roles, columns, without=known)
    return [*whole, *sampled]
