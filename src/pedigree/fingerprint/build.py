# SPDX-License-Identifier: Apache-2.0
"""From weights to a fingerprint: one pass over every tensor.

Reads all bytes, because the HASH part proves exact copies; the sketches alone would
need few rows.  At most one block of a tensor is held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError
from pedigree.fingerprint.canonical import CanonicalReader, TensorHash
from pedigree.fingerprint.families import FAMILIES
from pedigree.fingerprint.model import Fingerprint, Shape, TensorRecord
from pedigree.fingerprint.roles import Part, Piece, Role, RoleMap, Slot, map_roles
from pedigree.fingerprint.sampling import Axis, sample
from pedigree.fingerprint.sketches import (
    Sketches,
    centred_ranks,
    quantise,
    sketch_rows,
)
from pedigree.fingerprint.spec import (
    AXIS_MAX,
    BLOCKS_MAX,
    LAYERS_MAX,
    V1,
    VOCABULARY_MAX,
    FingerprintSpec,
)
from pedigree.tensors.checkpoint import Checkpoint

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) after each tensor."""

_DISTINCT_OF = 65_536
"""Values looked at to count distinct ones."""

Values = NDArray[np.float32]


def build_fingerprint(
    checkpoint: Checkpoint,
    *,
    spec: FingerprintSpec = V1,
    progress: Progress | None = None,
) -> Fingerprint:
    """Fingerprint a model.

    Args:
        checkpoint: The model's weights.
        spec: What fixes the bits.
        progress: Told after each tensor how many bytes are done.

    Returns:
        The fingerprint.  An unknown architecture has only the HASH part, and says so
        in ``reason``.

    Raises:
        ArtifactError: A weight is not finite (``NonFiniteTensor``), cannot be read
            (reasons of :class:`Checkpoint`), or there are more layers than any model
            has (``LimitExceeded``).
        SourceError: The bytes could not be had.
    """
    shapes = {name: info.shape for name, info in checkpoint.tensors.items()}
    roles = map_roles(shapes, FAMILIES)
    pass_ = _Pass(checkpoint, roles, spec)
    total = sum(info.end - info.begin for info in checkpoint.tensors.values())
    done = 0
    for name, pieces in _by_tensor(roles):
        for piece in pieces:
            pass_.take(piece)
        info = checkpoint.tensors[name]
        done += info.end - info.begin
        if progress is not None:
            progress(done, total)
    return pass_.finish()


def _by_tensor(roles: RoleMap) -> Iterator[tuple[str, list[Piece]]]:
    """Pieces grouped by stored tensor; norms first, as they scale other rows."""
    groups: dict[str, list[Piece]] = {}
    for piece in sorted(roles.pieces, key=lambda p: (not p.slot.role.is_norm, p.name)):
        groups.setdefault(piece.name, []).append(piece)
    yield from groups.items()


@dataclass(slots=True)
class _Taken:
    """One canonical tensor, and the rows and columns of it that were asked for."""

    record: TensorRecord
    rows: Values
    columns: Values


class _Pass:
    """State of one pass over a model."""

    def __init__(
        self, checkpoint: Checkpoint, roles: RoleMap, spec: FingerprintSpec
    ) -> None:
        self._roles, self._spec = roles, spec
        self._reader = CanonicalReader(checkpoint)
        self._shapes = {p.slot: self._reader.shape(p) for p in self._mapped()}
        self._shape = self._sizes()
        self._layers = sorted({s.layer for s in self._shapes if s.layer >= 0})
        self._blocks = sorted(
            (s.layer, s.expert)
            for s in self._shapes
            if s.role is Role.UP
            and s.part is Part.WEIGHT
            and s.layer >= 0
            and s.expert < spec.experts
        )
        self._check_limits()
        self._records: list[TensorRecord] = []
        self._gamma: dict[int, Values] = {}
        self._out = Sketches.empty(spec, self._shape, self._layers, self._blocks)
        self._channels = sample(
            spec.seed, Axis.CHANNEL, self._shape.width, spec.channels
        )
        self._tokens = sample(
            spec.seed, Axis.TOKEN, self._shape.vocabulary, spec.tokens
        )

    def _mapped(self) -> Iterable[Piece]:
        return (p for p in self._roles.pieces if p.slot.role is not Role.OTHER)

    def _sizes(self) -> Shape:
        embedding = self._shapes.get(Slot(Role.EMBEDDING), (0, 0))
        ups = [
            (slot, shape[0])
            for slot, shape in self._shapes.items()
            if slot.role is Role.UP and slot.part is Part.WEIGHT
        ]
        layers = {slot.layer for slot in self._shapes if slot.layer >= 0}
        return Shape(
            layers=len(layers),
            width=embedding[1],
            neurons=min(ups)[1] if ups else 0,
            vocabulary=embedding[0],
        )

    def _check_limits(self) -> None:
        for got, most, what in (
            (len(self._layers), LAYERS_MAX, "layers"),
            (len(self._blocks), BLOCKS_MAX, "feed-forward blocks"),
        ):
            if got > most:
                raise ArtifactError(
                    f"model has {got} {what}, allowed are {most}; its tensor names "
                    "may have been made to exhaust memory",
                    reason="LimitExceeded",
                )
        for slot, shape in self._shapes.items():
            tokens = slot.role in (Role.EMBEDDING, Role.HEAD)
            bounds = (VOCABULARY_MAX if tokens else AXIS_MAX, AXIS_MAX)
            if any(size > bound for size, bound in zip(shape, bounds, strict=False)):
                raise ArtifactError(
                    f"a tensor of role {slot.role.name} has shape {shape}, allowed "
                    f"are {bounds[0]} rows and {bounds[1]} columns",
                    reason="LimitExceeded",
                )

    def take(self, piece: Piece) -> None:
        """Read one canonical tensor and keep what the fingerprint needs of it."""
        slot = piece.slot
        if slot.part is Part.BIAS or slot.role is Role.OTHER:
            self._records.append(self._read(piece).record)
        elif slot.role.is_norm:
            self._take_norm(piece)
        elif slot.role in (Role.EMBEDDING, Role.HEAD):
            self._take_tokens(piece)
        elif slot.role in (Role.GATE, Role.UP, Role.DOWN):
            self._take_feed_forward(piece)
        elif slot.role is Role.O:
            self._take_output(piece)
        else:
            self._records.append(self._read(piece).record)

    def _take_norm(self, piece: Piece) -> None:
        size = self._shapes[piece.slot][0]
        taken = self._read(piece, rows=np.arange(size))
        self._records.append(taken.record)
        if size != self._shape.width:
            return  # a norm inside a head
        count = self._spec.norm_channels
        channels = sample(self._spec.seed, Axis.NORM_CHANNEL, size, count)
        ranks = centred_ranks(taken.rows[channels])
        role, layer = piece.slot.role, piece.slot.layer
        if role is Role.NORM_FINAL:
            self._out.norm_final[: len(ranks)] = ranks
        elif role is Role.NORM_ATTENTION and layer >= 0:
            self._out.norms[self._layers.index(layer), 0, : len(ranks)] = ranks
        elif role is Role.NORM_MLP and layer >= 0:
            self._out.norms[self._layers.index(layer), 1, : len(ranks)] = ranks
            self._gamma[layer] = taken.rows

    def _take_tokens(self, piece: Piece) -> None:
        fits = self._shapes[piece.slot] == (self._shape.vocabulary, self._shape.width)
        taken = self._read(piece, rows=self._tokens if fits else None)
        self._records.append(taken.record)
        if fits:
            kept = quantise(taken.rows[:, self._channels].T.astype(np.float64))
            target = self._out.embedding
            if piece.slot.role is Role.HEAD:
                target = self._out.head
            target[: len(kept), : kept.shape[1]] = kept  # (channels, tokens)

    def _take_feed_forward(self, piece: Piece) -> None:
        slot = piece.slot
        shape = self._shapes[slot]  # (neurons, width), for DOWN (width, neurons)
        down = slot.role is Role.DOWN
        neurons, width = shape[::-1] if down else shape
        key = (slot.layer, slot.expert)
        if width != self._shape.width or key not in self._blocks:
            self._records.append(self._read(piece).record)
            return
        chosen = sample(self._spec.seed, Axis.NEURON, neurons, self._spec.neurons)
        dense = slot.expert < 0  # channels of experts are not pooled into one row
        if down:
            taken = self._read(
                piece, rows=self._channels if dense else None, columns=chosen
            )
            by_neuron = taken.columns.astype(np.float64)
            by_channel = taken.rows
        else:
            wants = dense and slot.role is Role.UP
            taken = self._read(
                piece, rows=chosen, columns=self._channels if wants else None
            )
            # In float64, where no product of two weights overflows.
            scale = self._gamma.get(slot.layer, np.ones(1, np.float32))
            by_neuron = taken.rows.astype(np.float64) * scale
            by_channel = taken.columns
        self._records.append(taken.record)
        place = {Role.GATE: 0, Role.UP: 1, Role.DOWN: 2}[slot.role]
        block = self._blocks.index(key)
        kept = sketch_rows(by_neuron, slot.role, self._spec)
        self._out.neurons[block, : len(kept), place] = kept
        if by_channel.size and slot.role is not Role.GATE:
            kept = sketch_rows(by_channel, slot.role, self._spec)
            layer = self._layers.index(slot.layer)
            self._out.channels[layer, : len(kept), place] = kept

    def _take_output(self, piece: Piece) -> None:
        fits = self._shapes[piece.slot][0] == self._shape.width
        taken = self._read(piece, rows=self._channels if fits else None)
        self._records.append(taken.record)
        if fits and piece.slot.layer >= 0:
            kept = sketch_rows(taken.rows, Role.O, self._spec)
            layer = self._layers.index(piece.slot.layer)
            self._out.channels[layer, : len(kept), 0] = kept

    def _read(
        self,
        piece: Piece,
        rows: NDArray[np.int64] | None = None,
        columns: NDArray[np.int64] | None = None,
    ) -> _Taken:
        """One streamed read; ``columns`` come transposed, (len(columns), rows)."""
        shape = self._reader.shape(piece)
        digest = TensorHash(shape)
        kept_rows, kept_columns = [], []
        first = size = zeros = distinct = 0
        for block in self._reader.blocks(piece):
            digest.update(block)
            if size == 0:
                distinct = len(np.unique(block.reshape(-1)[:_DISTINCT_OF]))
            size += block.size
            zeros += block.size - int(np.count_nonzero(block))
            if rows is not None:
                last = first + len(block)
                here = rows[(rows >= first) & (rows < last)] - first
                kept_rows.append(block[here])
                first = last
            if columns is not None:
                kept_columns.append(block[:, columns])
        record = TensorRecord(
            piece.slot, digest.digest(), size, zeros, min(distinct, 65_535)
        )
        return _Taken(
            record,
            np.concatenate(kept_rows) if kept_rows else np.empty(0, np.float32),
            np.concatenate(kept_columns).T if kept_columns else np.empty(0, np.float32),
        )

    def finish(self) -> Fingerprint:
        """The fingerprint of all that was taken."""
        records = sorted(self._records, key=lambda r: (r.slot, r.digest))
        by_slot = {record.slot: record for record in records}
        embedding = by_slot.get(Slot(Role.EMBEDDING))
        head = by_slot.get(Slot(Role.HEAD))
        head_rows = self._out.head
        if head is None or (embedding is not None and head.digest == embedding.digest):
            # Stored twice or once, a tied head is the same model.
            records = [record for record in records if record is not head]
            head_rows = head_rows[:0]
        return Fingerprint(
            settings=self._spec,
            architecture=self._roles.family,
            reason=self._roles.reason,
            shape=self._shape,
            tensors=tuple(records),
            layers=tuple(self._layers),
            blocks=tuple(self._blocks),
            neurons=self._out.neurons,
            channels=self._out.channels,
            embedding=self._out.embedding,
            head=head_rows,
            norms=self._out.norms,
            norm_final=self._out.norm_final,
        )
