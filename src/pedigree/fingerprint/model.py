# SPDX-License-Identifier: Apache-2.0
"""The fingerprint of a model, as a value.

Everything a test of dependence may look at is in here.  How it is made is in
``build``, how it is stored in ``codec``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pedigree.digests import Digest, sha256
from pedigree.fingerprint.roles import Part, Role, Slot
from pedigree.fingerprint.spec import FingerprintSpec

INFORMATIVE_VALUES = 64
"""Distinct values below which an equal tensor proves nothing (arbitrary): a vector of
ones, a mask or a zero bias is equal in models that never met."""
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
        digest: Of shape and canonical values, 16 bytes.
        size: Number of values.
        zeros: How many of them are zero.
        distinct: Distinct values among the first block, at most 65535.
    """

    slot: Slot
    digest: bytes
    size: int
    zeros: int
    distinct: int

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
    """

    layers: int = 0
    width: int = 0
    neurons: int = 0
    vocabulary: int = 0


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of a model's weights.

    All sketches are int8; a row of zeros means that there was nothing to keep.

    Attributes:
        settings: The spec that fixed its bits.
        architecture: Family of the role map, or empty.
        reason: Why the family is unknown, or empty.
        shape: Sizes.
        tensors: One record per canonical tensor, sorted.
        layers: Layer index of each row of ``channels`` and ``norms``, ascending.
        blocks: (layer, expert) of each sketched feed-forward block, in order.
        neurons: Shape (blocks, rows, 3, sketch): gate, up, down of sampled neurons.
        channels: Shape (layers, rows, 3, sketch): o, up, down of sampled channels.
        embedding: Shape (rows, tokens): sampled channels of sampled embedding rows.
        head: The same of the head; no rows when there is none or it is tied.
        norms: Shape (layers, 2, norm_channels): centred ranks of the two norm vectors.
        norm_final: Shape (norm_channels,).
    """

    settings: FingerprintSpec
    architecture: str
    reason: str
    shape: Shape
    tensors: tuple[TensorRecord, ...]
    layers: tuple[int, ...]
    blocks: tuple[tuple[int, int], ...]
    neurons: NDArray[np.int8]
    channels: NDArray[np.int8]
    embedding: NDArray[np.int8]
    head: NDArray[np.int8]
    norms: NDArray[np.int8]
    norm_final: NDArray[np.int8]

    @property
    def spec(self) -> str:
        """Name of the fingerprint format."""
        return self.settings.name

    @cached_property
    def parameters(self) -> int:
        """Number of weights; a tied head counts once."""
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
