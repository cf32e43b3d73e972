# SPDX-License-Identifier: Apache-2.0
"""One pass over a model, layer by layer: all that a fast or deep fingerprint keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.bits import Bits, values_of
from pedigree.fingerprint.codes import codes_of
from pedigree.fingerprint.features import (
    FEED_FORWARD,
    ChannelFeatures,
    NeuronFeatures,
    NormFeatures,
    folded,
)
from pedigree.fingerprint.lattice import grids
from pedigree.fingerprint.layer_reader import OUTSIDE, LayerReader, Sampled
from pedigree.fingerprint.model import Fingerprint, TensorRecord
from pedigree.fingerprint.plan import Plan
from pedigree.fingerprint.records import sort_key
from pedigree.fingerprint.reduced import fast_view
from pedigree.fingerprint.sampled import BitReader
from pedigree.fingerprint.sampling import Axis
from pedigree.fingerprint.slots import Part, Role, RoleMap, Slot
from pedigree.fingerprint.token_features import TokenFeatures
from pedigree.fingerprint.vocabulary import Vocabulary
from pedigree.tensors.checkpoint import Checkpoint

if TYPE_CHECKING:
    from pedigree.fingerprint.adapt_pass import AdaptPass

QF_TOO_LARGE = "QfTooLarge"
"""Note: the model is too large for features by its own directions."""


class LayerPass:
    """State of one pass.

    Args:
        checkpoint: The model's weights.
        reader: Of the same.
        roles: What each tensor is.
        plan: What is sampled.
        vocabulary: What the embedding's rows stand for, or None.
        progress: Told after each tensor how many bytes are done.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        reader: BitReader,
        roles: RoleMap,
        plan: Plan,
        vocabulary: Vocabulary | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._checkpoint, self._reader, self._roles = checkpoint, reader, roles
        self._plan, self._vocabulary = plan, vocabulary
        self._layers = LayerReader(reader, roles, plan, progress)
        self._notes = set(roles.notes)

    def run(self) -> Fingerprint:
        """Read, and give the fingerprint."""
        plan = self._plan
        with self._layers as layers:
            layers.read(OUTSIDE)
            tokens = TokenFeatures(plan, self._reader, layers.pieces, self._vocabulary)
            tokens.take(layers.is_tied())
            features = _Features(plan, tokens)
            for slot in layers.pieces:
                if slot.role.is_norm and slot.layer < 0:
                    self._norm(features.norms, slot, -1)
            for place, layer in enumerate(plan.layers):
                self._layer(features, place, layer, layers.read(layer))
            return self._finish(features, tokens, self._tables(tokens))

    def _norm(self, norms: NormFeatures, slot: Slot, place: int) -> None:
        values = self._layers.gamma.get((slot.role, slot.layer))
        if values is not None and slot.part is Part.WEIGHT:
            norms.take(place, slot.role, values)

    def _layer(
        self,
        features: _Features,
        place: int,
        layer: int,
        found: Sampled,
    ) -> None:
        rows, columns = found.rows, found.columns
        plan, width = self._plan, self._plan.shape.width
        for slot in rows:
            if slot.role.is_norm:
                self._norm(features.norms, slot, place)
        for role in (Role.O, Role.DOWN):
            slot = Slot(role, layer)
            if slot in rows and plan.shapes[slot][0] == width:
                features.channels.take(place, role, rows[slot])
        up = Slot(Role.UP, layer)
        if up in columns and plan.shapes[up][1] == width:
            features.channels.take(place, Role.UP, columns[up])
        for block in features.blocks.get(layer, ()):
            self._block(features, plan.blocks[block], block, found)
        if features.adapt is not None:
            features.adapt.take(layer, rows, columns)

    def _block(
        self,
        features: _Features,
        key: tuple[int, int],
        block: int,
        found: Sampled,
    ) -> None:
        plan, rows = self._plan, found.rows
        layer, width = key[0], plan.shape.width
        count = plan.spec.neurons
        up_shape = plan.shapes[Slot(Role.UP, *key)]
        gamma = self._layers.scale(layer, Role.NORM_MLP)
        views: dict[str, NDArray[np.float64] | None] = {}
        for name, role in FEED_FORWARD.items():
            slot = Slot(role, *key)
            views[name] = None
            if role is Role.DOWN:
                if plan.shapes.get(slot) == (width, up_shape[0]):
                    down = self._down(slot, found.columns, up_shape[0])
                    if down is not None:
                        views[name] = values_of(down).astype(np.float64)
            elif slot in rows and plan.shapes[slot] == up_shape:
                views[name] = folded(rows[slot][:count], gamma)
        up = views["up"]
        if up is not None:
            features.neurons.take(block, views["gate"], up, views["down"])

    def _down(self, slot: Slot, columns: dict[Slot, Bits], neurons: int) -> Bits | None:
        """Columns of down of the sampled neurons, where they are to be had."""
        count = self._plan.spec.neurons
        if slot in columns:
            return np.ascontiguousarray(columns[slot][:count])
        piece = self._layers.pieces[slot]
        if self._reader.is_row_major(piece):
            return None
        at = self._plan.axis(Axis.NEURON, neurons, count)
        return self._reader.columns(piece, at)

    def _tables(self, tokens: TokenFeatures) -> dict[str, NDArray[Any]]:
        plan = self._plan
        if not plan.deep or not plan.blocks:
            return {}
        # What only the deep profile needs takes time to load.
        from pedigree.fingerprint.own_directions import read_grams
        from pedigree.fingerprint.tables import Tables, tabled_blocks

        tabled = tabled_blocks(plan)
        pieces, scale = self._layers.pieces, self._layers.scale
        grams = read_grams(plan, self._reader, pieces, tabled, scale)
        if grams is None:
            self._notes.add(QF_TOO_LARGE)
        tables = Tables(plan, self._reader, pieces, tokens.anchors, grams)
        for block in tabled:
            tables.take(block, self._layers.scale(block[0], Role.NORM_MLP))
        self._notes |= tables.notes
        return tables.parts()

    def _finish(
        self,
        features: _Features,
        tokens: TokenFeatures,
        tables: dict[str, NDArray[Any]],
    ) -> Fingerprint:
        plan = self._plan
        lattice = grids(self._layers.lattice, plan.spec)
        records = sorted(
            (replace(r, grid=lattice.get(r.slot, 0)) for r in self._layers.records),
            key=sort_key,
        )
        parts: dict[str, NDArray[Any]] = {}
        if plan.shape.width and plan.blocks:
            parts |= {**tokens.parts(), **features.parts(), **self._raw_parts(records)}
            parts |= tables
            for name, code in codes_of(self._fast(parts)).items():
                parts[f"code.{name}"] = code
        made = Fingerprint(
            settings=plan.spec,
            profile=plan.profile,
            architecture=self._roles.family,
            reason=self._roles.reason,
            shape=plan.shape,
            tensors=tuple(records),
            layers=tuple(plan.layers),
            blocks=tuple(plan.blocks),
            parts={name: array for name, array in parts.items() if array.size},
            notes=tuple(sorted(self._notes)),
        )
        if plan.deep and self._roles.reason == "AdapterWeights":
            from pedigree.fingerprint.adapt_pass import adapter_fingerprint

            return adapter_fingerprint(made, self._checkpoint)
        return made

    def _fast(self, parts: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """What the fast profile would have: codes must not depend on the profile."""
        downs = [p for p in self._layers.pieces.values() if p.slot.role is Role.DOWN]
        row_major = all(self._reader.is_row_major(p) for p in downs[:1])
        return fast_view(parts, self._plan.spec, row_major)

    def _raw_parts(self, records: list[TensorRecord]) -> dict[str, NDArray[Any]]:
        size = self._plan.spec.raw_deep if self._plan.deep else self._plan.spec.raw
        places = [i for i, r in enumerate(records) if r.slot in self._layers.raw]
        values = [self._layers.raw[records[i].slot] for i in places]
        return {
            "raw": np.array(values, np.uint16).reshape(-1, size, size),
            "raw.record": np.array(places, np.int32),
        }


class _Features:
    """The parts that grow layer by layer."""

    def __init__(self, plan: Plan, tokens: TokenFeatures) -> None:
        self.neurons = NeuronFeatures(plan, tokens.anchors)
        self.channels = ChannelFeatures(plan)
        self.norms = NormFeatures(plan)
        self.adapt = _adapt_pass(plan) if plan.deep else None
        self.blocks: dict[int, list[int]] = {}
        for place, (layer, _) in enumerate(plan.blocks):
            self.blocks.setdefault(layer, []).append(place)

    def parts(self) -> dict[str, NDArray[Any]]:
        """Arrays by name."""
        return {
            **self.neurons.parts(),
            **self.channels.parts(),
            **self.norms.parts(),
            **(self.adapt.parts() if self.adapt is not None else {}),
        }


def _adapt_pass(plan: Plan) -> AdaptPass:
    # Takes time to load, which the fast profile has no use for.
    from pedigree.fingerprint.adapt_pass import AdaptPass

    return AdaptPass(plan)
