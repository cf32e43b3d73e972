# SPDX-License-Identifier: Apache-2.0
"""Roles from shapes and words, for names that no family knows.

A last resort, and the map says so.  Width, blocks and the embedding come from shapes;
what a matrix of a block is for comes from the words of its name and must agree with
its shape.  What could be read in two ways gets no role, and without an embedding and
feed-forward blocks there is no map.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pedigree.fingerprint.slots import Layout, Part, Piece, Role, RoleMap, Slot

FAMILY = "structural"
_DIGITS_MAX = 5
_WORD = re.compile(r"[^0-9a-z]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ATTENTION = frozenset({"attn", "attention", "self", "mha", "att"})
_NORM = frozenset({"norm", "ln", "layernorm", "rmsnorm", "norms"})
_WORDS: dict[Role, frozenset[str]] = {
    Role.Q: frozenset({"q", "wq", "query", "q_proj", "to_q", "q_lin"}),
    Role.K: frozenset({"k", "wk", "key", "k_proj", "to_k", "k_lin"}),
    Role.V: frozenset({"v", "wv", "value", "v_proj", "to_v", "v_lin"}),
    Role.O: frozenset({"o", "wo", "out", "output", "o_proj", "out_proj", "to_out"}),
    Role.GATE: frozenset({"gate", "w1", "wg", "gate_proj"}),
    Role.UP: frozenset(
        {"up", "w3", "fc1", "wi", "fc_in", "up_proj", "lin1", "linear1", "c_fc"}
    ),
    Role.DOWN: frozenset(
        {"down", "w2", "fc2", "fc_out", "down_proj", "lin2", "linear2", "c_proj"}
    ),
}
"""What the last words of a module's name say.  ``w1`` is UP where no ``w3`` is."""
_POSITION = ("pos", "wpe", "sinu", "timing", "rope", "rotary", "freq")
"""How words begin that name a table of positions, which may be equal by its formula."""
_FEED_FORWARD = (Role.GATE, Role.UP, Role.DOWN)
_PROJECTIONS = (Role.Q, Role.K, Role.V, Role.O)
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One tensor whose name was cut at its block number."""

    name: str
    shape: Shape
    stem: str
    layer: int
    rest: str
    part: Part

    @property
    def words(self) -> tuple[str, ...]:
        """Lower-case words of what identifies the module, the last one whole first."""
        module = _CAMEL.sub("_", self.rest if self.layer >= 0 else self.stem).lower()
        last = module.rpartition(".")[2]
        return (last, *(word for word in _WORD.split(module) if word))


def structural_map(shapes: Mapping[str, Shape]) -> RoleMap | None:
    """A map by shapes and words, or None when it would be a guess.

    Args:
        shapes: Shape of every stored tensor by name.

    Returns:
        A map of family ``structural`` with the note ``StructuralMap``; it has an
        embedding and at least one block with UP and DOWN.
    """
    tensors = [_cut(name, shapes[name]) for name in sorted(shapes)]
    blocks = _one_tower(tensors)
    width = _width(tensors)
    if not blocks or width == 0:
        return None
    taken: dict[Slot, Piece | None] = {}
    for piece in (*_outside(tensors, width), *_inside(blocks, width)):
        # Two claims on one place: neither is certain.
        taken[piece.slot] = None if piece.slot in taken else piece
    pieces = [piece for piece in taken.values() if piece is not None]
    roles = {piece.slot.role for piece in pieces}
    if not {Role.EMBEDDING, Role.UP, Role.DOWN} <= roles:
        return None
    known = {piece.name for piece in pieces}
    pieces += [Piece(Slot(Role.OTHER), name) for name in shapes if name not in known]
    pieces.sort(key=lambda piece: (piece.slot, piece.name))
    return RoleMap(FAMILY, tuple(pieces), (), "", ("StructuralMap",))


def _cut(name: str, shape: Shape) -> _Tensor:
    words = name.split(".")
    part = Part.WEIGHT
    if words[-1] in ("weight", "bias", "kernel", "scale"):
        part = Part.BIAS if words.pop() == "bias" else Part.WEIGHT
    for place, word in enumerate(words):
        if word.isascii() and word.isdigit() and len(word) <= _DIGITS_MAX:
            stem, rest = ".".join(words[:place]), ".".join(words[place + 1 :])
            return _Tensor(name, shape, stem, int(word), rest, part)
    return _Tensor(name, shape, ".".join(words), -1, "", part)


def _one_tower(tensors: Iterable[_Tensor]) -> list[_Tensor]:
    """Tensors of the only numbered group with matrices; none if there are several."""
    inside = [tensor for tensor in tensors if tensor.layer >= 0]
    stems = {tensor.stem for tensor in inside if len(tensor.shape) == 2}
    return inside if len(stems) == 1 else []


def _width(tensors: Iterable[_Tensor]) -> int:
    """The one dimension that more matrices have than any other, or 0."""
    seen: Counter[int] = Counter()
    for tensor in tensors:
        if len(tensor.shape) == 2:
            seen.update(set(tensor.shape))
    (first, second) = (*seen.most_common(2), (0, 0), (0, 0))[:2]
    return first[0] if first[1] > second[1] else 0


def _outside(tensors: Iterable[_Tensor], width: int) -> Iterator[Piece]:
    """Embedding, positions, head and the last norm."""
    tables = []
    for tensor in tensors:
        if tensor.layer >= 0 or tensor.part is Part.BIAS:
            continue
        if tensor.shape == (width,) and _NORM & set(tensor.words):
            yield Piece(Slot(Role.NORM_FINAL), tensor.name)
        elif len(tensor.shape) == 2 and tensor.shape[1] == width:
            if any(word.startswith(_POSITION) for word in tensor.words):
                yield Piece(Slot(Role.POSITION), tensor.name)
            else:
                tables.append(tensor)
    tallest = max((tensor.shape[0] for tensor in tables), default=0)
    tables = [tensor for tensor in tables if tensor.shape[0] == tallest > width]
    heads = [tensor for tensor in tables if _is_head(tensor)]
    others = [tensor for tensor in tables if tensor not in heads]
    if len(others) == 1:  # alone, or told from the head by a word
        yield Piece(Slot(Role.EMBEDDING), others[0].name)
        for head in heads:
            yield Piece(Slot(Role.HEAD), head.name)
    elif len(heads) == 1 and not others:
        yield Piece(Slot(Role.EMBEDDING), heads[0].name)


def _is_head(tensor: _Tensor) -> bool:
    return bool({"head", "output", "unembed", "out", "unembedding"} & set(tensor.words))


def _inside(blocks: list[_Tensor], width: int) -> Iterator[Piece]:
    """Matrices of the blocks, with their biases, and the norms before each half."""
    named = _named(blocks)
    layouts = {
        _layout(tensor, role, width)
        for tensor, role in named
        if role in _FEED_FORWARD and tensor.part is Part.WEIGHT
    }
    if len(layouts) != 1:
        return
    (layout,) = layouts
    if layout is None:
        return
    for tensor, role in named:
        if _agrees(tensor, role, layout, width):
            yield Piece(Slot(role, tensor.layer, -1, tensor.part), tensor.name, layout)
    for tensor in blocks:
        role_of_norm = _norm_role(tensor)
        if role_of_norm is not None and tensor.shape == (width,):
            yield Piece(Slot(role_of_norm, tensor.layer, -1, tensor.part), tensor.name)


def _named(blocks: list[_Tensor]) -> list[tuple[_Tensor, Role]]:
    """Tensors whose words name one role only."""
    words = {tensor: tensor.words for tensor in blocks}
    third = any("w3" in found or "up" in found for found in words.values())
    named = []
    for tensor, found in words.items():
        if _NORM & set(found) or len(tensor.shape) not in (1, 2):
            continue
        attention = bool(_ATTENTION & set(found))
        roles = _PROJECTIONS if attention else _FEED_FORWARD
        hits = {role for role in roles if _WORDS[role] & set(found)}
        if hits == {Role.GATE} and not third:
            hits = {Role.UP}
        if len(hits) == 1:
            named.append((tensor, hits.pop()))
    return named


def _layout(tensor: _Tensor, role: Role, width: int) -> Layout | None:
    """How a feed-forward matrix is stored, if its shape says so."""
    if len(tensor.shape) != 2 or tensor.shape.count(width) != 1:
        return None
    plain = tensor.shape[0 if role is Role.DOWN else 1] == width
    return Layout.PLAIN if plain else Layout.TRANSPOSED


def _agrees(tensor: _Tensor, role: Role, layout: Layout, width: int) -> bool:
    """Whether a tensor can be what its words say."""
    writes = role in (Role.O, Role.DOWN)
    if tensor.part is Part.BIAS:
        return len(tensor.shape) == 1 and (not writes or tensor.shape == (width,))
    if len(tensor.shape) != 2 or 0 in tensor.shape:
        return False
    out, inner = tensor.shape[:: 1 if layout is Layout.PLAIN else -1]
    return (out if writes else inner) == width


def _norm_role(tensor: _Tensor) -> Role | None:
    words = set(tensor.words)
    if not _NORM & words or _WORDS[Role.Q] & words or _WORDS[Role.K] & words:
        return None
    if {"post", "after"} & words:
        return None  # before the next half in one model, behind this one in another
    attention = bool({"attn", "attention", "input", "1"} & words)
    forward = bool({"ffn", "mlp", "feed", "2"} & words)
    if attention == forward:
        return None
    return Role.NORM_ATTENTION if attention else Role.NORM_MLP
