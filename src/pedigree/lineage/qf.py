# SPDX-License-Identifier: Apache-2.0
"""QF: do neurons find each other without any token?

Definition
    As MATCH, but neurons are described by their inner products with directions that
    the model itself gives: sums of its neurons' rows, weighted by what no symmetry
    changes, and their images under the Gram matrices of each role
    (:mod:`pedigree.fingerprint.grams`).  Of gate and up rows; in blocks without a gate,
    of up rows and down columns.
Effect
    K / N in the best pair of blocks, or in all blocks at the same place together.
Survives
    What MATCH survives, and embeddings that were drawn anew, replaced or turned apart
    from the rest.  Less well than MATCH: merged adapters, halved blocks and noise,
    which change the directions.
Cost
    The deep profile of both models, and two more passes over the matrices; left out for
    large models.
Null
    As MATCH, with measurements of its own.
Assumes
    As MATCH.
Source
    Quadratic features of Gram matrices were the first attempt; directions are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.results import NotRun, TestResult
from pedigree.lineage.selection import is_v1, nothing_shared, unknown_roles
from pedigree.lineage.views import GATED, has_tables, views_of, whole_blocks

if TYPE_CHECKING:
    from pedigree.lineage.mutual import Block

NAME = "QF"
PART = "table.qf"
TOO_LARGE = "QfTooLarge"
"""Note of a fingerprint that has no such features for its size."""


def run(a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None) -> TestResult:
    """Match neurons by the model's own directions; see the module's docstring."""
    blocks = blocks_of(a, b)
    if isinstance(blocks, TestResult):
        return blocks
    from pedigree.lineage.matching import match

    return match(NAME, *blocks, signed=views_of(a) != GATED, alpha_log10=alpha_log10)


def blocks_of(
    a: Fingerprint, b: Fingerprint
) -> tuple[list[Block], list[Block]] | TestResult:
    """Both models by their own directions, or why that cannot be."""
    refused = unknown_roles(NAME, a, b)
    if refused:
        return refused
    missing = [label for label, x in (("A", a), ("B", b)) if not has_tables(x, PART)]
    if missing:
        return TestResult(name=NAME, reason=_reason(a, b), detail=_detail(missing))
    if views_of(a) != views_of(b):
        return nothing_shared(NAME, "blocks of one kind: one has gates, one has not")
    first, second = (whole_blocks(x, PART, views_of(x)) for x in (a, b))
    widths = {block.first.shape[1] for block in (*first, *second)}
    if not first or not second or len(widths) != 1:
        return nothing_shared(NAME, "features of two views of a neuron")
    return first, second


def _reason(a: Fingerprint, b: Fingerprint) -> NotRun:
    if any(TOO_LARGE in x.notes for x in (a, b)):
        return NotRun.QF_TOO_LARGE
    return NotRun.NOT_KEPT if is_v1(a) else NotRun.NEEDS_DEEP


def _detail(missing: list[str]) -> str:
    return (
        f"the fingerprint of {' and of '.join(missing)} does not describe neurons by "
        "directions of the model"
    )
