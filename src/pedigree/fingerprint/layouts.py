# SPDX-License-Identifier: Apache-2.0
"""How each layout comes to canonical pieces: one small function for each.

An adapter sees shapes and hints, never values.  It gives no piece when a shape cannot
be what the layout says; the tensor then has no role.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pedigree.fingerprint.hints import NO_HINTS, Hints
from pedigree.fingerprint.slots import Layout, Part, Piece, Role, Rows, Slot

Shape = tuple[int, ...]

EXPERTS_MAX = 4_096
"""Of one stack; sixteen times what the largest published models have."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored tensor whose name is understood.

    Attributes:
        name: Of the tensor.
        shape: Of the tensor.
        roles: What it holds, in the order its layout says.
        layout: How.
        layer: Block index, or -1.
        expert: Expert index, or -1.
        part: Weight or bias.
    """

    name: str
    shape: Shape
    roles: tuple[Role, ...]
    layout: Layout
    layer: int
    expert: int
    part: Part

    def piece(
        self,
        role: Role,
        *,
        layout: Layout = Layout.PLAIN,
        rows: Rows | None = None,
        index: int = -1,
    ) -> Piece:
        """A piece of this tensor; ``index`` of a stack is the expert."""
        expert = index if index >= 0 else self.expert
        slot = Slot(role, self.layer, expert, self.part)
        return Piece(slot, self.name, layout, index, rows)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else of the model an adapter may look at.

    Attributes:
        width: Columns of the embedding, or 0.
        query_width: By layer: columns of the attention's output matrix, which are the
            rows of q.
        stacks: By layer and role of the first canonical tensor: shape of a stack.
        hints: From the configuration.
        notes: Filled by adapters.
    """

    width: int = 0
    query_width: Mapping[int, int] = field(default_factory=dict)
    stacks: Mapping[tuple[int, Role], Shape] = field(default_factory=dict)
    hints: Hints = NO_HINTS
    notes: set[str] = field(default_factory=set)


Adapter = Callable[[Stored, Surroundings], tuple[Piece, ...]]


def place(stored: Stored, around: Surroundings) -> tuple[Piece, ...]:
    """Canonical pieces of a stored tensor; none when its shape does not fit."""
    if 0 in stored.shape:
        return ()
    return _ADAPTERS[stored.layout](stored, around)


def _is_vector(stored: Stored) -> bool:
    norm = stored.roles[0].is_norm or stored.roles[0] is Role.SINKS
    return norm or stored.part is Part.BIAS


def _fits(stored: Stored, stacked: bool = False) -> bool:
    rank = (1 if _is_vector(stored) else 2) + stacked
    return len(stored.shape) == rank


def _plain(stored: Stored, around: Surroundings) -> tuple[Piece, ...]:
    if not _fits(stored):
        return ()
    return tuple(stored.piece(role) for role in stored.roles)


def _reads_width(stored: Stored, around: Surroundings) -> bool:
    """Whether a transposed matrix has the residual stream on the side it must."""
    if around.width == 0 or len(stored.shape) != 2:
        return True
    writes = stored.roles[0] in (Role.O, Role.DOWN)
    return stored.shape[1 if writes else 0] == around.width


def _transposed(stored: Stored, around: Surroundings) -> tuple[Piece, ...]:
    if not _fits(stored) or not _reads_width(stored, around):
        return ()
    return (stored.piece(stored.roles[0], layout=Layout.TRANSPOSED),)


def _split(
    stored: Stored, sizes: tuple[int, ...], layout: Layout = Layout.PLAIN
) -> tuple[Piece, ...]:
    """Pieces of the given sizes, one behind the other."""
    pieces, begin = [], 0
    for role, size in zip(stored.roles, sizes, strict=True):
        pieces.append(stored.piece(role, layout=layout, rows=Rows(begin, size, size)))
        begin += size
    return tuple(pieces)


def _thirds(stored: Stored, around: Surroundings) -> tuple[Piece, ...]:
    if not _fits(stored) or not _reads_width(stored, around) or stored.shape[-1] % 3:
        return ()
    return _split(stored, (stored.shape[-1] // 3,) * 3, Layout.TRANSPOSED)


def _halves(stored: Stored, around: Surroundings) -> tuple[Piece, ...]:
    if not _fits(stored) or stored.shape[0] % 2:
        return ()
    return _split(stored, (stored.shape[0] // 2,) * 2)


def _concatenated(stored: Stored, around: Surroundings) -> tuple[Piece, ...]:
    if not _fits(stored):
        return ()
    q = around.query_width.get(stored.layer, 0)
    rest = stored.shape[0] - q
    if q == 0 or rest <= 0 or rest % 2 or rest // 2 > q:
        return ()
    return _split(stored, (q, rest // 2, rest // 2))


def _grouped(stored: Stored, around: Surroundings) -> tuple[Piece, ...]:
    if not _fits(stored):
        return ()
    whole = (stored.piece(Role.QKV),)
    heads = around.hints.heads
    if heads == 0:
        around.notes.add("FusedHeads")
        return whole
    q = around.query_width.get(stored.layer, 0)
    size, odd = divmod(q, heads)  # rows of one head
    pairs, odd_pairs = divmod(stored.shape[0] - q, max(1, 2 * size))
    if odd or odd_pairs or size == 0 or pairs < 1 or heads % pairs:
        around.notes.update(("FusedHeads", "HintIgnored"))
        return whole
    queries = heads // pairs * size
    step = queries + 2 * size
    begins = (0, queries, queries + size)
    runs = (queries, size, size)
    return tuple(
        stored.piece(role, rows=Rows(begin, run, step, pairs))
        for role, begin, run in zip(stored.roles, begins, runs, strict=True)
    )


def _orientation(stored: Stored, around: Surroundings) -> Layout | None:
    """Which way round the matrices of a block's stacks are, if that is certain.

    ``(E, 2 * n, d)`` and ``(E, d, n)`` are plain, ``(E, d, 2 * n)`` and ``(E, n, d)``
    transposed; both stacks are asked, as one of them may be square.
    """
    up = around.stacks.get((stored.layer, Role.GATE))
    down = around.stacks.get((stored.layer, Role.DOWN))
    if up is None or down is None or len(up) != 3 or len(down) != 3 or up[0] != down[0]:
        return None
    width = around.width
    plain = up[2] == width == down[1] and up[1] == 2 * down[2]
    turned = up[1] == width == down[2] and up[2] == 2 * down[1]
    if plain == turned:
        return None
    return Layout.PLAIN if plain else Layout.TRANSPOSED


def _stacked(stored: Stored, around: Surroundings) -> tuple[Piece, ...]:
    layout = _orientation(stored, around)
    if layout is None or not _fits(stored, stacked=True):
        return ()
    if stored.shape[0] > EXPERTS_MAX:
        return ()
    paired = stored.layout is not Layout.STACKED
    if paired and len(stored.shape) == 2 and stored.shape[1] % 2:
        return ()
    experts, views = stored.shape[0], _views(stored, layout)
    return tuple(
        stored.piece(role, layout=layout, rows=rows, index=index)
        for index in range(experts)
        for role, rows in zip(stored.roles, views, strict=True)
    )


def _stacked_rows(stored: Stored, around: Surroundings) -> tuple[Piece, ...]:
    if not _fits(stored, stacked=True) or stored.shape[0] > EXPERTS_MAX:
        return ()
    if stored.part is Part.WEIGHT and around.width:
        side = 1 if stored.roles[0] is Role.DOWN else 2
        if stored.shape[side] != around.width:
            return ()
    half, odd = divmod(stored.shape[1], len(stored.roles))
    if odd:
        return ()
    whole = len(stored.roles) == 1
    return tuple(
        stored.piece(role, rows=None if whole else Rows(i * half, half, half), index=e)
        for e in range(stored.shape[0])
        for i, role in enumerate(stored.roles)
    )


def _views(stored: Stored, layout: Layout) -> tuple[Rows | None, ...]:
    """Which rows of an expert's matrix each role has."""
    if stored.layout is Layout.STACKED:
        return (None,)
    turned = layout is Layout.TRANSPOSED or stored.part is Part.BIAS
    half = stored.shape[2 if turned and len(stored.shape) == 3 else 1] // 2
    if stored.layout is Layout.STACKED_HALVES:
        return Rows(0, half, half), Rows(half, half, half)
    return Rows(0, 1, 2, half), Rows(1, 1, 2, half)


_ADAPTERS: dict[Layout, Adapter] = {
    Layout.PLAIN: _plain,
    Layout.TRANSPOSED: _transposed,
    Layout.TRANSPOSED_THIRDS: _thirds,
    Layout.CONCATENATED_QKV: _concatenated,
    Layout.GROUPED_QKV: _grouped,
    Layout.HALVES: _halves,
    Layout.STACKED: _stacked,
    Layout.STACKED_HALVES: _stacked,
    Layout.STACKED_PAIRS: _stacked,
    Layout.STACKED_ROWS: _stacked_rows,
}
