# SPDX-License-Identifier: Apache-2.0
"""The fingerprint of a model, as a value.

Everything a test of dependence may look at is in here.  How it is made is in
``build``, how it is stored in ``codec``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from pedigree.digests import Digest, sha256
from pedigree.fingerprint.roles import Part, Role, Slot
from pedigree.fingerprint.spec import FingerprintSpec, Profile

INFORMATIVE_VALUES = 64
"""Distinct values below which an equal tensor proves nothing (arbitrary): a vector of
ones, a mask or a zero bias is equal in models that never met."""
NO_DIGEST = bytes(16)
_MATRICES = frozenset(
    {
        Role.EMBEDDING,
        Role.HEAD,
        Role.Q,
        Role.K,
        Role.V,
        Role.O,
        Role.QKV,
        Role.GATE,
        Role.UP,
        Role.DOWN,
    }
)
"""Roles whose equality is evidence.  Position tables may be a formula, routers and
norms may be almost untrained, and unknown tensors may be anything."""


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """What is kept of one canonical tensor.

    Attributes:
        slot: Its place.
        shape: Canonical (rows, columns), or (values,).
        sample_digest: Of shape and sampled canonical values, 16 bytes.
        full_digest: Of all its values, 16 bytes; :data:`NO_DIGEST` if not all were
            read.
        seen: Values that the counts below are of.
        zeros: How many of them are zero.
        distinct: Distinct ones among them, at most 65535.
        grid: Bits of the coarsest lattice that the sampled values lie on, 0 if none.
    """

    slot: Slot
    shape: tuple[int, ...]
    sample_digest: bytes
    full_digest: bytes
    seen: int
    zeros: int
    distinct: int
    grid: int = 0

    @property
    def size(self) -> int:
        """Number of values."""
        result = 1
        for extent in self.shape:
            result *= extent
        return result

    @property
    def informative(self) -> bool:
        """Whether an equal tensor elsewhere is evidence of dependence."""
        return (
            self.slot.role in _MATRICES
            and self.slot.part is Part.WEIGHT
            and self.distinct >= INFORMATIVE_VALUES
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model; 0 where unknown.

    Attributes:
        layers: Blocks.
        width: Residual channels.
        neurons: Feed-forward neurons of a block (of one expert).
        vocabulary: Rows of the embedding.
        parameters: Weights; a tied head counts once.
    """

    layers: int = 0
    width: int = 0
    neurons: int = 0
    vocabulary: int = 0
    parameters: int = 0


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of a model's weights.

    Attributes:
        settings: The spec that fixed its bits.
        profile: How much is kept.
        architecture: Family of the role map, or empty.
        reason: Why the family is unknown, or empty.
        shape: Sizes.
        tensors: One record per canonical tensor, sorted.
        layers: Layer index of each row of the parts by layer, ascending.
        blocks: (layer, expert) of each sampled feed-forward block, in order.
        parts: Arrays by name, see ``docs/format.md``; absent if not kept.
        notes: How the tensors were understood, where that is not the usual way.
    """

    settings: FingerprintSpec
    profile: Profile
    architecture: str
    reason: str
    shape: Shape
    tensors: tuple[TensorRecord, ...]
    layers: tuple[int, ...]
    blocks: tuple[tuple[int, int], ...]
    parts: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def part(self, name: str) -> NDArray[Any] | None:
        """One array, or None if it was not kept or holds nothing."""
        found = self.parts.get(name)
        return None if found is None or found.size == 0 else found

    @property
    def spec(self) -> str:
        """Name of the fingerprint format."""
        return self.settings.name

    @cached_property
    def parameters(self) -> int:
        """Number of weights; a tied head counts once."""
        if self.shape.parameters:
            return self.shape.parameters
        return sum(record.size for record in self.tensors)

    @property
    def unmapped(self) -> int:
        """Number of tensors no rule of the family knows."""
        return sum(record.slot.role is Role.OTHER for record in self.tensors)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fingerprint):
            return NotImplemented
        return self.encoded == other.encoded

    def __hash__(self) -> int:
        return hash(self.encoded)

    @cached_property
    def encoded(self) -> bytes:
        """The one stored form; equal fingerprints have equal bytes."""
        # The codec knows this module, so it can only be asked for when it is needed.
        from pedigree.fingerprint.codec import encode

        return encode(self)

    @cached_property
    def digest(self) -> Digest:
        """Identity of the fingerprint: the digest of its stored form."""
        return sha256(self.encoded)
