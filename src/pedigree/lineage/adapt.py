# SPDX-License-Identifier: Apache-2.0
"""ADAPT: was this low-rank adapter trained on top of that model?

Definition
    Of every adapted matrix the Gram matrix of an axis is compared with that of the
    same matrices of the base: of residual channels for what modules read (q, k, v;
    gate, up) and write (o; down), of neurons for what gate and up write and down
    reads.  For an adapter it is the Gram of the orthonormal factor.  Only the block
    between two disjoint samples J1 and J2 of the axis is kept.  The feature of channel
    i in J1 is its row there, of length 1; the statistic is the sum of the cosines of
    rows with equal index.
Effect
    Mean cosine of rows with equal index, less that of rows with different index.
Survives
    Any further training of the base, merging, pruning, quantisation, new vocabulary,
    dropped layers; any rank and scale of the adapter.  Not: permuted or rotated
    residual channels of the base.
Cost
    One matrix product (64 x rows x 64) per matrix when the fingerprint is made; here
    one per pair of layers.
Null
    The index is permuted within J1, J2 is left alone: a subgroup of all permutations
    of the axis, so the null is exact whatever is inside the Grams.  Residual channels:
    one permutation for all layers; neurons: one for each.  The two axes count as two
    cells.
Assumes
    The axis is exchangeable, as in ALIGN.
Source
    Mantel 1967 for comparing Gram matrices; splitting the axis, which makes the
    statistic linear and its tail provable, is ours.  Measured in ``docs/lineage.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.axis import Axis, Blocks, unit_rows
from pedigree.lineage.axis import run as run_axis
from pedigree.lineage.results import NotRun, TestResult

NAME = "ADAPT"
_PARTS = (("adapt.residual", True), ("adapt.neuron", False))
_AXES_LOG10 = math.log10(len(_PARTS))


def is_adapter(model: Fingerprint) -> bool:
    """Whether a fingerprint is of an adapter without the weights it adapts."""
    return model.reason == NotRun.ADAPTER_WEIGHTS


def run(a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None) -> TestResult:
    """Compare an adapter with a model; see the module's docstring."""
    refused = _refused(a, b)
    if refused:
        return refused
    wanted = None if alpha_log10 is None else alpha_log10 - _AXES_LOG10
    results = []
    for part, shared in _PARTS:
        blocks = _blocks(a, b, part)
        if blocks is not None:
            axis = Axis(NAME, shared=shared)
            results.append(run_axis(axis, *blocks, alpha_log10=wanted))
    ran = [result for result in results if result.ran]
    if not ran:
        return _nothing(results, a, b)
    return _best(ran)


def _refused(a: Fingerprint, b: Fingerprint) -> TestResult | None:
    adapters = is_adapter(a), is_adapter(b)
    if not any(adapters):
        return TestResult(
            name=NAME,
            reason=NotRun.NOT_AN_ADAPTER,
            detail="neither model is an adapter",
        )
    if all(adapters):
        return TestResult(
            name=NAME,
            reason=NotRun.ADAPTER_WEIGHTS,
            detail="both models are adapters; compare each with a base",
        )
    for label, model in (("A", a), ("B", b)):
        if model.part("adapt.residual") is None:
            return TestResult(
                name=NAME,
                reason=NotRun.NOT_KEPT,
                detail=f"the fingerprint of {label} keeps nothing to compare with an "
                "adapter; make it with the deep profile",
            )
    return None


def _blocks(a: Fingerprint, b: Fingerprint, part: str) -> tuple[Blocks, Blocks] | None:
    """Both models over the kinds of Gram that both have."""
    first, second = a.part(part), b.part(part)
    size = "width" if part == "adapt.residual" else "neurons"
    if (
        first is None
        or second is None
        or getattr(a.shape, size) != getattr(b.shape, size)
        or first.shape[1:] != second.shape[1:]
    ):
        return None
    kinds = [
        k for k in range(first.shape[1]) if first[:, k].any() and second[:, k].any()
    ]
    if not kinds:
        return None
    made = []
    for model, grams in ((a, first), (b, second)):
        rows = _rows(grams[:, kinds])
        common = np.zeros((rows.shape[1], 0), np.float32)
        if part == "adapt.residual":  # one permutation, so layers may be summed
            common = _lengths_one(rows.sum(axis=0))
        made.append(Blocks(_labels(model), rows, common))
    return made[0], made[1]


def _lengths_one(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    length[length == 0] = 1
    unit: NDArray[np.float32] = (rows / length).astype(np.float32)
    return unit


def _rows(grams: NDArray[np.int8]) -> NDArray[np.float32]:
    """Shape (layers, kinds, J1, J2) to unit rows (layers, J1, kinds * J2)."""
    rows = unit_rows(grams) / np.float32(math.sqrt(grams.shape[1]))
    layers, _, n, _ = rows.shape
    return np.ascontiguousarray(rows.transpose(0, 2, 1, 3)).reshape(layers, n, -1)


def _labels(model: Fingerprint) -> tuple[str, ...]:
    layers = model.part("adapt.layers")
    return () if layers is None else tuple(str(layer) for layer in layers.tolist())


def _nothing(
    results: Sequence[TestResult], a: Fingerprint, b: Fingerprint
) -> TestResult:
    if results:
        return results[0]
    if a.shape.width != b.shape.width:
        return TestResult(
            name=NAME,
            reason=NotRun.WIDTH_DIFFERS,
            detail=f"A has {a.shape.width} residual channels, B has {b.shape.width}",
        )
    return TestResult(
        name=NAME,
        reason=NotRun.NOTHING_SHARED,
        detail="the adapter changes no matrix of a role that the base has",
    )


def _best(ran: Sequence[TestResult]) -> TestResult:
    """The smaller p-value of the two axes, counted twice."""
    best = min(ran, key=lambda result: result.log10_p)
    cells = sum(result.cells for result in ran)
    return TestResult(
        name=NAME,
        effect=best.effect,
        z=best.z,
        log10_p=min(0.0, best.log10_p + _AXES_LOG10),
        method=best.method,
        n=best.n,
        cells=cells,
        samples=best.samples,
        deciding=best.deciding,
        smallest_effect=best.smallest_effect,
        pairs=best.pairs,
    )
