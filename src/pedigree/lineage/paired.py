# SPDX-License-Identifier: Apache-2.0
"""Raw samples of two models, weight against weight of the same index.

The forensics of a relation look at differences of single weights, so they need models
whose indices agree: related ones that ALIGN found, with a map of their layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint, TensorRecord
from pedigree.fingerprint.roles import Part, Role, Slot
from pedigree.fingerprint.sampling import Axis, order

Values = NDArray[np.float32]
BlockMap = Mapping[tuple[int, int], tuple[int, int]]
"""Block (layer, expert) of B to the block of A that it comes from."""

ROW_AXES = {
    Role.EMBEDDING: Axis.TOKEN,
    Role.HEAD: Axis.TOKEN,
    Role.GATE: Axis.NEURON,
    Role.UP: Axis.NEURON,
    Role.O: Axis.CHANNEL,
    Role.DOWN: Axis.CHANNEL,
}
"""Axis of the rows of a role's matrix; heads for others."""
COLUMN_AXES = {Role.DOWN: Axis.NEURON, Role.O: Axis.HEAD}
"""Axis of its columns; residual channels for others."""
BLOCK_ROLES = frozenset({Role.GATE, Role.UP, Role.DOWN})


@dataclass(frozen=True, slots=True)
class Pair:
    """Samples of one matrix of A and of the one of B that it became.

    Attributes:
        role: Of both.
        layer_a: Layer in A, -1 outside the layers.
        layer_b: Layer in B.
        a: Shape (rows, columns): values of A.
        b: Values of B with the same indices.
    """

    role: Role
    layer_a: int
    layer_b: int
    a: Values
    b: Values


def raw_values(bits: NDArray[np.uint16]) -> Values:
    """Canonical values from their upper 16 bits."""
    wide: Values = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return wide


def samples(model: Fingerprint) -> dict[Slot, tuple[TensorRecord, Values]]:
    """Every raw sample (s, s) with its record, by slot; the spare slot left out."""
    raw, at = model.part("raw"), model.part("raw.record")
    if raw is None or at is None:
        return {}
    values = raw_values(raw)
    return {
        model.tensors[i].slot: (model.tensors[i], values[k])
        for k, i in enumerate(at.tolist())
        if model.tensors[i].slot.role is not Role.OTHER
        and model.tensors[i].slot.part is Part.WEIGHT
    }


def pairs(a: Fingerprint, b: Fingerprint, blocks: BlockMap | None = None) -> list[Pair]:
    """All matrices of B whose origin in A is known, with at least 8 x 8 values.

    Args:
        a: First model.
        b: Second model, of the same width.
        blocks: Which block of A each of B comes from; the same one without it.
    """
    return list(_pairs(a, b, blocks))


def _pairs(a: Fingerprint, b: Fingerprint, blocks: BlockMap | None) -> Iterator[Pair]:
    first = samples(a)
    layers = _layer_map(blocks)
    for slot, (record, values) in samples(b).items():
        origin = _origin(slot, blocks, layers)
        if origin is None or origin not in first:
            continue
        record_a, values_a = first[origin]
        found = _same_indices(a, slot.role, record_a, values_a, record, values)
        if found is not None:
            yield Pair(slot.role, origin.layer, slot.layer, *found)


def _layer_map(blocks: BlockMap | None) -> Mapping[int, int] | None:
    if blocks is None:
        return None
    return {to[0]: origin[0] for to, origin in blocks.items()}


def _origin(
    slot: Slot, blocks: BlockMap | None, layers: Mapping[int, int] | None
) -> Slot | None:
    if slot.layer < 0 or blocks is None or layers is None:
        return slot
    if slot.role in BLOCK_ROLES:
        origin = blocks.get((slot.layer, slot.expert))
        return None if origin is None else Slot(slot.role, *origin)
    layer = layers.get(slot.layer)
    return None if layer is None else Slot(slot.role, layer, slot.expert)


def _same_indices(
    model: Fingerprint,
    role: Role,
    record_a: TensorRecord,
    values_a: Values,
    record_b: TensorRecord,
    values_b: Values,
) -> tuple[Values, Values] | None:
    """The part of two samples that has equal row and column indices."""
    s = min(len(values_a), len(values_b))
    values_a, values_b = values_a[:s, :s], values_b[:s, :s]
    axes = ROW_AXES.get(role, Axis.HEAD), COLUMN_AXES.get(role, Axis.CHANNEL)
    for side, axis in enumerate(axes):
        sizes = record_a.shape[side], record_b.shape[side]
        if sizes[0] == sizes[1]:
            continue
        seed = model.settings.seed
        first, second = (order(seed, axis, size, s) for size in sizes)
        _, at_a, at_b = np.intersect1d(
            first, second, assume_unique=True, return_indices=True
        )
        if len(at_a) < 8:
            return None
        values_a = values_a.take(at_a, axis=side)
        values_b = values_b.take(at_b, axis=side)
    return values_a, values_b
