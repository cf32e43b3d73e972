# SPDX-License-Identifier: Apache-2.0
"""What of a model is looked at: sizes, layers, blocks, and sampled indices.

Decided from shapes alone, before a weight is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError
from pedigree.fingerprint.model import Shape
from pedigree.fingerprint.sampling import Axis, order
from pedigree.fingerprint.slots import Part, Piece, Role, Slot
from pedigree.fingerprint.spec import (
    AXIS_MAX,
    BLOCKS_MAX,
    LAYERS_MAX,
    VOCABULARY_MAX,
    FingerprintSpec,
    Profile,
)

Index = NDArray[np.int64]
_TOKEN_ROLES = (Role.EMBEDDING, Role.HEAD)
_ROW_AXES = {
    **dict.fromkeys(_TOKEN_ROLES, Axis.TOKEN),
    **dict.fromkeys((Role.GATE, Role.UP), Axis.NEURON),
    **dict.fromkeys((Role.O, Role.DOWN), Axis.CHANNEL),
}
_COLUMN_AXES = {Role.DOWN: Axis.NEURON, Role.O: Axis.HEAD}


class Plan:
    """Sizes of one model, and which of it is sampled.

    Attributes:
        spec: Counts and seed.
        profile: Fast or deep; minimal is cut out of fast.
        shapes: Canonical shape of every mapped slot.
        shape: Sizes.
        layers: Ascending.
        blocks: Dense or expert feed-forward blocks that are sampled, ascending.
    """

    def __init__(
        self,
        shapes: Mapping[Slot, tuple[int, ...]],
        parameters: int,
        spec: FingerprintSpec,
        profile: Profile,
    ) -> None:
        self.spec, self.profile, self.shapes = spec, profile, shapes
        self.layers = sorted({slot.layer for slot in shapes if slot.layer >= 0})
        _check_axes(shapes.items())
        _check_count(len(self.layers), LAYERS_MAX, "layers")
        width = shapes.get(Slot(Role.EMBEDDING), (0, 0))[1]
        most = max(1, min(spec.experts, spec.blocks // max(1, len(self.layers))))
        self.blocks = sorted(
            (slot.layer, slot.expert)
            for slot, shape in shapes.items()
            if slot.role is Role.UP
            and slot.part is Part.WEIGHT
            and slot.layer >= 0
            and slot.expert < most
            and shape[1] == width
        )
        _check_count(len(self.blocks), BLOCKS_MAX, "feed-forward blocks")
        first = shapes[Slot(Role.UP, *self.blocks[0])][0] if self.blocks else 0
        self.shape = Shape(
            layers=len(self.layers),
            width=width,
            neurons=first,
            vocabulary=shapes.get(Slot(Role.EMBEDDING), (0, 0))[0],
            parameters=parameters,
        )

    @property
    def deep(self) -> bool:
        """Whether all bytes are read."""
        return self.profile is Profile.DEEP

    def axis(self, axis: Axis, size: int, count: int) -> Index:
        """The first sampled indices of an axis."""
        return order(self.spec.seed, axis, size, count)

    def channels(self, count: int) -> Index:
        """The first sampled residual channels."""
        return self.axis(Axis.CHANNEL, self.shape.width, count)

    def rows(self, slot: Slot, height: int, count: int) -> Index:
        """The first sampled rows of a matrix."""
        return self.axis(_ROW_AXES.get(slot.role, Axis.HEAD), height, count)

    def columns(self, slot: Slot, width: int, count: int) -> Index:
        """The first sampled columns of a matrix."""
        return self.axis(_COLUMN_AXES.get(slot.role, Axis.CHANNEL), width, count)

    def row_count(self, slot: Slot) -> int:
        """How many sampled rows of a matrix are read."""
        spec = self.spec
        least = spec.raw_deep if self.deep else spec.digest_rows
        role = slot.role
        if self.deep and slot.expert < 0 and slot.layer >= 0:
            least = spec.gram_channels
        if slot.part is Part.BIAS or role is Role.OTHER:
            return spec.digest_rows
        if role in _TOKEN_ROLES:
            fast = max(spec.index_tokens, spec.fossils)
            deep = max(spec.index_tokens_deep, spec.fossils_deep)
            return deep if self.deep else fast
        if role in (Role.GATE, Role.UP):
            sampled = (slot.layer, slot.expert) in self.blocks
            return max(least, spec.neurons) if sampled else least
        if role in (Role.O, Role.DOWN) and slot.expert < 0:
            return max(least, spec.channels)
        return least

    def is_recorded(self, piece: Piece) -> bool:
        """Whether a tensor has a record; fast leaves out most of many experts."""
        return self.deep or piece.slot.expert < self.spec.experts


def _check_count(got: int, most: int, what: str) -> None:
    if got > most:
        raise ArtifactError(
            f"model has {got} {what}, allowed are {most}; its tensor names may have "
            "been made to exhaust memory",
            reason="LimitExceeded",
        )


def _check_axes(shapes: Iterable[tuple[Slot, tuple[int, ...]]]) -> None:
    for slot, shape in shapes:
        bounds = (VOCABULARY_MAX if slot.role in _TOKEN_ROLES else AXIS_MAX, AXIS_MAX)
        if any(size > bound for size, bound in zip(shape, bounds, strict=False)):
            raise ArtifactError(
                f"a tensor of role {slot.role.name} has shape {shape}, allowed are "
                f"{bounds[0]} rows and {bounds[1]} columns",
                reason="LimitExceeded",
            )
