# SPDX-License-Identifier: Apache-2.0
"""The parts of the deep profile that hold every neuron of some blocks.

A permutation of the neurons moves the sampled ones away, but not out of the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.anchors import Anchors
from pedigree.fingerprint.bits import Bits, values_of
from pedigree.fingerprint.features import folded
from pedigree.fingerprint.grams import Grams
from pedigree.fingerprint.invariants import invariants
from pedigree.fingerprint.plan import Plan
from pedigree.fingerprint.sampled import BitReader
from pedigree.fingerprint.sketches import quantise
from pedigree.fingerprint.slots import Piece, Role, Slot

_NEURONS = 512
"""Neurons at once; does not change any output."""
_PREFIX = {"tsp": "table", "tspi": "tablei"}
TOO_LARGE = "TableDownTooLarge"
"""Note: columns of a down matrix were left out of the tables for its size."""

Matrix = NDArray[np.float64]


def tabled_blocks(plan: Plan) -> list[tuple[int, int]]:
    """The blocks whose neurons are all kept.

    All of them if they have few neurons together; else the middle layer and its
    neighbours, as many as there is room for, and at least one.
    """
    room = plan.spec.table_neurons
    middle = (len(plan.blocks) - 1) / 2
    order = sorted(
        range(len(plan.blocks)), key=lambda place: (abs(place - middle), place)
    )
    taken: list[tuple[int, int]] = []
    for place in order:
        block = plan.blocks[place]
        room -= plan.shapes[Slot(Role.UP, *block)][0]
        if room < 0 and taken:
            break
        taken.append(block)
    return sorted(taken)


class Tables:
    """Builds the tables, block by block.

    Args:
        plan: Of the model.
        reader: Of its weights.
        pieces: By slot.
        anchors: By suffix: ``tsp`` and ``tspi``.
        grams: Of the model, or None when it is too large for them.
    """

    def __init__(
        self,
        plan: Plan,
        reader: BitReader,
        pieces: Mapping[Slot, Piece],
        anchors: Mapping[str, Anchors],
        grams: Grams | None,
    ) -> None:
        self._plan, self._reader, self._pieces = plan, reader, pieces
        self._anchors, self._grams = anchors, grams
        self._rows: dict[str, list[NDArray[Any]]] = {}
        self._blocks: list[tuple[int, int, int, int]] = []
        self._end = 0
        self.notes: set[str] = set()

    def take(self, block: tuple[int, int], gamma: NDArray[np.float32] | None) -> None:
        """Add all neurons of a block."""
        count = self._plan.shapes[Slot(Role.UP, *block)][0]
        down = self._down(block, count)
        for first in range(0, count, _NEURONS):
            last = min(first + _NEURONS, count)
            views: dict[str, Matrix] = {}
            for name, role in (("gate", Role.GATE), ("up", Role.UP)):
                piece = self._piece(role, block, (count, self._plan.shape.width))
                if piece is not None:
                    at = np.arange(first, last, dtype=np.int64)
                    views[name] = folded(self._reader.rows(piece, at), gamma)
            if down is not None:
                columns = np.ascontiguousarray(down[:, first:last].T)
                views["down"] = values_of(columns).astype(np.float64)
            self._keep(views, block[0])
        self._blocks.append((*block, self._end, self._end + count))
        self._end += count

    def _piece(
        self, role: Role, block: tuple[int, int], shape: tuple[int, int]
    ) -> Piece | None:
        slot = Slot(role, *block)
        return self._pieces.get(slot) if self._plan.shapes.get(slot) == shape else None

    def _down(self, block: tuple[int, int], count: int) -> Bits | None:
        width = self._plan.shape.width
        piece = self._piece(Role.DOWN, block, (width, count))
        if piece is None:
            return None
        if width * count > self._plan.spec.table_values:
            self.notes.add(TOO_LARGE)
            return None
        return self._reader.everything(piece).reshape(width, count)

    def _keep(self, views: Mapping[str, Matrix], layer: int) -> None:
        for name, rows in views.items():
            for kind, anchors in self._anchors.items():
                if anchors.count:
                    kept = quantise(anchors.project(rows), anchors.fast)
                    self._add(f"{_PREFIX[kind]}.{name}", kept)
            # Two views do: a gated neuron needs no features of its down column.
            if self._grams is not None and not (name == "down" and "gate" in views):
                features = self._grams.features(rows, layer)
                self._add(f"table.qf.{name}", features)
        up, gate, down = (views.get(name) for name in ("up", "gate", "down"))
        if up is not None:
            self._add("table.scalars", invariants(gate, up, down))

    def _add(self, name: str, rows: NDArray[Any]) -> None:
        # Blocks without this part have zeros, so that all tables have all rows.
        held = self._rows.setdefault(name, [])
        missing = self._row_count() - sum(len(chunk) for chunk in held)
        if missing > 0:
            held.append(np.zeros((missing, *rows.shape[1:]), rows.dtype))
        held.append(rows)

    def _row_count(self) -> int:
        return self._end

    def parts(self) -> dict[str, NDArray[Any]]:
        """Arrays by name."""
        if not self._blocks:
            return {}
        result: dict[str, NDArray[Any]] = {
            "table.block": np.array(self._blocks, np.int32)
        }
        for name, chunks in self._rows.items():
            rows = np.concatenate(chunks)
            tail = self._end - len(rows)
            result[name] = np.pad(rows, ((0, tail), *((0, 0),) * (rows.ndim - 1)))
        return result
