# SPDX-License-Identifier: Apache-2.0
"""Numbers of a neuron that no change of basis of the residual stream moves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.axis import Axis, Blocks, Rows, run
from pedigree.lineage.results import NotRun, TestResult
from pedigree.lineage.selection import is_v1, neurons, neurons_differ, nothing_shared

UNKNOWN = -32768
"""A scalar that could not be computed from the rows that were read."""
ORDERED_Z = 4.5
"""Rank correlation of a scalar with the index, in standard deviations, from which the
neurons count as sorted by it: two sorted models agree without descent.  Unsorted
neurons exceed it once in 150,000 features."""


def run_scalars(
    axis: Axis,
    features: Sequence[int],
    a: Fingerprint,
    b: Fingerprint,
    *,
    alpha_log10: float | None,
) -> TestResult:
    """Test whether neurons with the same index have the same invariants.

    Args:
        axis: The test.
        features: Which of the stored scalars.
        a: First model.
        b: Second model.
        alpha_log10: As in ``axis.run``.
    """
    blocks = scalar_blocks(axis.name, features, a, b)
    if isinstance(blocks, TestResult):
        return blocks
    return run(axis, *blocks, alpha_log10=alpha_log10)


def scalar_blocks(
    name: str, features: Sequence[int], a: Fingerprint, b: Fingerprint
) -> tuple[Blocks, Blocks] | TestResult:
    """Both models over the same neurons, or why that cannot be.

    A row is the normal scores of the ranks of its scalars within the block, divided by
    the root of their number, so that the mean over a block of the products of equal
    rows is the mean rank correlation.
    """
    refused = neurons_differ(name, a, b)
    if refused:
        return refused
    if is_v1(a):
        return TestResult(
            name=name,
            reason=NotRun.NOT_KEPT,
            detail=f"fingerprints of {a.spec} do not keep invariants of neurons",
        )
    first, second = neurons(a, b)
    kept = [
        part
        for part in (x.values("scalars", "") for x in (first, second))
        if part is not None
    ]
    if len(kept) < 2:
        return nothing_shared(name, "invariants of neurons")
    n = min(part.shape[1] for part in kept)
    scores = [normal_scores(part[:, :n, list(features)]) for part in kept]
    live = [s.any(axis=(0, 1)) for s in scores]
    shared = np.flatnonzero(live[0] & live[1])
    if not len(shared):
        return nothing_shared(name, "one of these invariants of neurons")
    rows = [unordered(s[:, :, shared]) for s in scores]
    if not all(x.any() for x in rows):
        return TestResult(
            name=name,
            reason=NotRun.ORDERED_ROWS,
            detail="the neurons of one model are sorted by what is compared",
        )
    empty = np.zeros((rows[0].shape[1], 0), np.float32)
    scale = np.float32(np.sqrt(len(shared)))
    return (
        Blocks(first.labels, rows[0] / scale, empty),
        Blocks(second.labels, rows[1] / scale, empty),
    )


def normal_scores(values: NDArray[np.int16]) -> Rows:
    """Normal scores of the ranks along the second axis, ties averaged.

    Source: van der Waerden 1952 (scores ``Phi^-1(rank / (n + 1))``).

    Args:
        values: Shape (blocks, rows, features); a feature of a block with an unknown
            value in any row, or with one value only, is 0 throughout.
    """
    blocks, n, features = values.shape
    if n == 0:
        return values.astype(np.float32)
    columns = values.transpose(0, 2, 1).reshape(-1, n)  # (blocks * features, n)
    ordered = np.sort(columns, axis=1)
    table = _scores(n)
    result = np.zeros(columns.shape)
    for column, up, out in zip(columns, ordered, result, strict=True):
        if up[0] == UNKNOWN or up[0] == up[-1]:
            continue
        below = np.searchsorted(up, column, side="left")
        through = np.searchsorted(up, column, side="right")
        out[:] = table[below + through - 1]  # twice the mean rank, from 0
        out -= out.mean()
        out /= np.sqrt(np.mean(out * out))
    scores = result.reshape(blocks, features, n).transpose(0, 2, 1)
    return scores.astype(np.float32)


@lru_cache(maxsize=8)
def _scores(n: int) -> NDArray[np.float64]:
    """Scores of mean ranks 1, 1.5, 2 ... n; shape (2 n - 1,)."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse((1 + k / 2) / (n + 1)) for k in range(2 * n - 1)])


def unordered(scores: Rows) -> Rows:
    """The scores, without those whose rows are sorted by them."""
    n = scores.shape[1]
    index = np.arange(n) - (n - 1) / 2
    index /= np.sqrt(np.mean(index * index)) or 1.0
    correlation = np.einsum("bnf,n->bf", scores, index) / n
    sorted_by = np.abs(correlation) * np.sqrt(max(n - 1, 1)) > ORDERED_Z
    return np.where(sorted_by[:, None, :], np.float32(0), scores)
