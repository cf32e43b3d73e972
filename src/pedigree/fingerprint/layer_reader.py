# SPDX-License-Identifier: Apache-2.0
"""Reads a model layer by layer: sampled rows, records, and for deep all the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.bits import Bits, values_of
from pedigree.fingerprint.model import NO_DIGEST, TensorRecord
from pedigree.fingerprint.plan import Plan
from pedigree.fingerprint.sampled import BitReader, record_of
from pedigree.fingerprint.slots import Part, Piece, Role, RoleMap, Slot
from pedigree.tensors.layout import Extent

if TYPE_CHECKING:
    from pedigree.fingerprint.whole import WholePass

OUTSIDE = -1
"""Layer of what is in none."""
_ALONE_VALUES = 4 << 20
"""Models of at most this size are read without threads."""
AHEAD_BYTES = 64 << 20
"""Read at once of a model that is sampled; a 7B-class model takes two or three."""
_VECTOR_VALUES = 1 << 18
"""Longer than the vectors of any model."""
_TOKENS = (Role.EMBEDDING, Role.HEAD)
_WITH_COLUMNS = (Role.Q, Role.K, Role.V, Role.GATE, Role.UP, Role.DOWN)


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was read of one layer.

    Attributes:
        rows: By slot: sampled rows of matrices, all of vectors.
        columns: By slot: sampled columns, each as a row; deep only.
    """

    rows: dict[Slot, Bits]
    columns: dict[Slot, Bits]


class LayerReader(AbstractContextManager["LayerReader"]):
    """Reads each tensor once it is asked for its layer.

    Args:
        reader: Of the model.
        roles: What each tensor is.
        plan: What is sampled.
        progress: Told after each tensor how many bytes are done.

    Attributes:
        pieces: Canonical tensors with a role, by slot.
        records: Of what was read.
        raw: Single values of matrices, by slot.
        lattice: First rows of matrices, by slot.
        gamma: Weights of norms, by role and layer.
    """

    def __init__(
        self,
        reader: BitReader,
        roles: RoleMap,
        plan: Plan,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._reader, self._plan = reader, plan
        self.pieces = {p.slot: p for p in roles.pieces if p.slot in plan.shapes}
        self.records: list[TensorRecord] = []
        self.raw: dict[Slot, Bits] = {}
        self.lattice: dict[Slot, Bits] = {}
        self.gamma: dict[tuple[Role, int], NDArray[np.float32]] = {}
        self._groups = _groups(roles, plan)
        cost = self._cost()
        self._steps = _Steps(progress, cost)
        self._order = [OUTSIDE, *plan.layers]
        beside = sum(cost.values()) > _ALONE_VALUES
        self._whole = _whole_pass(reader, beside) if plan.deep else None
        self._read_until = 0
        self._start(OUTSIDE)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._whole is not None:
            self._whole.__exit__(kind, error, trace)

    def scale(self, layer: int, role: Role) -> NDArray[np.float32] | None:
        """The norm's weight before a matrix, if it fits the width."""
        found = self.gamma.get((role, layer))
        fits = found is not None and len(found) == self._plan.shape.width
        return found if fits else None

    def _cost(self) -> dict[Piece, int]:
        """Values to read of each piece, about."""
        cost = {}
        for piece in (p for group in self._groups.values() for p in group):
            shape = self._reader.shape(piece)
            size = math.prod(shape)
            if not self._plan.deep and len(shape) == 2:
                size = min(size, shape[1] * self._plan.row_count(piece.slot))
            cost[piece] = size
        return cost

    def _start(self, layer: int) -> None:
        if self._whole is not None:
            from pedigree.fingerprint.whole import Asked

            self._whole.start(
                Asked(piece, self._rows_of(piece), self._columns_of(piece))
                for piece in self._groups.get(layer, [])
            )

    def _rows_of(self, piece: Piece) -> NDArray[np.int64] | int:
        """Which rows of a matrix are sampled, or how many values of a vector."""
        slot, shape = piece.slot, self._reader.shape(piece)
        if len(shape) == 2:
            return self._plan.rows(slot, shape[0], self._plan.row_count(slot))
        if slot.role.is_norm and slot.part is Part.WEIGHT:
            return math.prod(shape)
        return self._plan.spec.digest_values

    def _columns_of(self, piece: Piece) -> NDArray[np.int64] | None:
        """Which columns of a matrix the deep profile wants."""
        slot, shape = piece.slot, self._reader.shape(piece)
        if slot not in self.pieces or slot.part is not Part.WEIGHT or len(shape) != 2:
            return None
        if slot.layer < 0 or slot.role not in _WITH_COLUMNS:
            return None
        return self._plan.columns(slot, shape[1], self._plan.spec.gram_channels)

    def read(self, layer: int) -> Sampled:
        """Sampled rows of one layer; in the deep profile columns and digests too.

        Layers must be asked for in order, :data:`OUTSIDE` first.

        Raises:
            ArtifactError: See :meth:`BitReader.rows`.
            SourceError: The bytes could not be had.
        """
        place = self._order.index(layer)
        if self._whole is None and place >= self._read_until:
            self._read_ahead(place)
        for following in self._order[place + 1 : place + 2]:
            self._start(following)
        found = Sampled({}, {})
        for piece in self._groups.get(layer, []):
            rows, full = self._sample(piece, found)
            self._record(piece, rows, full)
            if piece.slot in self.pieces:
                found.rows[piece.slot] = rows
            self._steps.done(piece)
        return found

    def _read_ahead(self, place: int) -> None:
        """Read the samples of this layer and of as many more as may be held."""
        extents: list[Extent] = []
        size = 0
        for layer in self._order[place:]:
            more = [x for p in self._groups.get(layer, []) for x in self._extents(p)]
            more_bytes = sum(x.length for x in more)
            if size + more_bytes > AHEAD_BYTES:
                break
            extents += more
            size += more_bytes
            self._read_until += 1
        self._read_until = max(self._read_until, place + 1)
        self._reader.ahead(extents)

    def _extents(self, piece: Piece) -> list[Extent]:
        wanted = self._rows_of(piece)
        if not isinstance(wanted, int):
            return self._reader.extents(piece, wanted)
        if math.prod(self._reader.shape(piece)) > max(wanted, _VECTOR_VALUES):
            return []  # only its first values are read
        return self._reader.extents(piece, None)

    def _sample(self, piece: Piece, found: Sampled) -> tuple[Bits, bytes]:
        """Sampled rows or values, and the digest of all if all were read."""
        if self._whole is not None:
            whole = self._whole.take(piece)
            if whole.columns is not None:
                found.columns[piece.slot] = whole.columns
            return whole.sample, whole.digest
        wanted = self._rows_of(piece)
        if isinstance(wanted, int):
            return self._reader.start(piece, wanted), NO_DIGEST
        return self._reader.rows(piece, wanted), NO_DIGEST

    def _record(self, piece: Piece, rows: Bits, full: bytes) -> None:
        spec, slot = self._plan.spec, piece.slot
        shape = self._reader.shape(piece)
        matrix = len(shape) == 2
        sample = rows[: spec.digest_rows] if matrix else rows[: spec.digest_values]
        self.records.append(record_of(slot, shape, sample, spec, full=full))
        if not matrix and slot.role.is_norm and slot.part is Part.WEIGHT:
            self.gamma[(slot.role, slot.layer)] = values_of(rows)
        if not matrix or slot not in self.pieces:
            return
        self.lattice[slot] = rows[: spec.grid_rows].copy()  # a view keeps all rows
        if min(shape) >= spec.raw_deep:
            size = spec.raw_deep if self._plan.deep else spec.raw
            at = self._plan.columns(slot, shape[1], size)
            self.raw[slot] = rows[:size][:, at]

    def is_tied(self) -> bool:
        """Whether there is no head of its own; stored once or twice, it is the same."""
        found = {r.slot: r for r in self.records if r.slot.role in _TOKENS}
        head = found.get(Slot(Role.HEAD))
        embedding = found.get(Slot(Role.EMBEDDING))
        if head is None:
            return True
        if embedding is None or replace(head, slot=embedding.slot) != embedding:
            return False
        self.records.remove(head)
        self.raw.pop(head.slot, None)
        self._plan.shape = replace(
            self._plan.shape, parameters=self._plan.shape.parameters - head.size
        )
        return True


def _whole_pass(reader: BitReader, beside: bool) -> WholePass:
    # Takes time to load, and the fast profile has no use for it.
    from pedigree.fingerprint.whole import WholePass

    return WholePass(reader, beside=beside)


def _groups(roles: RoleMap, plan: Plan) -> dict[int, list[Piece]]:
    """Pieces by layer; norms first, as they scale other rows."""
    groups: dict[int, list[Piece]] = {}
    for piece in sorted(
        filter(plan.is_recorded, roles.pieces),
        key=lambda p: (
            not p.slot.role.is_norm,
            int(p.slot.role),
            p.slot.expert,
            int(p.slot.part),
            p.name,
        ),
    ):
        groups.setdefault(piece.slot.layer, []).append(piece)
    return groups


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
