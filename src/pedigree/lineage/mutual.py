# SPDX-License-Identifier: Apache-2.0
"""Neurons of two models matched twice, by two views that share no weights.

A *view* describes each neuron of a block by a row of features (what its gate reads,
what its up projection reads).  Neuron j of B is matched to neuron i of A by one view if
each is the other's nearest.  If B descends from A, both views find the same partner,
whatever the order of the neurons.  If not, the two matches agree by accident.

Accidents are few only if the views say nothing about each other.  In models that never
met they do: neurons that detect one token look alike in both views and in both models.
So the features are whitened by the covariance of both models' neurons, which takes out
the directions that all models care for, and what the second view of a neuron has in
common with its first is projected out.  Measured on independent pairs, this brings the
agreements from 20 times what unrelated matches would give to about that number.

Rows that are equal, or were before they were rounded, leave open which of them is the
nearest.  Who wants to hide a model adds neurons that cancel each other, with the gate
row of one neuron and the up row of another, and each view alone finds a wrong one.  So
a partner is a set: the nearest and those nearly as near, where that is much nearer than
independent models come.  The matches agree if the sets meet.  Sets are kept so small
that sets drawn at random would meet once in :data:`CHANCE` times at most, which is what
the law of the null bank gives on average.

This module does not know what the features are, nor how likely an agreement is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]

RIDGE = 0.03
"""Of the mean eigenvalue, added to the covariance before it is inverted.  Measured:
0.1 leaves 1.6 times the agreements between independent models, 0.01 loses matches of
models that were trained for long."""
QUERIES = 512
"""Neurons of a block that are matched; evidence is plenty, and cost their number."""
SCREEN_QUERIES = 32
SCREEN_CELLS = 16
"""Pairs of blocks beyond which only the most promising are matched in full."""
ROWS_MIN = 16
"""Different neurons of a block that are needed; with fewer a match says little."""
NEAR_MIN = 0.5
NEAR_SHARE = 0.85
"""Rows of at least this likeness, and this share of the nearest one's, are as good as
the nearest.  Measured: the nearest of an independent model's whole block is this near
for one neuron in 400,000 (of samples, which have fewer features, for one in 70)."""
CHANCE = 32
NEAR_MOST = 16
"""Rows that are taken for the nearest; of few neurons, ``sqrt(neurons / CHANCE)``."""
COSINE_MAX = 0.7
"""Between two views of one neuron: beyond it they are one view, and it is left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Neurons of one feed-forward block, seen in two ways.

    Attributes:
        label: ``layer`` or ``layer/expert``.
        whole: Whether all neurons of the block are there.
        first: Shape (n, f).
        second: Shape (n, f).
    """

    label: str
    whole: bool
    first: Rows
    second: Rows

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True, slots=True)
class Cell:
    """How two blocks match.

    Attributes:
        a: Index of the block of A.
        b: Index of the block of B.
        agreed: Neurons whose partner is the same by both views.
        matched: Neurons that have a partner by both views.
    """

    a: int
    b: int
    agreed: int
    matched: int


def prepare(a: Sequence[Block], b: Sequence[Block]) -> tuple[list[Block], list[Block]]:
    """Whiten both views by both models, and make the second say nothing of the first.

    Neurons that are zero in a view, equal to another one of the block, or nearly equal
    in both views are left out.

    Args:
        a: Blocks of A: rows of whole numbers, in any scale.
        b: Blocks of B, with the same features.

    Returns:
        The same blocks with rows of length 1; blocks may be shorter, or empty.
    """
    sides = [_Side(list(blocks)) for blocks in (a, b)]
    for name in ("first", "second"):
        _whiten([side.views[name] for side in sides])
    first, second = (side.blocks() for side in sides)
    return first, second


class _Side:
    """All neurons of one model in one array for each view."""

    def __init__(self, blocks: list[Block]) -> None:
        self._blocks = blocks
        sizes = [len(block) for block in blocks]
        place = np.repeat(np.arange(len(blocks)), sizes)  # (neurons,)
        every = {
            "first": np.concatenate([block.first for block in blocks]),
            "second": np.concatenate([block.second for block in blocks]),
        }
        kept = _distinct(every["first"], every["second"], place)
        self._place = place[kept]
        self.views = {name: rows[kept] for name, rows in every.items()}

    def blocks(self) -> list[Block]:
        """The prepared blocks."""
        first, second = self.views["first"], self.views["second"]
        cosine = np.einsum("ij,ij->i", first, second)
        second -= cosine[:, None] * first
        _to_unit(second)
        apart = np.abs(cosine) <= COSINE_MAX
        found = []
        for number, block in enumerate(self._blocks):
            at = np.flatnonzero(apart & (self._place == number))
            found.append(Block(block.label, block.whole, first[at], second[at]))
        return found


def _distinct(first: Rows, second: Rows, place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Neurons that are not zero in a view, one of those that are equal in a block."""
    sums = np.zeros(len(first))
    for rows, salt in ((first, 1), (second, 2)):
        # Exact for whole numbers, so equal rows have equal sums.
        # Not from numpy.random, which takes as long to load as all else here.
        random = hashlib.shake_128(bytes([salt])).digest(4 * rows.shape[1])
        weights = np.frombuffer(random, "<i4") >> 2  # below 2**29
        sums += rows.astype(np.float64) @ weights.astype(np.float64)
    keys = np.stack([place.astype(np.float64), sums], axis=1)
    _, at = np.unique(keys, axis=0, return_index=True)
    at.sort()
    live = first[at].any(axis=1) & second[at].any(axis=1)
    chosen: NDArray[np.int64] = at[live]
    return chosen


def _whiten(sides: list[Rows]) -> None:
    """Centre and whiten one view of both models, in place."""
    spread = []
    for rows in sides:
        _to_unit(rows)
        if not len(rows):
            continue
        rows -= rows.mean(axis=0)
        _to_unit(rows)
        # Few rows would be whitened by themselves to anything.
        if len(rows) > 2 * rows.shape[1]:
            spread.append((rows.T @ rows).astype(np.float64) / len(rows))
    if not spread:
        return
    values, vectors = np.linalg.eigh(np.mean(spread, axis=0))
    floor = RIDGE * max(float(values.mean()), 1e-12)
    scale = 1 / np.sqrt(np.maximum(values, 0.0) + floor)
    turn = ((vectors * scale) @ vectors.T).astype(np.float32)
    for rows in sides:
        rows[...] = rows @ turn
        _to_unit(rows)


def _to_unit(rows: Rows) -> None:
    """Scale rows to length 1, in place; zeros stay."""
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    length[length == 0] = 1
    rows /= length


def cells(
    a: Sequence[Block], b: Sequence[Block], *, signed: bool, screen: bool = True
) -> tuple[list[Cell], int]:
    """Match every pair of blocks of which at least one is whole.

    Args:
        a: Prepared blocks of A.
        b: Prepared blocks of B.
        signed: Whether the sign of the second view means anything.
        screen: Whether to match the most promising pairs only, if there are many.

    Returns:
        Matched pairs of blocks; if screened, at most :data:`SCREEN_CELLS` or as many as
        the larger model has blocks; and how many pairs there were to choose from.
    """
    pairs = [
        (i, j)
        for i, x in enumerate(a)
        for j, y in enumerate(b)
        if (x.whole or y.whole) and min(len(x), len(y)) >= ROWS_MIN
    ]
    most = max(SCREEN_CELLS, len(a), len(b))
    chosen = pairs
    if screen and len(pairs) > most:
        score = [-_screened(a[i], b[j], signed) for i, j in pairs]
        chosen = [pairs[k] for k in np.argsort(score, kind="stable")[:most]]
    done = [Cell(i, j, *_match(a[i], b[j], signed)) for i, j in sorted(chosen)]
    return done, len(pairs)


def _screened(a: Block, b: Block, signed: bool) -> int:
    """Agreements of a few neurons, without asking back."""
    queries, table = _roles(a, b)
    at = _spread(len(queries), SCREEN_QUERIES)
    first = _nearest(queries.first[at] @ table.first.T)
    second = _nearest(_likeness(queries.second[at], table.second, signed))
    return int(_meet(first, second).sum())


def _match(a: Block, b: Block, signed: bool) -> tuple[int, int]:
    queries, table = _roles(a, b)
    at = _spread(len(queries), QUERIES)
    first, second = (
        _partners(queries.first, table.first, at, queries.whole, signed=True),
        _partners(queries.second, table.second, at, queries.whole, signed=signed),
    )
    both = (first[:, 0] >= 0) & (second[:, 0] >= 0)
    return int((both & _meet(first, second)).sum()), int(both.sum())


def _roles(a: Block, b: Block) -> tuple[Block, Block]:
    """Whose neurons are looked up, and in which whole block; symmetric in A and B."""
    if a.whole != b.whole:
        return (b, a) if a.whole else (a, b)
    if len(a) != len(b):
        return (a, b) if len(a) < len(b) else (b, a)
    return (a, b) if a.first[0].tobytes() <= b.first[0].tobytes() else (b, a)


def _spread(size: int, count: int) -> NDArray[np.int64]:
    """At most ``count`` indices, evenly spaced."""
    return np.arange(min(size, count)) * size // max(min(size, count), 1)


def _likeness(x: Rows, y: Rows, signed: bool) -> Rows:
    product: Rows = x @ y.T
    return product if signed else np.abs(product, out=product)


def _partners(
    x: Rows, y: Rows, at: NDArray[np.int64], ask_back: bool, *, signed: bool
) -> NDArray[np.int64]:
    """The rows of ``y`` nearest to each ``x[at]``; -1 if they are nearer to another."""
    likeness = _likeness(x[at], y, signed)
    partners = _nearest(likeness)
    if not ask_back:
        return partners
    nearest = partners[:, 0]
    if len(at) == len(x):
        most = likeness.max(axis=0)[nearest]
    else:
        most = _likeness(y[nearest], x, signed).max(axis=1)
    back = likeness[np.arange(len(at)), nearest] >= _close(most)
    return np.where(back[:, None], partners, -1)


def _nearest(likeness: Rows) -> NDArray[np.int64]:
    """Columns with the largest value of each row, the nearest first, then -1."""
    nearest: NDArray[np.int64] = np.argmax(likeness, axis=1)[:, None]
    room = min(NEAR_MOST, math.isqrt(likeness.shape[1] // CHANCE))
    most = np.take_along_axis(likeness, nearest, axis=1)
    sure = np.flatnonzero(most >= NEAR_MIN)
    if room < 2 or not len(sure):
        return nearest
    found = np.full((len(nearest), room), -1)
    found[:, :1] = nearest
    row, column = np.nonzero(likeness[sure] >= _close(most[sure]))
    order = np.lexsort((column, -likeness[sure[row], column], row))
    row, column = row[order], column[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept = rank < room
    found[sure[row[kept]], rank[kept]] = column[kept]
    return found


def _close(most: Rows) -> Rows:
    """What is as good as the largest value."""
    limit: Rows = np.minimum(most, np.maximum(NEAR_MIN, NEAR_SHARE * most))
    return limit


def _meet(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether sets have a member in common; -1 is none."""
    same = (first[:, :, None] == second[:, None, :]) & (first >= 0)[:, :, None]
    met: NDArray[np.bool_] = same.any(axis=(1, 2))
    return met
