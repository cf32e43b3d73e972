# SPDX-License-Identifier: Apache-2.0
"""Reads a model twice more, for the directions of its own; see ``grams``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.anchors import takes_off_mean
from pedigree.fingerprint.bits import values_of
from pedigree.fingerprint.features import folded
from pedigree.fingerprint.grams import ROLES, Grams, affordable
from pedigree.fingerprint.plan import Plan
from pedigree.fingerprint.sampled import BitReader
from pedigree.fingerprint.slots import Part, Piece, Role, Slot

Scale = Callable[[int, Role], NDArray[np.float32] | None]
Matrix = NDArray[np.float64]
_OUTWARD = (Role.O, Role.DOWN)
_OF_ATTENTION = (Role.Q, Role.K, Role.V)


def read_grams(
    plan: Plan,
    reader: BitReader,
    pieces: Mapping[Slot, Piece],
    tabled: list[tuple[int, int]],
    scale: Scale,
) -> Grams | None:
    """The directions of a model; None if it is too large for them.

    Args:
        plan: Of the model.
        reader: Of its weights.
        pieces: By slot.
        tabled: Blocks whose neurons will be described.
        scale: The norm's weight before a layer's attention or neurons.
    """
    layers = tuple(sorted({layer for layer, _ in tabled}))
    if not layers or not affordable(plan.shapes, len(layers), plan.spec):
        return None
    centred = takes_off_mean(pieces)
    source = _Matrices(plan, reader, pieces, scale)
    grams = Grams(plan.shape.width, layers, centred=centred)
    for layer, gate, up, down in source.blocks():
        grams.seed(layer, gate, up, down)
    for role, rows in source.every():
        grams.add(role, rows)
    return grams


class _Matrices:
    """Matrices as rows on the residual axis."""

    def __init__(
        self,
        plan: Plan,
        reader: BitReader,
        pieces: Mapping[Slot, Piece],
        scale: Scale,
    ) -> None:
        self._plan, self._reader, self._scale = plan, reader, scale
        self._pieces = {
            slot: piece
            for slot, piece in pieces.items()
            if slot.role in ROLES and slot.part is Part.WEIGHT and slot.layer >= 0
        }

    def blocks(self) -> Iterator[tuple[int, Matrix | None, Matrix, Matrix]]:
        """Layer, gate, up and down of every feed-forward block and expert."""
        for slot in self._pieces:
            if slot.role is not Role.UP:
                continue
            key = (slot.layer, slot.expert)
            up, down = self._rows(slot), self._rows(Slot(Role.DOWN, *key))
            gate = self._rows(Slot(Role.GATE, *key))
            if up is None or down is None or up.shape != down.shape:
                continue
            if gate is None or gate.shape == up.shape:
                yield slot.layer, gate, up, down

    def every(self) -> Iterator[tuple[Role, Matrix]]:
        """Role and rows of every matrix."""
        for slot in self._pieces:
            rows = self._rows(slot)
            if rows is not None:
                yield slot.role, rows

    def _rows(self, slot: Slot) -> Matrix | None:
        shape = self._plan.shapes.get(slot)
        if slot not in self._pieces or shape is None or len(shape) != 2:
            return None
        if shape[slot.role not in _OUTWARD] != self._plan.shape.width:
            return None
        values = self._reader.everything(self._pieces[slot]).reshape(shape)
        if slot.role in _OUTWARD:
            return values_of(np.ascontiguousarray(values.T)).astype(np.float64)
        attention = slot.role in _OF_ATTENTION
        norm = Role.NORM_ATTENTION if attention else Role.NORM_MLP
        return folded(values, self._scale(slot.layer, norm))
