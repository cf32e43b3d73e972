# SPDX-License-Identifier: Apache-2.0
"""One pass over a model, layer by layer: all that a fast or deep fingerprint keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.adapt_pass import AdaptPass, adapter_fingerprint
from pedigree.fingerprint.bits import Bits, values_of
from pedigree.fingerprint.codes import codes_of
from pedigree.fingerprint.features import (
    FEED_FORWARD,
    ChannelFeatures,
    NeuronFeatures,
    NormFeatures,
    folded,
)
from pedigree.fingerprint.grams import ROLES as GRAM_ROLES
from pedigree.fingerprint.grams import Grams, affordable
from pedigree.fingerprint.lattice import grids
from pedigree.fingerprint.model import NO_DIGEST, Fingerprint, TensorRecord
from pedigree.fingerprint.plan import Plan
from pedigree.fingerprint.records import sort_key
from pedigree.fingerprint.reduced import fast_view
from pedigree.fingerprint.sampled import BitReader, record_of
from pedigree.fingerprint.sampling import Axis
from pedigree.fingerprint.slots import Part, Piece, Role, RoleMap, Slot
from pedigree.fingerprint.tables import Tables, tabled_blocks
from pedigree.fingerprint.token_features import TokenFeatures
from pedigree.fingerprint.vocabulary import Vocabulary
from pedigree.fingerprint.whole import WholePass
from pedigree.tensors.checkpoint import Checkpoint

QF_TOO_LARGE = "QfTooLarge"
"""Note: the model is too large for features of Gram matrices."""
_TOKENS = (Role.EMBEDDING, Role.HEAD)
_OUTSIDE = -1

Samples = dict[Slot, Bits]
Columns = dict[Slot, Bits]


class LayerPass:
    """State of one pass.

    Args:
        checkpoint: The model's weights.
        reader: Of the same.
        roles: What each tensor is.
        plan: What is sampled.
        vocabulary: What the embedding's rows stand for, or None.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        reader: BitReader,
        roles: RoleMap,
        plan: Plan,
        vocabulary: Vocabulary | None,
    ) -> None:
        self._checkpoint, self._reader, self._roles = checkpoint, reader, roles
        self._plan, self._vocabulary = plan, vocabulary
        self._pieces = {p.slot: p for p in roles.pieces if p.slot in plan.shapes}
        self._records: list[TensorRecord] = []
        self._raw: dict[Slot, Bits] = {}
        self._lattice: dict[Slot, Bits] = {}
        self._gamma: dict[tuple[Role, int], NDArray[np.float32]] = {}
        self._notes = set(roles.notes)
        self._whole: WholePass | None = None

    def run(self, progress: Callable[[int, int], None] | None) -> Fingerprint:
        """Read, and give the fingerprint."""
        groups = self._groups()
        with ExitStack() as stack:
            if self._plan.deep:
                self._whole = stack.enter_context(WholePass(self._reader))
                self._start(groups.get(_OUTSIDE, []))
            return self._run(groups, _Steps(progress, self._cost(groups)))

    def _groups(self) -> dict[int, list[Piece]]:
        """Pieces by layer; norms first, as they scale other rows."""
        groups: dict[int, list[Piece]] = {}
        for piece in sorted(
            filter(self._plan.is_recorded, self._roles.pieces),
            key=lambda p: (not p.slot.role.is_norm, p.slot, p.name),
        ):
            groups.setdefault(piece.slot.layer, []).append(piece)
        return groups

    def _cost(self, groups: dict[int, list[Piece]]) -> dict[Piece, int]:
        """Values to read of each piece, about."""
        cost = {}
        for piece in (p for group in groups.values() for p in group):
            shape = self._reader.shape(piece)
            size = math.prod(shape)
            if not self._plan.deep and len(shape) == 2:
                size = min(size, shape[1] * self._plan.row_count(piece.slot))
            cost[piece] = size
        return cost

    def _run(self, groups: dict[int, list[Piece]], steps: _Steps) -> Fingerprint:
        plan = self._plan
        order = [_OUTSIDE, *plan.layers]
        self._read(groups.get(_OUTSIDE, []), plan.layers[:1], groups, steps)
        tokens = TokenFeatures(plan, self._reader, self._pieces, self._vocabulary)
        tokens.take(self._is_tied())
        features = _Features(plan, tokens)
        for piece in groups.get(_OUTSIDE, []):
            if piece.slot in self._pieces and piece.slot.role.is_norm:
                self._norm(features.norms, piece.slot, -1)
        for place, layer in enumerate(plan.layers):
            following = order[place + 2 : place + 3]
            rows, columns = self._read(groups[layer], following, groups, steps)
            self._layer(features, place, layer, rows, columns)
        return self._finish(features, tokens, self._tables(features, tokens))

    # -- reading ---------------------------------------------------------------

    def _start(self, pieces: Iterable[Piece]) -> None:
        if self._whole is not None:
            self._whole.start((piece, self._columns_of(piece)) for piece in pieces)

    def _columns_of(self, piece: Piece) -> NDArray[np.int64] | None:
        """Which columns of a matrix the deep profile wants."""
        slot, shape = piece.slot, self._reader.shape(piece)
        if slot not in self._pieces or slot.part is not Part.WEIGHT or len(shape) != 2:
            return None
        if slot.layer < 0 or slot.role not in (
            Role.Q,
            Role.K,
            Role.V,
            Role.GATE,
            Role.UP,
            Role.DOWN,
        ):
            return None
        return self._plan.columns(slot, shape[1], self._plan.spec.gram_channels)

    def _read(
        self,
        pieces: list[Piece],
        following: list[int],
        groups: dict[int, list[Piece]],
        steps: _Steps,
    ) -> tuple[Samples, Columns]:
        """Sampled rows of one layer; in the deep profile columns and digests too."""
        for layer in following:
            self._start(groups[layer])
        samples: Samples = {}
        columns: Columns = {}
        for piece in pieces:
            rows = self._sample(piece)
            full = NO_DIGEST
            if self._whole is not None:
                whole = self._whole.take(piece)
                full = whole.digest
                if whole.columns is not None:
                    columns[piece.slot] = whole.columns
            self._record(piece, rows, full)
            if piece.slot in self._pieces:
                samples[piece.slot] = rows
            steps.done(piece)
        return samples, columns

    def _sample(self, piece: Piece) -> Bits:
        spec, slot = self._plan.spec, piece.slot
        shape = self._reader.shape(piece)
        if len(shape) != 2:
            if slot.role.is_norm and slot.part is Part.WEIGHT:
                values = self._reader.start(piece, math.prod(shape))
                self._gamma[(slot.role, slot.layer)] = values_of(values)
                return values
            return self._reader.start(piece, spec.digest_values)
        rows = self._plan.rows(slot, shape[0], self._plan.row_count(slot))
        return self._reader.rows(piece, rows)

    def _record(self, piece: Piece, rows: Bits, full: bytes) -> None:
        spec, slot = self._plan.spec, piece.slot
        shape = self._reader.shape(piece)
        matrix = len(shape) == 2
        sample = rows[: spec.digest_rows] if matrix else rows[: spec.digest_values]
        self._records.append(record_of(slot, shape, sample, spec, full=full))
        if not matrix or slot not in self._pieces:
            return
        self._lattice[slot] = rows[: spec.grid_rows]
        if min(shape) >= spec.raw_deep:
            size = spec.raw_deep if self._plan.deep else spec.raw
            at = self._plan.columns(slot, shape[1], size)
            self._raw[slot] = rows[:size][:, at]

    def _is_tied(self) -> bool:
        """Whether there is no head of its own; stored once or twice, it is the same."""
        found = {r.slot: r for r in self._records if r.slot.role in _TOKENS}
        head = found.get(Slot(Role.HEAD))
        embedding = found.get(Slot(Role.EMBEDDING))
        if head is None:
            return True
        if embedding is None or replace(head, slot=embedding.slot) != embedding:
            return False
        self._records.remove(head)
        self._raw.pop(head.slot, None)
        self._plan.shape = replace(
            self._plan.shape, parameters=self._plan.shape.parameters - head.size
        )
        return True

    # -- features --------------------------------------------------------------

    def _norm(self, norms: NormFeatures, slot: Slot, place: int) -> None:
        values = self._gamma.get((slot.role, slot.layer))
        if values is not None and slot.part is Part.WEIGHT:
            norms.take(place, slot.role, values)

    def _scale(self, layer: int, role: Role) -> NDArray[np.float32] | None:
        """The norm's weight before a matrix, if it fits the width."""
        found = self._gamma.get((role, layer))
        fits = found is not None and len(found) == self._plan.shape.width
        return found if fits else None

    def _layer(
        self,
        features: _Features,
        place: int,
        layer: int,
        rows: Samples,
        columns: Columns,
    ) -> None:
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
            self._block(features, plan.blocks[block], block, rows, columns)
        if plan.deep:
            features.adapt.take(layer, rows, columns)
            self._add_grams(features.grams, layer)

    def _block(
        self,
        features: _Features,
        key: tuple[int, int],
        block: int,
        rows: Samples,
        columns: Columns,
    ) -> None:
        plan = self._plan
        layer, width = key[0], plan.shape.width
        count = plan.spec.neurons
        up_shape = plan.shapes[Slot(Role.UP, *key)]
        gamma = self._scale(layer, Role.NORM_MLP)
        views: dict[str, NDArray[np.float64] | None] = {}
        for name, role in FEED_FORWARD.items():
            slot = Slot(role, *key)
            views[name] = None
            if role is Role.DOWN:
                if plan.shapes.get(slot) == (width, up_shape[0]):
                    found = self._down(slot, columns, up_shape[0])
                    if found is not None:
                        views[name] = values_of(found).astype(np.float64)
            elif slot in rows and plan.shapes[slot] == up_shape:
                views[name] = folded(rows[slot][:count], gamma)
        up = views["up"]
        if up is not None:
            features.neurons.take(block, views["gate"], up, views["down"])

    def _down(self, slot: Slot, columns: Columns, neurons: int) -> Bits | None:
        """Columns of down of the sampled neurons, where they are to be had."""
        count = self._plan.spec.neurons
        if slot in columns:
            return np.ascontiguousarray(columns[slot][:count])
        piece = self._pieces[slot]
        if self._reader.is_row_major(piece):
            return None
        at = self._plan.axis(Axis.NEURON, neurons, count)
        return self._reader.columns(piece, at)

    def _add_grams(self, grams: Grams | None, layer: int) -> None:
        width = self._plan.shape.width
        for slot, piece in self._pieces.items():
            if grams is None or slot.layer != layer or slot.role not in GRAM_ROLES:
                continue
            shape = self._plan.shapes[slot]
            if slot.part is not Part.WEIGHT or len(shape) != 2:
                continue
            values = self._reader.everything(piece).reshape(shape)
            if slot.role in (Role.O, Role.DOWN):
                rows = values_of(np.ascontiguousarray(values.T)).astype(np.float64)
            else:
                attention = slot.role in (Role.Q, Role.K, Role.V)
                norm = Role.NORM_ATTENTION if attention else Role.NORM_MLP
                if shape[1] != width:
                    continue
                rows = folded(values, self._scale(layer, norm))
            if rows.shape[1] == width:
                grams.add(layer, slot.role, rows)

    def _tables(
        self, features: _Features, tokens: TokenFeatures
    ) -> dict[str, NDArray[Any]]:
        plan = self._plan
        if not plan.deep or not plan.blocks:
            return {}
        if features.grams is None:
            self._notes.add(QF_TOO_LARGE)
        tables = Tables(
            plan, self._reader, self._pieces, tokens.anchors, features.grams
        )
        for block in tabled_blocks(plan):
            tables.take(block, self._scale(block[0], Role.NORM_MLP))
        self._notes |= tables.notes
        return tables.parts()

    # -- result ----------------------------------------------------------------

    def _finish(
        self,
        features: _Features,
        tokens: TokenFeatures,
        tables: dict[str, NDArray[Any]],
    ) -> Fingerprint:
        plan = self._plan
        lattice = grids(self._lattice, plan.spec)
        records = sorted(
            (replace(r, grid=lattice.get(r.slot, 0)) for r in self._records),
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
            return adapter_fingerprint(made, self._checkpoint)
        return made

    def _fast(self, parts: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """What the fast profile would have: codes must not depend on the profile."""
        downs = [p for p in self._pieces.values() if p.slot.role is Role.DOWN]
        row_major = all(self._reader.is_row_major(p) for p in downs[:1])
        return fast_view(parts, self._plan.spec, row_major)

    def _raw_parts(self, records: list[TensorRecord]) -> dict[str, NDArray[Any]]:
        size = self._plan.spec.raw_deep if self._plan.deep else self._plan.spec.raw
        places = [i for i, r in enumerate(records) if r.slot in self._raw]
        values = [self._raw[records[i].slot] for i in places]
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
        self.adapt = AdaptPass(plan)
        self.blocks: dict[int, list[int]] = {}
        for place, (layer, _) in enumerate(plan.blocks):
            self.blocks.setdefault(layer, []).append(place)
        width = plan.shape.width
        small = affordable(plan.shapes, len(plan.layers), width, plan.spec)
        self.grams = Grams(width) if plan.deep and small else None

    def parts(self) -> dict[str, NDArray[Any]]:
        """Arrays by name."""
        return {
            **self.neurons.parts(),
            **self.channels.parts(),
            **self.norms.parts(),
            **self.adapt.parts(),
        }


class _Steps:
    """Tells how far a pass is, in bytes of 16-bit values."""

    def __init__(
        self, progress: Callable[[int, int], None] | None, cost: dict[Piece, int]
    ) -> None:
        self._progress, self._cost = progress, cost
        self._total, self._done = 2 * sum(cost.values()), 0

    def done(self, piece: Piece) -> None:
        """One more piece was read."""
        self._done += 2 * self._cost[piece]
        if self._progress is not None:
            self._progress(self._done, self._total)
