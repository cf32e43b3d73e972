# SPDX-License-Identifier: Apache-2.0
"""Places of the canonical model, and how a stored tensor fills one.

Values only: what knows names and shapes is in :mod:`pedigree.fingerprint.roles`,
:mod:`pedigree.fingerprint.layouts` and :mod:`pedigree.fingerprint.structural`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Role(IntEnum):
    """What a tensor is for.  The numbers are stored: never reuse one."""

    OTHER = 0
    EMBEDDING = 1
    POSITION = 2
    HEAD = 3
    Q = 4
    K = 5
    V = 6
    O = 7  # noqa: E741 - the field's own name
    GATE = 8
    UP = 9
    DOWN = 10
    ROUTER = 11
    QKV = 12
    """Fused and interleaved by head; splitting it needs the number of heads."""
    TOKEN_TYPE = 13
    POOLER = 14
    TRANSFORM = 15
    """The matrix between the last block and the head of a masked language model."""
    NORM_ATTENTION = 16
    NORM_MLP = 17
    NORM_FINAL = 18
    NORM_EMBEDDING = 19
    NORM_Q = 20
    NORM_K = 21
    NORM_POST_ATTENTION = 22
    """Scales what attention adds to the residual stream, not what a matrix reads."""
    NORM_POST_MLP = 23
    NORM_CROSS = 24
    NORM_ENCODER = 25
    """After the last block of an encoder that a decoder follows."""
    NORM_TRANSFORM = 26
    CROSS_Q = 32
    CROSS_K = 33
    CROSS_V = 34
    CROSS_O = 35
    RELATIVE_BIAS = 36
    ROUTER_SHARED = 37
    """Weighs the expert that every token passes."""
    SINKS = 38

    @property
    def is_norm(self) -> bool:
        """Whether the tensor scales (or shifts) channels after normalising."""
        return Role.NORM_ATTENTION <= self <= Role.NORM_TRANSFORM


DECODER = 10_000
"""Added to the block index of a decoder that stands behind an encoder, so that both
count from their own first block whatever the length of the other."""

UNKNOWN_REASONS = ("UnknownArchitecture", "AdapterWeights")
"""Why no family fits.  Stored: never rename one."""

QUANTISED = "QuantisedStorage"
FEW_BITS = "FewBitStorage"

NOTES = {
    "StructuralMap": "no family of names fits; roles were told from shapes and words",
    "FusedHeads": "q, k and v are one tensor by head and the number of heads is not "
    "known, so they were left together",
    "HintIgnored": "the configuration contradicts the shapes of the weights, so its "
    "numbers were not used",
    "NormOffset": "norms are stored as their distance from one, as the model type says",
    QUANTISED: "most weights are stored with 8 bits or less and scales",
    FEW_BITS: "most weights are stored with less than 4 bits, scales included",
    "DoraMagnitude": "magnitudes of an adapter were left out; its factors were used",
}
"""What a map of roles may remark, by token.  Tokens are stored: never rename one."""


class Part(IntEnum):
    """Which of a module's two tensors.  The numbers are stored."""

    WEIGHT = 0
    BIAS = 1


class Layout(Enum):
    """How a stored tensor holds canonical ones, each of shape (out, in) or (out,)."""

    PLAIN = "plain"
    """Shape (out, in), or (out,); of several roles it fills each."""
    TRANSPOSED = "transposed"
    """Shape (in, out), as GPT-2's Conv1D stores it."""
    TRANSPOSED_THIRDS = "transposed-thirds"
    """Shape (in, 3 * out): q, k and v beside each other."""
    CONCATENATED_QKV = "concatenated-qkv"
    """Shape (q + 2 * kv, in): all of q, then all of k, then all of v."""
    GROUPED_QKV = "grouped-qkv"
    """For every key head: its query heads, itself, its value head.  One query head
    to a group is GPT-NeoX's and Bloom's order, one group is multi-query."""
    HALVES = "halves"
    """Shape (2 * out, in): gate, then up."""
    STACKED = "stacked"
    """Shape (experts, out, in) or (experts, in, out), whichever the width says."""
    STACKED_HALVES = "stacked-halves"
    """As stacked, with gate, then up, along the longer of the two."""
    STACKED_PAIRS = "stacked-pairs"
    """As stacked, with gate and up in turn, as GPT-OSS stores them."""
    STACKED_ROWS = "stacked-rows"
    """Shape (experts, out, in), as GGUF has it; of two roles one half of out each."""


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One place in the canonical model.

    Attributes:
        role: What for.
        layer: Block index, or -1 outside the blocks; see :data:`DECODER`.
        expert: Expert index, or -1; -1 too for an expert that every token passes.
        part: Weight or bias.
    """

    role: Role
    layer: int = -1
    expert: int = -1
    part: Part = Part.WEIGHT


@dataclass(frozen=True, slots=True)
class Rows:
    """Canonical row ``r`` is stored row ``begin + (r // run) * step + r % run``.

    Attributes:
        begin: First stored row.
        run: Consecutive rows.
        step: Stored rows from one run to the next.
        count: Runs.
    """

    begin: int
    run: int
    step: int
    count: int = 1

    @property
    def size(self) -> int:
        """Canonical rows."""
        return self.run * self.count


@dataclass(frozen=True, slots=True)
class Piece:
    """Where one canonical tensor is: a stored tensor and how to read it.

    Attributes:
        slot: The place it fills.
        name: Stored tensor.
        layout: ``PLAIN`` or ``TRANSPOSED``.
        index: Which entry of the leading axis of a stack, or -1.
        rows: Which rows (columns of a transposed one) are the piece's, or None for
            all.
        offset: Added to every value: 1 for norms stored as their distance from one.
    """

    slot: Slot
    name: str
    layout: Layout = Layout.PLAIN
    index: int = -1
    rows: Rows | None = None
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class RoleMap:
    """The canonical view of one model's tensor names.

    Attributes:
        family: Name of the family, ``structural``, or empty when none fits.
        pieces: Canonical tensors, sorted by slot; names no rule knows, and shapes
            that do not fit their role, have :attr:`Role.OTHER` and layer -1.
        buffers: Names left out because they are computed, not trained.
        reason: Empty, or why no family fits: ``UnknownArchitecture`` or
            ``AdapterWeights``.
        notes: Keys of :data:`NOTES`, sorted.
    """

    family: str
    pieces: tuple[Piece, ...]
    buffers: tuple[str, ...]
    reason: str = ""
    notes: tuple[str, ...] = ()
