# SPDX-License-Identifier: Apache-2.0
"""MERGE: is a model a combination of others, and how much is of each?

Definition
    With M_k the raw samples of the references that are related to B at equal indices,
    B is fitted by ``sum w_k M_k`` with w at least 0 and summing to 1, over all matrices
    of the layers.  The base of the references is one of them, so a merge of task
    vectors, ``W0 + sum s_k (M_k - W0)``, is such a combination too; no base need be
    known.
Decision
    *Linear* (also SLERP): at least two weights of 0.03 and 6 standard errors, and
    nothing left but rounding (to bfloat16, or to the lattice B lies on), or at most
    2 % of the squared distance to the nearest reference.  A parent among its
    children, or a root among many, is near such a combination too, but never so near.
    *Sparse* (DARE, TIES): see ``sparse``; shares are those of the changes, and the
    base has 0.
    *Passthrough*: each layer of B equals a layer of some reference nearly bit for bit,
    and not all from the same one.
Cost
    One pass over the samples (28,000 weights of a model of 4 layers) per reference.
Source
    Non-negative least squares, Lawson & Hanson 1974.  Thresholds
    measured, see ``docs/lineage.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.roles import Slot
from pedigree.lineage.convex import convex_weights, standard_errors
from pedigree.lineage.delta import BODY
from pedigree.lineage.lattice import lattice_of
from pedigree.lineage.paired import Values, samples
from pedigree.lineage.results import Comparison
from pedigree.lineage.sparse import Sparse, read_sparse

LINEAR, SPARSE, PASSTHROUGH = "linear", "sparse", "passthrough"
SHARE_MIN = 0.03
ERRORS_LINEAR = 6.0
ROUNDING = 2.0
"""Times the expected squares of rounding that may be left."""
LEFT_MAX = 0.02
EQUAL_LAYER = 0.9
RELATED_COSINE = 0.3
REFERENCES_MAX = 64
"""Nearest references that are tried."""


@dataclass(frozen=True, slots=True)
class Share:
    """Part of one reference in a merge.

    Attributes:
        name: Of the reference.
        share: Its weight; all weights sum to 1.
        errors: The weight in standard errors.
    """

    name: str
    share: float
    errors: float


@dataclass(frozen=True, slots=True)
class LayerShares:
    """One layer of the merge.

    Attributes:
        layer: In the merged model.
        origin: Layer of the references.
        shares: (name, weight) of each reference, largest first, small ones left out.
    """

    layer: int
    origin: int
    shares: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class MergeFinding:
    """A model that is a combination of others.

    Attributes:
        kind: ``linear``, ``sparse`` or ``passthrough``.
        shares: Of each reference with a part, largest first.
        layers: The same by layer.
        left: Squared distance left, relative to that of the nearest reference.
        evidence: One sentence.
    """

    kind: str
    shares: tuple[Share, ...]
    layers: tuple[LayerShares, ...]
    left: float
    evidence: str


@dataclass(frozen=True, eq=False, slots=True)
class _Data:
    names: tuple[str, ...]
    slots: tuple[Slot, ...]
    target: tuple[Values, ...]
    columns: tuple[tuple[Values, ...], ...]
    """By slot, then by reference."""


def explain_merge(
    model: Fingerprint,
    references: Mapping[str, Fingerprint],
    comparisons: Mapping[str, Comparison] | None = None,
) -> MergeFinding | None:
    """What combination of the references a model is, or None.

    Args:
        model: The model asked about.
        references: By name; those that are not related, or of another shape, are left
            out.
        comparisons: Of references (first) with the model, where there are any: those
            that do not find kinship are left out.
    """
    chosen = {
        name: reference
        for name, reference in references.items()
        if _comparable(model, reference, (comparisons or {}).get(name))
    }
    if len(chosen) < 2:
        return None
    stacked = _passthrough(model, chosen)
    if stacked is not None:
        return stacked
    data = _data(model, chosen)
    return None if data is None else _combination(model, data)


def _comparable(
    model: Fingerprint, reference: Fingerprint, comparison: Comparison | None
) -> bool:
    same = (model.shape.width, model.shape.neurons) == (
        reference.shape.width,
        reference.shape.neurons,
    )
    kin = comparison is None or bool(comparison.relation)
    return same and kin and model.settings == reference.settings


def _body(model: Fingerprint) -> dict[Slot, Values]:
    return {
        slot: values
        for slot, (_, values) in samples(model).items()
        if slot.role in BODY
    }


def _data(model: Fingerprint, references: Mapping[str, Fingerprint]) -> _Data | None:
    """Samples of the model and of the references that are near it, at equal places."""
    target = _body(model)
    near: list[tuple[float, str, dict[Slot, Values]]] = []
    for name, reference in references.items():
        body = _body(reference)
        if set(body) != set(target):
            continue
        cosine = _cosine(target, body)
        if cosine >= RELATED_COSINE:
            near.append((-cosine, name, body))
    near.sort(key=lambda item: item[:2])
    near = near[:REFERENCES_MAX]
    if len(near) < 2:
        return None
    slots = tuple(sorted(target))
    size = min(len(body[s]) for _, _, body in near for s in slots)
    size = min([size, *(len(target[s]) for s in slots)])
    return _Data(
        tuple(name for _, name, _ in near),
        slots,
        tuple(target[s][:size, :size] for s in slots),
        tuple(tuple(body[s][:size, :size] for _, _, body in near) for s in slots),
    )


def _cosine(a: Mapping[Slot, Values], b: Mapping[Slot, Values]) -> float:
    pairs = []
    for slot, x in a.items():
        size = min(len(x), len(b[slot]))
        pairs.append((x[:size, :size].ravel(), b[slot][:size, :size].ravel()))
    u = np.concatenate([pair[0] for pair in pairs]).astype(np.float64)
    v = np.concatenate([pair[1] for pair in pairs]).astype(np.float64)
    norm = float(np.sqrt((u @ u) * (v @ v)))
    return float(u @ v) / norm if norm > 0 else 0.0


def _combination(model: Fingerprint, data: _Data) -> MergeFinding | None:
    target, columns = _flat(data, range(len(data.slots)))
    distances = ((columns - target[:, None]) ** 2).sum(axis=0)
    nearest = float(distances.min())
    if nearest <= 0:
        return None  # a copy
    allowed = max(ROUNDING * _rounding(model, data), LEFT_MAX * nearest)
    for scale in (1.0, _scale(target, columns)):  # spheric merges keep the length
        weights, left, errors = _fit(target / scale, columns)
        strong = (weights >= SHARE_MIN) & (weights >= ERRORS_LINEAR * errors)
        if strong.sum() >= 2 and left <= allowed:
            return _finding(LINEAR, data, weights, errors, left / nearest)
    sparse = read_sparse(target, columns)
    return None if sparse is None else _sparse_finding(data, sparse)


def _sparse_finding(data: _Data, sparse: Sparse) -> MergeFinding:
    base = data.names[sparse.base]
    parents = [
        Share(name, round(float(share), 4), 0.0)
        for name, share in zip(data.names, sparse.shares, strict=True)
        if share >= SHARE_MIN
    ]
    parents.sort(key=lambda share: (-share.share, share.name))
    said = ", ".join(f"about {s.share:.2f} of {s.name}" for s in parents)
    return MergeFinding(
        SPARSE,
        (*parents, Share(base, 0.0, 0.0)),
        (),
        1.0 - sparse.exact,
        f"{sparse.equal:.0%} of its weights equal {base}, and {sparse.exact:.0%} of "
        "the others differ from it by an exact multiple of one parent's change; of "
        f"the changes, {said}",
    )


def _fit(
    target: NDArray[np.float64], columns: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Weights, squares left, standard errors."""
    middle = columns.mean(axis=1)
    centred, y = columns - middle[:, None], target - middle
    gram = centred.T @ centred
    weights = convex_weights(gram, centred.T @ y)
    rest = y - centred @ weights
    left = float(rest @ rest)
    return weights, left, standard_errors(gram, weights, left, len(y))


def _scale(target: NDArray[np.float64], columns: NDArray[np.float64]) -> float:
    """Sum of the weights when it is free, within what spheric merging can give."""
    used = _fit(target, columns)[0] > 0
    free = np.linalg.lstsq(
        columns[:, used].T @ columns[:, used], columns[:, used].T @ target, rcond=None
    )[0]
    return float(np.clip(free.sum(), 0.9, 1.42))


def _finding(
    kind: str,
    data: _Data,
    weights: NDArray[np.float64],
    errors: NDArray[np.float64],
    left: float,
) -> MergeFinding:
    shares = sorted(
        (
            Share(name, round(float(w), 4), round(float(w / e), 1) if e > 0 else 0.0)
            for name, w, e in zip(data.names, weights, errors, strict=True)
            if w >= SHARE_MIN
        ),
        key=lambda share: (-share.share, share.name),
    )
    said = ", ".join(f"{s.share:.2f} of {s.name}" for s in shares)
    how = f"its weights are {said}; {left:.1%} of the change is left"
    return MergeFinding(kind, tuple(shares), _by_layer(data), left, how)


def _by_layer(data: _Data) -> tuple[LayerShares, ...]:
    layers = sorted({slot.layer for slot in data.slots})
    result = []
    for layer in layers:
        at = [i for i, slot in enumerate(data.slots) if slot.layer == layer]
        target, columns = _flat(data, at)
        weights, _, _ = _fit(target, columns)
        named = sorted(
            (
                (name, round(float(w), 3))
                for name, w in zip(data.names, weights, strict=True)
                if w >= SHARE_MIN
            ),
            key=lambda item: (-item[1], item[0]),
        )
        result.append(LayerShares(layer, layer, tuple(named)))
    return tuple(result)


def _flat(
    data: _Data, at: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shapes (weights,) and (weights, references)."""
    target = np.concatenate([data.target[i].ravel() for i in at]).astype(np.float64)
    columns = np.concatenate(
        [np.stack([x.ravel() for x in data.columns[i]], axis=1) for i in at]
    ).astype(np.float64)
    return target, columns


def _rounding(model: Fingerprint, data: _Data) -> float:
    """Expected squares of rounding the model to its lattice, or to bfloat16."""
    if lattice_of(model):
        return float(sum(_lattice_noise(values) for values in data.target))
    total = 0.0
    for values in data.target:
        size = np.maximum(np.abs(values.astype(np.float64)), 2.0**-126)
        total += float((np.exp2(np.floor(np.log2(size)) - 7) ** 2).sum()) / 12
    return total


def _lattice_noise(values: Values) -> float:
    """Step squared over 12, the step being the least gap of levels in each stretch."""
    total = 0.0
    for begin in range(0, values.shape[1], 16):
        for row in np.abs(values[:, begin : begin + 16].astype(np.float64)):
            levels = np.unique(row)
            gaps = np.diff(levels)
            gaps = gaps[gaps > levels[-1] / 64]
            if gaps.size:
                total += len(row) * float(gaps.min()) ** 2 / 12
    return total


def _passthrough(
    model: Fingerprint, references: Mapping[str, Fingerprint]
) -> MergeFinding | None:
    """Every layer a near copy of a layer of some reference, not all of one."""
    target = _layers(_body(model))
    bodies = {name: _layers(_body(x)) for name, x in references.items()}
    found: list[LayerShares] = []
    for layer, own in sorted(target.items()):
        best = max(
            (
                (_equal(own, theirs), name, other)
                for name, layers in bodies.items()
                for other, theirs in layers.items()
            ),
            key=lambda item: (item[0], item[2] == layer, item[1]),
            default=(0.0, "", -1),
        )
        if best[0] < EQUAL_LAYER:
            return None
        found.append(LayerShares(layer, best[2], ((best[1], 1.0),)))
    names = {x.shares[0][0] for x in found}
    if any(_all_of(target, layers) for layers in bodies.values()):
        return None
    if len(names) < 2:
        return None
    shares = sorted(
        (
            Share(n, sum(x.shares[0][0] == n for x in found) / len(found), np.inf)
            for n in names
        ),
        key=lambda share: (-share.share, share.name),
    )
    said = ", ".join(
        f"{x.layer} is layer {x.origin} of {x.shares[0][0]}" for x in found[:8]
    )
    return MergeFinding(
        PASSTHROUGH, tuple(shares), tuple(found), 0.0, f"layers are stacked: {said}"
    )


def _all_of(
    target: Mapping[int, Mapping[Slot, Values]],
    layers: Mapping[int, Mapping[Slot, Values]],
) -> bool:
    """Whether one reference alone has every layer."""
    return all(
        any(_equal(own, theirs) >= EQUAL_LAYER for theirs in layers.values())
        for own in target.values()
    )


def _layers(body: Mapping[Slot, Values]) -> dict[int, dict[Slot, Values]]:
    result: dict[int, dict[Slot, Values]] = {}
    for slot, values in body.items():
        result.setdefault(slot.layer, {})[Slot(slot.role, 0, slot.expert)] = values
    return result


def _equal(a: Mapping[Slot, Values], b: Mapping[Slot, Values]) -> float:
    """Share of weights that are equal bit by bit."""
    if set(a) != set(b):
        return 0.0
    equal = total = 0
    for slot, x in a.items():
        size = min(len(x), len(b[slot]))
        same = x[:size, :size] == b[slot][:size, :size]
        equal, total = equal + int(same.sum()), total + same.size
    return equal / total if total else 0.0
