# SPDX-License-Identifier: Apache-2.0
"""What each tensor of a model is for, told from its name and shape.

A family is data: patterns of names, each with a role and a layout.  Layouts bring a
stored tensor to the canonical form, one weight of shape (out, in) per role.  The
config of the model is not asked: it can say anything.  This module reads no weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import cached_property


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
    NORM_ATTENTION = 16
    NORM_MLP = 17
    NORM_FINAL = 18
    NORM_EMBEDDING = 19
    NORM_Q = 20
    NORM_K = 21

    @property
    def is_norm(self) -> bool:
        """Whether the tensor scales (or shifts) channels after normalising."""
        return self >= Role.NORM_ATTENTION


UNKNOWN_REASONS = ("UnknownArchitecture", "AdapterWeights")
"""Why no family fits.  Stored: never rename one."""


class Part(IntEnum):
    """Which of a module's two tensors.  The numbers are stored."""

    WEIGHT = 0
    BIAS = 1


class Layout(Enum):
    """How a stored tensor holds the canonical one."""

    PLAIN = "plain"
    """Shape (out, in), or (out,)."""
    TRANSPOSED = "transposed"
    """Shape (in, out), as GPT-2's Conv1D stores it."""
    TRANSPOSED_THIRDS = "transposed-thirds"
    """Shape (in, 3 * out): q, k and v beside each other."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What the tensors of one name pattern are.

    ``roles`` has three entries for :attr:`Layout.TRANSPOSED_THIRDS`, else one.
    """

    roles: tuple[Role, ...]
    layout: Layout = Layout.PLAIN


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One place in the canonical model.

    Attributes:
        role: What for.
        layer: Block index, or -1 outside the blocks.
        expert: Expert index, or -1.
        part: Weight or bias.
    """

    role: Role
    layer: int = -1
    expert: int = -1
    part: Part = Part.WEIGHT


@dataclass(frozen=True, slots=True)
class Piece:
    """Where one canonical tensor is: a stored tensor and how to read it.

    Attributes:
        slot: The place it fills.
        name: Stored tensor.
        layout: How it is held.
        third: 0, 1 or 2 for q, k, v of a fused tensor.
    """

    slot: Slot
    name: str
    layout: Layout = Layout.PLAIN
    third: int = 0


@dataclass(frozen=True, eq=False)
class Family:
    """One way of naming tensors.

    Attributes:
        name: As shown to people and stored.
        prefixes: What may stand before every pattern.
        rules: Pattern to rule.  ``{l}`` and ``{e}`` are layer and expert; the ending
            ``.weight`` or ``.bias`` is left out.
        buffers: Patterns, whole names, of tensors that are computed and not trained.
        required: Roles without which this is not the family.
    """

    name: str
    prefixes: tuple[str, ...]
    rules: Mapping[str, Rule]
    buffers: tuple[str, ...] = ()
    required: tuple[Role, ...] = (Role.EMBEDDING, Role.UP, Role.DOWN)

    @cached_property
    def _patterns(self) -> tuple[tuple[re.Pattern[str], Rule], ...]:
        prefix = "(?:" + "|".join(re.escape(p) for p in self.prefixes) + ")"
        return tuple(
            (
                re.compile(prefix + _pattern(text) + r"\.(?P<part>weight|bias)"),
                rule,
            )
            for text, rule in self.rules.items()
        )

    @cached_property
    def _buffers(self) -> tuple[re.Pattern[str], ...]:
        prefix = "(?:" + "|".join(re.escape(p) for p in self.prefixes) + ")"
        return tuple(re.compile(prefix + _pattern(text)) for text in self.buffers)

    def is_buffer(self, name: str) -> bool:
        """Whether a name is that of a tensor that is computed, not trained."""
        return any(pattern.fullmatch(name) for pattern in self._buffers)

    def pieces(self, name: str) -> tuple[Piece, ...]:
        """Canonical tensors held by the stored tensor ``name``; none if unknown."""
        for pattern, rule in self._patterns:
            match = pattern.fullmatch(name)
            if match:
                return _pieces(name, rule, match.groupdict())
        return ()


@dataclass(frozen=True, slots=True)
class RoleMap:
    """The canonical view of one model's tensor names.

    Attributes:
        family: Name of the family, or empty when none fits.
        pieces: Canonical tensors, sorted by slot; names no rule knows, and shapes
            that do not fit their role, have :attr:`Role.OTHER` and layer -1.
        buffers: Names left out because they are computed, not trained.
        reason: Empty, or why no family fits: ``UnknownArchitecture`` or
            ``AdapterWeights``.
    """

    family: str
    pieces: tuple[Piece, ...]
    buffers: tuple[str, ...]
    reason: str = ""


def map_roles(
    shapes: Mapping[str, tuple[int, ...]], families: Iterable[Family]
) -> RoleMap:
    """Bring names and shapes to roles.

    Args:
        shapes: Shape of every stored tensor by name.
        families: Tried in order; the one that knows most tensors is taken.
    """
    best: RoleMap | None = None
    known_most = 0
    for family in families:
        candidate, known = _apply(family, shapes)
        if candidate is not None and known > known_most:
            best, known_most = candidate, known
    if best is not None:
        return best
    adapter = any(".lora_A" in name or ".lora_B" in name for name in shapes)
    return RoleMap(
        family="",
        pieces=tuple(Piece(Slot(Role.OTHER), name) for name in sorted(shapes)),
        buffers=(),
        reason="AdapterWeights" if adapter else "UnknownArchitecture",
    )


def _apply(
    family: Family, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[RoleMap | None, int]:
    pieces: list[Piece] = []
    buffers: list[str] = []
    taken: set[Slot] = set()
    for name in sorted(shapes):
        if family.is_buffer(name):
            buffers.append(name)
            continue
        found = family.pieces(name)
        slots = {piece.slot for piece in found}
        if found and _fits(found, shapes[name]) and not slots & taken:
            taken |= slots
            pieces.extend(found)
        else:
            pieces.append(Piece(Slot(Role.OTHER), name))
    roles = {slot.role for slot in taken}
    if not set(family.required) <= roles:
        return None, 0
    pieces.sort(key=lambda piece: (piece.slot, piece.name))
    return RoleMap(family.name, tuple(pieces), tuple(buffers)), len(taken)


def _fits(pieces: tuple[Piece, ...], shape: tuple[int, ...]) -> bool:
    """Whether a shape can be what the roles say."""
    first = pieces[0]
    if 0 in shape:
        return False
    is_vector = first.slot.role.is_norm or first.slot.part is Part.BIAS
    if len(shape) != (1 if is_vector else 2):
        return False
    return first.layout is not Layout.TRANSPOSED_THIRDS or shape[-1] % 3 == 0


def _pieces(
    name: str, rule: Rule, groups: Mapping[str, str | None]
) -> tuple[Piece, ...]:
    part = Part.BIAS if groups["part"] == "bias" else Part.WEIGHT
    layer, expert = int(groups.get("l") or -1), int(groups.get("e") or -1)
    return tuple(
        Piece(Slot(role, layer, expert, part), name, rule.layout, third)
        for third, role in enumerate(rule.roles)
    )


def _pattern(text: str) -> str:
    """A name pattern as a regular expression; numbers have at most 5 digits."""
    escaped = re.escape(text)
    for hole in ("l", "e"):
        escaped = escaped.replace(rf"\{{{hole}\}}", rf"(?P<{hole}>\d{{1,5}})")
    return escaped
