# SPDX-License-Identifier: Apache-2.0
"""Tests of dependence on what the Model Provenance Kit keeps of a model.

The kit's own figures have no null distribution.  Two of its vectors hold weights in a
known order, and so can be tested exactly, by the same permutations as ours:

``KIT-GAMMA`` on NLF in ``direct`` mode
    All norm vectors, one after the other.  A residual channel is described by its
    ranks in all of them; the null is a uniform permutation of the channels.
``KIT-ROWS`` on WVC
    4096 values at equal distance of every matrix.  Of the matrices that lead into the
    neurons of a layer, values of one column are told apart by the neuron they belong
    to.  The null permutes neurons within each column's group; these permutations are a
    subgroup of those under which training is exchangeable, so the p-value is exact,
    if smaller groups make it larger.

Which matrices those were the kit does not keep: it is taken from the model asked about,
and is right if both have one architecture.  If it is not, the values of two models are
compared at unrelated places, which the null covers.

Effect, assumptions and bounds are as in ``gamma`` and ``permutation``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.sketches import centred_ranks
from pedigree.lineage.context import matrices, norms
from pedigree.lineage.context.model import Absent
from pedigree.lineage.context.order import is_sampled, kit_order, layer_of
from pedigree.lineage.permutation import Matrix, centre, tail
from pedigree.lineage.results import ROWS_MIN, NotRun, TestResult
from pedigree.registry.kit_signals import Floats, KitSignals
from pedigree.tensors.checkpoint import Checkpoint

GAMMA, ROWS = "KIT-GAMMA", "KIT-ROWS"
TESTS = (GAMMA, ROWS)
"""The family; its size multiplies every p-value, whether or not a test could run."""
CHANNELS = 256
"""Residual channels that are looked at, at equal distance."""
GROUP_MAX = 256
"""Neurons of one group that are looked at."""
GROUPS_MAX = 64
_SEED = 0x6B6974
_VALUES = 4096
_INTO_NEURONS = ("gate", "up_proj", "fc1", "wi_0")
"""Parts of the names of matrices whose rows are neurons."""
Places = dict[int, list[tuple[int, int, int]]]
"""By layer: where the values of a matrix begin, its rows, its columns."""


def run_gamma(kit: KitSignals, model: norms.Norms | Absent) -> TestResult:
    """Compare norm vectors; see the module's docstring."""
    stored = kit.vectors.get("nlf")
    if stored is None or kit.mode != "direct" or not kit.width:
        return _not_kept(GAMMA, "the record has no whole norm vectors")
    if isinstance(model, Absent):
        return _not_kept(GAMMA, "the model has no norm vectors")
    width = kit.width
    sizes = {len(vector) for vector in model.vectors}
    if sizes != {width} or len(stored) != width * len(model.vectors):
        return TestResult(
            name=GAMMA,
            reason=NotRun.WIDTH_DIFFERS,
            detail=f"the record has {len(stored)} values of width {width}, the model "
            f"{len(model.vectors)} vectors of {sorted(sizes)}",
        )
    step = max(1, width // CHANNELS)
    a = _ranked(stored.reshape(-1, width)[:, ::step][:, :CHANNELS])
    b = _ranked(np.stack(model.vectors)[:, ::step][:, :CHANNELS])
    if not a.any() or not b.any():
        return TestResult(
            name=GAMMA,
            reason=NotRun.UNTRAINED_NORMS,
            detail="the norm vectors of one model are constant",
        )
    return _tested(GAMMA, [a.T @ b / len(a)])


def _ranked(vectors: NDArray[np.floating]) -> Matrix:
    """Shape (vectors, channels): ranks of mean square 1; constant vectors stay 0."""
    ranks = np.stack([centred_ranks(v.astype(np.float32)) for v in vectors])
    values = ranks.astype(np.float64)
    power = np.sqrt((values**2).mean(axis=1, keepdims=True))
    scaled: Matrix = values / np.where(power > 0, power, 1.0)
    return scaled


def run_rows(
    kit: KitSignals, model: matrices.Matrices | Absent, places: Places
) -> TestResult:
    """Compare values of matrices; see the module's docstring."""
    if not kit.layers:
        return _not_kept(ROWS, "the record has no values of matrices")
    if isinstance(model, Absent) or not places:
        return _not_kept(ROWS, "the model has no matrices whose rows are neurons")
    groups = [
        group
        for layer, where in sorted(places.items())
        for group in _groups(kit.layers.get(layer), model.values.get(layer), where)
    ]
    if not groups:
        return TestResult(
            name=ROWS,
            reason=NotRun.NOTHING_SHARED,
            detail="no layer has as many values in the record as in the model, with "
            f"{ROWS_MIN} neurons of one column",
        )
    groups.sort(key=len, reverse=True)  # stable: earlier layers first
    return _tested(ROWS, groups[:GROUPS_MAX])


def _groups(
    a: Floats | None, b: Floats | None, where: list[tuple[int, int, int]]
) -> Iterator[Matrix]:
    """Similarities of the neurons of one layer, one matrix for each column."""
    if a is None or b is None or len(a) != len(b):
        return
    rows, columns = where[0][1:]
    same = [begin for begin, *shape in where if shape == [rows, columns]]
    taken = min(_VALUES, rows * columns)
    flat = np.arange(taken) * max(1, rows * columns // _VALUES)
    first = np.stack([a[begin : begin + taken] for begin in same]).astype(np.float64)
    second = np.stack([b[begin : begin + taken] for begin in same]).astype(np.float64)
    for column in np.unique(flat % columns):
        group = np.flatnonzero(flat % columns == column)[:GROUP_MAX]
        x, y = _standard(first[:, group]), _standard(second[:, group])
        if len(group) >= ROWS_MIN and x.any() and y.any():
            yield x.T @ y / len(same)


def _standard(values: Matrix) -> Matrix:
    centred = values - values.mean(axis=1, keepdims=True)
    power = np.sqrt((centred**2).mean(axis=1, keepdims=True))
    scaled: Matrix = centred / np.where(power > 0, power, 1.0)
    return scaled


def neuron_places(checkpoint: Checkpoint) -> Places:
    """Where in the values of each layer those of its neurons' matrices are."""
    found: Places = {}
    at: dict[int, int] = {}
    if is_sampled(checkpoint):
        return {}  # the kit keeps other values of models this large
    for info in kit_order(checkpoint):
        layer, name = layer_of(info.name), info.name.lower()
        known = any(word in name for word in matrices.COMPARED)
        if layer is None or len(info.shape) < 2 or not known:
            continue
        begin = at.get(layer, 0)
        step = max(1, info.count // _VALUES)
        at[layer] = begin + min(_VALUES, -(-info.count // step))
        if len(info.shape) == 2 and any(word in name for word in _INTO_NEURONS):
            found.setdefault(layer, []).append((begin, *info.shape))
    return found


def _tested(name: str, similarity: list[Matrix]) -> TestResult:
    sizes = [len(c) for c in similarity]
    if min(sizes) < ROWS_MIN:
        return TestResult(
            name=name,
            reason=NotRun.TOO_FEW_ROWS,
            detail=f"{min(sizes)} rows, wanted at least {ROWS_MIN}",
        )
    found = tail([centre(c) for c in similarity], seed=_SEED)
    effect = float(np.mean([np.trace(c) / len(c) for c in similarity]))
    return TestResult(
        name=name,
        effect=max(-1.0, min(1.0, effect)),
        z=found.z,
        log10_p=found.log10_p,
        method=str(found.method),
        n=sum(sizes),
        cells=1,
        samples=sum(sizes),
        deciding="pooled",
    )


def _not_kept(name: str, detail: str) -> TestResult:
    return TestResult(name=name, reason=NotRun.NOT_KEPT, detail=detail)


def corrected_log10_p(result: TestResult, references: int) -> float:
    """log10 p over the tests here and all references of a registry."""
    correction = math.log10(len(TESTS) * max(1, references))
    return min(0.0, result.log10_p + correction) if result.ran else 0.0
