# SPDX-License-Identifier: Apache-2.0
"""LEP and WVC: how alike are the matrices of two models, layer by layer?

LEP (layer energy profile)
    The Frobenius norms of a layer's matrices, summed; correlation of the two curves
    over depth.  Scaling one matrix up and the next down changes it and not the model.
    Independent models have 0.85 to 0.93.
WVC (weight value cosine)
    4096 values at equal distance from each matrix of known kind, joined; cosine for
    each layer number that both have, negative ones as 0, mean of them.  Distances that
    divide the width read one column only; it needs the same layer numbers, tensor
    order and storage on both sides.
Cost
    Every matrix is read once for both.
Source
    The kit's ``weight_signals.py``; for models above 20 GB its variant that reads 32
    rows of each matrix, and sums squares instead of norms.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.lineage.context.model import (
    Absent,
    ContextSignal,
    Floats,
    NotShown,
    correlation,
    missing,
    shown,
)
from pedigree.lineage.context.order import (
    SAMPLED_ROWS,
    is_sampled,
    kit_order,
    layer_of,
)
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.layout import TensorInfo

Progress = Callable[[int, int], None]
_VALUES = 4096
"""Taken of one matrix for WVC."""
_VALUES_LEAST = 64
_LAYERS_LEAST = 2
_LAYERS_MAX = 10_000
_LANES = 8
_BLOCK_BYTES = 64 << 20
_WHOLE_BYTES = 256 << 20
"""A larger matrix is read in blocks."""
COMPARED = (
    *("q_proj", "query", "k_proj", "key", "v_proj", "value", "o_proj", "dense"),
    *("out_proj", "gate", "up_proj", "fc1", "wi_0", "down_proj", "fc2", "wi_1", "wo"),
)
"""Parts of a name by which the kit knows a matrix for WVC.

The kit tries kinds in order and the ones it leaves out (embedding, norm, head) come
last, so one of these words decides whatever else the name holds.
"""


@dataclass(frozen=True, slots=True)
class Matrices:
    """What is kept of a model's matrices.

    Attributes:
        energy: By layer number, from 0; shape (layers,).
        values: By layer number; shape (k,), float32.  Empty if no matrix is of a kind
            that WVC looks at.
    """

    energy: Floats
    values: Mapping[int, NDArray[np.float32]]


def read_matrices(
    checkpoint: Checkpoint, progress: Progress | None = None
) -> Matrices | Absent:
    """Read every matrix of every layer, once.

    Args:
        checkpoint: The model.
        progress: Told after each tensor how many bytes are done, and of how many.

    Raises:
        ArtifactError: A tensor is refused.
        SourceError: The bytes could not be had.
    """
    sampled = is_sampled(checkpoint)
    energy: defaultdict[int, float] = defaultdict(float)
    values: defaultdict[int, list[NDArray[np.float32]]] = defaultdict(list)
    infos = kit_order(checkpoint)
    done, total = 0, sum(info.nbytes for info in infos)
    for info in infos:
        done += info.nbytes
        if progress is not None:
            progress(done, total)
        layer = layer_of(info.name)
        if layer is None or len(info.shape) < 2 or layer >= _LAYERS_MAX:
            continue
        length, kept = _read(checkpoint, info, sampled=sampled)
        energy[layer] += length
        if any(word in info.name.lower() for word in COMPARED):
            values[layer].append(kept)
    if not energy:
        return Absent(NotShown.NO_LAYERS, "no matrix of a numbered layer")
    curve = np.array([energy.get(layer, 0.0) for layer in range(max(energy) + 1)])
    if curve.max() > 1e-8:
        curve = curve / curve.max()
    return Matrices(curve, {i: np.concatenate(found) for i, found in values.items()})


def _read(
    checkpoint: Checkpoint, info: TensorInfo, *, sampled: bool
) -> tuple[float, NDArray[np.float32]]:
    """Energy of a matrix, and the values at equal distance in it."""
    rows = info.shape[0]
    if sampled:
        few = min(rows, SAMPLED_ROWS)
        wanted = range(0, rows, rows // few)[:few]
        flat = checkpoint.read_rows(info.name, wanted).reshape(-1)
        square = float(np.dot(flat, flat)) * rows / few
        return square, _spread(flat)
    if 4 * info.count > _WHOLE_BYTES:
        return _read_blocks(checkpoint, info)
    flat = checkpoint.read(info.name).reshape(-1)
    return _length(flat), _spread(flat)


def _read_blocks(
    checkpoint: Checkpoint, info: TensorInfo
) -> tuple[float, NDArray[np.float32]]:
    """The same in pieces, for a matrix too large to hold."""
    lanes, rest = np.zeros(_LANES, np.float32), np.empty(0, np.float32)
    at, kept = 0, []
    step = info.count // _VALUES
    for block in checkpoint.blocks(info.name, _BLOCK_BYTES):
        flat = block.reshape(-1)
        kept.append(flat[-at % step :: step].copy())
        at += flat.size
        flat = np.concatenate([rest, flat])
        whole = flat.size // _LANES * _LANES
        lanes, rest = _lanes(flat[:whole], lanes), flat[whole:]
    return _closed(lanes, rest), np.concatenate(kept)[:_VALUES]


def _spread(flat: NDArray[np.float32]) -> NDArray[np.float32]:
    return flat[:: max(1, flat.size // _VALUES)][:_VALUES].copy()


def _length(flat: NDArray[np.float32]) -> float:
    """Euclidean length as torch computes it: eight float32 sums side by side.

    Their rounding shows in the fourth decimal of LEP, and at 45 million values takes
    0.35 % off the length (measured), so it is repeated here bit by bit.
    """
    whole = flat.size // _LANES * _LANES
    lanes = _lanes(flat[:whole], np.zeros(_LANES, np.float32))
    return _closed(lanes, flat[whole:])


def _lanes(
    flat: NDArray[np.float32], before: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Sums of squares of every eighth value, one after the other, after ``before``.

    Args:
        flat: Shape (8 * k,).
        before: Shape (8,).
    """
    left = right = flat.reshape(-1, _LANES)
    if before.any():
        left = np.vstack([before, left])
        right = np.vstack([np.ones(_LANES, np.float32), right])
    sums: NDArray[np.float32] = np.einsum("ij,ij->j", left, right)
    return sums


def _closed(lanes: NDArray[np.float32], rest: NDArray[np.float32]) -> float:
    total = np.float32(0)
    for lane in lanes:
        total += lane
    for value in rest:
        total += value * value
    return float(np.sqrt(total))


def lep(a: Matrices, b: Matrices) -> ContextSignal:
    """Correlate two energy curves, the longer one resampled."""
    left, right = a.energy, b.energy
    if len(left) != len(right):
        places = np.linspace(0, 1, min(len(left), len(right)))
        left, right = _resampled(left, places), _resampled(right, places)
    return shown("LEP", correlation(left, right), f"{len(left)} layers")


def _resampled(curve: Floats, places: Floats) -> Floats:
    return np.interp(places, np.linspace(0, 1, len(curve)), curve)


def wvc(a: Matrices, b: Matrices) -> ContextSignal:
    """Mean cosine of kept values over the layer numbers that both have."""
    if not a.values or not b.values:
        return missing("WVC", Absent(NotShown.NO_LAYERS, "no matrix of a known kind"))
    found = [
        _layer_cosine(a.values[layer], b.values[layer])
        for layer in sorted(set(a.values) & set(b.values))
    ]
    cosines = [cosine for cosine in found if cosine is not None]
    if len(cosines) < _LAYERS_LEAST:
        return missing(
            "WVC", Absent(NotShown.TOO_LITTLE, f"{len(cosines)} layers in common")
        )
    return shown("WVC", float(np.mean(cosines)), f"{len(cosines)} layers")


def _layer_cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    count = min(len(a), len(b))
    left, right = a[:count].astype(np.float64), b[:count].astype(np.float64)
    length = float(np.linalg.norm(left) * np.linalg.norm(right))
    if count < _VALUES_LEAST or length < 1e-10:
        return None
    return min(1.0, max(0.0, float(np.dot(left, right)) / length))
