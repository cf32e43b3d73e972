# SPDX-License-Identifier: Apache-2.0
"""What each tensor of a model is for, told from its name and shape.

A family is data: patterns of names, each with roles and a layout.  Layouts
(:mod:`pedigree.fingerprint.layouts`) bring a stored tensor to the canonical form, one
weight of shape (out, in) per role.  Where no family fits, shapes and words decide
(:mod:`pedigree.fingerprint.structural`), and the map says so.  The configuration is
asked only how fused tensors are laid out.  This module reads no weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from pedigree.fingerprint.adapter_gguf import is_factor, turned_names
from pedigree.fingerprint.hints import NO_HINTS, Hints
from pedigree.fingerprint.layouts import Shape, Stored, Surroundings, place
from pedigree.fingerprint.slots import (
    DECODER,
    NOTES,
    UNKNOWN_REASONS,
    Layout,
    Part,
    Piece,
    Role,
    RoleMap,
    Rows,
    Slot,
)
from pedigree.fingerprint.structural import structural_map

__all__ = [
    "DECODER",
    "NOTES",
    "UNKNOWN_REASONS",
    "Family",
    "Layout",
    "Part",
    "Piece",
    "Role",
    "RoleMap",
    "Rows",
    "Rule",
    "Slot",
    "map_roles",
]

_DIGITS_MAX = 5
"""Of a layer or expert number."""
_HOLE = "{}"
_ENDINGS = {
    "weight": Part.WEIGHT,
    "bias": Part.BIAS,
    "gamma": Part.WEIGHT,
    "beta": Part.BIAS,
}
"""Old files of BERT have ``gamma`` and ``beta``."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What the tensors of one name pattern are.

    Attributes:
        roles: In the order in which the layout holds them; three for fused q, k, v.
        layout: How the tensor holds them.
        part: For names without the ending ``.weight`` or ``.bias``; None for names
            with it.
        base: Added to the layer number.
    """

    roles: tuple[Role, ...]
    layout: Layout = Layout.PLAIN
    part: Part | None = None
    base: int = 0


@dataclass(frozen=True, slots=True)
class _Name:
    """A tensor name cut into what is fixed and its numbers."""

    template: str
    numbers: tuple[str, ...]
    part: Part | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A rule, and what the numbers of a name must be or mean."""

    order: int
    rule: Rule
    holes: tuple[str, ...]

    def numbers(self, name: _Name) -> tuple[int, int] | None:
        """Layer and expert; None when a fixed number differs."""
        layer = expert = -1
        for hole, number in zip(self.holes, name.numbers, strict=True):
            if hole == "{l}":
                layer = int(number) + self.rule.base
            elif hole == "{e}":
                expert = int(number)
            elif hole != number:
                return None
        return layer, expert


@dataclass(frozen=True, eq=False)
class Family:
    """One way of naming tensors.

    Attributes:
        name: As shown to people and stored.
        prefixes: What may stand before every pattern.
        rules: Pattern to rule.  ``{l}`` and ``{e}`` are layer and expert; the ending
            ``.weight`` or ``.bias`` is left out.  Where two names claim one place, the
            earlier rule has it.
        buffers: Patterns, whole names, of tensors that are computed and not trained.
        required: Roles without which this is not the family.
    """

    name: str
    prefixes: tuple[str, ...]
    rules: Mapping[str, Rule]
    buffers: tuple[str, ...] = ()
    required: tuple[Role, ...] = (Role.EMBEDDING, Role.UP, Role.DOWN)

    @cached_property
    def _entries(self) -> dict[str, list[_Entry]]:
        entries: dict[str, list[_Entry]] = {}
        for order, (text, rule) in enumerate(self.rules.items()):
            template, holes = _template(text.split("."))
            entries.setdefault(template, []).append(_Entry(order, rule, holes))
        return entries

    @cached_property
    def _buffers(self) -> frozenset[str]:
        return frozenset(
            prefix + _template(text.split("."))[0]
            for prefix in self.prefixes
            for text in self.buffers
        )

    def is_buffer(self, name: _Name, whole: str) -> bool:
        """Whether a name is that of a tensor that is computed, not trained."""
        ending = "" if name.part is None else "." + whole.rpartition(".")[2]
        return name.template + ending in self._buffers

    def find(self, name: str) -> Stored | None:
        """What the tensor of one name is for, its shape left open; None if unknown."""
        parsed = _parse(name)
        entries = self.known([parsed.template])
        found = list(_stored(entries, {name: parsed}, {name: ()}))
        return found[0][1] if found else None

    def known(self, templates: Iterable[str]) -> dict[str, list[_Entry]]:
        """Entries of every template that this family knows."""
        found = {}
        for template in templates:
            for prefix in self.prefixes:
                if template.startswith(prefix):
                    entries = self._entries.get(template[len(prefix) :])
                    if entries:
                        found[template] = entries
                        break
        return found


def map_roles(
    shapes: Mapping[str, Shape],
    families: Iterable[Family],
    hints: Hints | None = None,
) -> RoleMap:
    """Bring names and shapes to roles.

    Args:
        shapes: Shape of every stored tensor by name.
        families: Tried in order; the one that knows most tensors is taken.
        hints: How fused tensors are laid out; without them, those that need a number
            of heads stay whole.
    """
    hints = hints or NO_HINTS
    names = {name: _parse(name) for name in sorted(shapes)}
    templates = dict.fromkeys(name.template for name in names.values())
    best: RoleMap | None = None
    known_most = 0
    settled: set[str] = set()  # of these, no other family could know more
    for family in families:
        entries = family.known(templates)
        if entries.keys() <= settled:
            continue
        roles = {r for found in entries.values() for e in found for r in e.rule.roles}
        if not set(family.required) <= roles:
            continue
        candidate, known = _apply(family, entries, names, shapes, hints)
        if candidate is not None and known > known_most:
            best, known_most = candidate, known
            others = {p.name for p in best.pieces if p.slot.role is Role.OTHER}
            settled = set(entries) - {names[name].template for name in others}
    if best is not None:
        return best
    return _unknown(shapes)


def _unknown(shapes: Mapping[str, Shape]) -> RoleMap:
    adapter = any(
        ".lora_A" in name or ".lora_B" in name or is_factor(name) for name in shapes
    )
    if not adapter:
        found = structural_map(shapes)
        if found is not None:
            return found
    dora = any(".lora_magnitude_vector" in name for name in shapes)
    turned = turned_names(shapes) if adapter else frozenset()
    return RoleMap(
        family="",
        pieces=tuple(
            Piece(
                Slot(Role.OTHER),
                name,
                Layout.TRANSPOSED if name in turned else Layout.PLAIN,
            )
            for name in sorted(shapes)
        ),
        buffers=(),
        reason="AdapterWeights" if adapter else "UnknownArchitecture",
        notes=("DoraMagnitude",) if adapter and dora else (),
    )


def _apply(
    family: Family,
    entries: Mapping[str, list[_Entry]],
    names: Mapping[str, _Name],
    shapes: Mapping[str, Shape],
    hints: Hints,
) -> tuple[RoleMap | None, int]:
    buffers = [name for name, parsed in names.items() if family.is_buffer(parsed, name)]
    left = set(shapes).difference(buffers)
    stored = sorted(
        _stored(entries, {name: names[name] for name in left}, shapes),
        key=lambda pair: (pair[0], pair[1].name),
    )
    around = _surroundings([tensor for _, tensor in stored], hints)
    pieces: list[Piece] = []
    taken: set[Slot] = set()
    for _, tensor in stored:
        found = place(tensor, around)
        slots = {piece.slot for piece in found}
        if found and not slots & taken:
            taken |= slots
            left.discard(tensor.name)
            pieces.extend(found)
    if not set(family.required) <= {slot.role for slot in taken}:
        return None, 0
    if hints.norm_offset:
        pieces = [_with_offset(piece, hints.norm_offset) for piece in pieces]
        around.notes.add("NormOffset")
    pieces.extend(Piece(Slot(Role.OTHER), name) for name in left)
    pieces.sort(key=_order)
    notes = tuple(sorted({*around.notes, *hints.notes}))
    return RoleMap(family.name, tuple(pieces), tuple(buffers), "", notes), len(taken)


def _stored(
    entries: Mapping[str, list[_Entry]],
    names: Mapping[str, _Name],
    shapes: Mapping[str, Shape],
) -> Iterator[tuple[int, Stored]]:
    """Every tensor whose name has a rule, with the rule's place in the family."""
    for name, parsed in names.items():
        for entry in entries.get(parsed.template, ()):
            rule = entry.rule
            if (rule.part is None) == (parsed.part is None):
                continue
            numbers = entry.numbers(parsed)
            part = parsed.part if rule.part is None else rule.part
            if numbers is None or part is None:
                continue
            layer, expert = numbers
            yield (
                entry.order,
                Stored(
                    name, shapes[name], rule.roles, rule.layout, layer, expert, part
                ),
            )
            break


def _surroundings(tensors: Iterable[Stored], hints: Hints) -> Surroundings:
    width = 0
    queries: dict[int, int] = {}
    stacks: dict[tuple[int, Role], Shape] = {}
    for tensor in tensors:
        if tensor.part is Part.BIAS:
            continue
        role = tensor.roles[0]
        if len(tensor.shape) == 2 and role is Role.EMBEDDING:
            width = width or tensor.shape[1]
        elif len(tensor.shape) == 2 and role is Role.O:
            inner = tensor.shape[tensor.layout is not Layout.TRANSPOSED]
            queries[tensor.layer] = inner
        elif tensor.layout in (
            Layout.STACKED,
            Layout.STACKED_HALVES,
            Layout.STACKED_PAIRS,
        ):
            stacks[tensor.layer, role] = tensor.shape
    return Surroundings(width, queries, stacks, hints)


def _order(piece: Piece) -> tuple[int, int, int, int, str]:
    """As by slot and name, but faster."""
    slot = piece.slot
    return slot.role, slot.layer, slot.expert, slot.part, piece.name


def _with_offset(piece: Piece, offset: float) -> Piece:
    slot = piece.slot
    if slot.role.is_norm and slot.part is Part.WEIGHT:
        return replace(piece, offset=offset)
    return piece


def _parse(name: str) -> _Name:
    words = name.split(".")
    part = _ENDINGS.get(words[-1])
    if part is not None:
        words.pop()
    template, numbers = _template(words)
    return _Name(template, numbers, part)


def _template(words: list[str]) -> tuple[str, tuple[str, ...]]:
    """Words with a hole for each number, and the numbers (or the rule's holes)."""
    numbers = []
    fixed = []
    for word in words:
        if word in ("{l}", "{e}") or _is_number(word):
            numbers.append(word)
            fixed.append(_HOLE)
        else:
            fixed.append(word)
    return ".".join(fixed), tuple(numbers)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= _DIGITS_MAX
