# SPDX-License-Identifier: Apache-2.0
"""Tokens that two models share, and so can be compared at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.results import NotRun, TestResult

ANCHORS_MIN = 16
"""Shared tokens below which the next kind of anchor is tried, or the test refused: a
profile over fewer tokens says little about a neuron (a convention)."""


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """Positions of the shared tokens among the anchors of each model.

    Attributes:
        by_bytes: Whether the tokens are the same text, else the same row.
        a: Shape (tokens,).
        b: Shape (tokens,).
    """

    by_bytes: bool
    a: NDArray[np.int64]
    b: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.a)


def shared_anchors(
    a: Fingerprint, b: Fingerprint, *, limits: tuple[int, int] | None = None
) -> Anchors | None:
    """Tokens of the same bytes; if those are too few, of the same row; else None.

    Equal bytes survive a rebuilt tokenizer.  Rows are for models without one; between
    unrelated tokenizers they pair unrelated tokens, which costs power and not validity:
    tokens are features here, never the axis that is permuted.

    Args:
        a: First model.
        b: Second model.
        limits: Anchors by bytes and by row that the compared parts cover.
    """
    by_bytes, by_row = limits or (None, None)
    for name, limit in (("anchor.bytes", by_bytes), ("anchor.index", by_row)):
        first, second = a.part(name), b.part(name)
        if first is None or second is None:
            continue
        _, at_a, at_b = np.intersect1d(
            first[:limit], second[:limit], return_indices=True
        )
        if len(at_a) >= ANCHORS_MIN:
            return Anchors(name == "anchor.bytes", at_a, at_b)
    return None


def too_few(name: str) -> TestResult:
    """The result of a test for two models that share too few tokens."""
    return TestResult(
        name=name,
        reason=NotRun.TOO_FEW_SHARED_TOKENS,
        detail=f"the models share fewer than {ANCHORS_MIN} of the sampled tokens",
    )
