# SPDX-License-Identifier: Apache-2.0
"""One test over one exchangeable axis: every pair of blocks, and all of them pooled.

A *block* is a layer (or an expert) described by n rows over the axis.  Every pair of
blocks is a cell; the pool of the blocks at the same place is one more.  The p-value of
the test is the number of cells times that of its best cell.  How blocks are described
is up to the caller.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.spec import RUN
from pedigree.lineage.permutation import Matrix, Tail, centre, tail
from pedigree.lineage.power import smallest_effect
from pedigree.lineage.results import ROWS_MIN, LayerPair, NotRun, TestResult

Rows = NDArray[np.float32]

MATCH_Z = 8.0
"""From here up a pair of blocks is shown in the layer map (a display choice)."""
PAIRS_MAX = 256
EQUAL_MAX = 3
"""Other rows that a row may be equal to before it counts as padding (arbitrary: equal
rows of trained weights do not occur, ties of a few rounded numbers do)."""
SHIFTS = 8
"""Other pairings tried, of row i with row i + k, k from 1 to this and from -1 down."""
SHIFTED_MAX = 0.6
"""Share of the likeness of equal rows that a shifted pairing may have.  Between
relatives it is noise, with a deviation of 1 / Z; a half where neurons were doubled."""
_SHIFTED_ROWS_MIN = 8
_CELLS_TRIED = 8
_CHECKED_FROM_LOG10 = -3.0
_SEED = 0x6C696E65


@dataclass(frozen=True, slots=True)
class Blocks:
    """One model over one axis.

    Attributes:
        labels: Of each block, ``layer`` or ``layer/expert``.
        rows: Shape (blocks, n, f); rows of length 1, or 0 where nothing was kept.
        common: Shape (n, g): features that belong to no block; g may be 0.
    """

    labels: tuple[str, ...]
    rows: Rows
    common: Rows


@dataclass(frozen=True, slots=True)
class Axis:
    """How the blocks of one axis go together.

    Attributes:
        name: Of the test.
        shared: Whether all layers share one permutation (residual channels), or each
            has its own (neurons).
    """

    name: str
    shared: bool


def run(axis: Axis, a: Blocks, b: Blocks, *, alpha_log10: float | None) -> TestResult:
    """Test whether rows of A and B with the same index belong together.

    Args:
        axis: Which.
        a: First model; blocks may differ in number from B's, rows and features not.
        b: Second model.
        alpha_log10: log10 of the threshold of the whole test, to compute the smallest
            effect that would have been seen; None skips that.
    """
    n = a.rows.shape[1]
    differ = [_all_differ(x) for x in (a, b)]  # as nearly always
    kept = np.ones(n, np.bool_)
    for x in (x for x, told in zip((a, b), differ, strict=True) if not told):
        kept &= _telling(x)
    if not kept.all():
        a, b = _only(a, kept), _only(b, kept)
    informative = min(
        int(kept.sum()) if told else _distinct(_descriptions(x))
        for x, told in zip((a, b), differ, strict=True)
    )
    if informative < ROWS_MIN:
        return TestResult(
            name=axis.name,
            reason=NotRun.TOO_FEW_ROWS if n < ROWS_MIN else NotRun.NOTHING_INFORMATIVE,
            detail=f"{informative} of {n} common rows say anything, "
            f"wanted at least {ROWS_MIN}",
            n=informative,
        )
    scores = pair_scores(a.rows, b.rows)  # (blocks a, blocks b)
    pool = _pool(axis, a, b)
    cells = scores.size + bool(pool)
    best, ordered = _best(scores, pool, a, b, np.flatnonzero(kept))
    if best is None:
        return _none(axis.name, ordered)
    found, deciding, similarity = best
    smallest = None
    if alpha_log10 is not None:
        smallest = smallest_effect(similarity, alpha_log10 - math.log10(cells))
    return TestResult(
        name=axis.name,
        effect=_effect(similarity),
        z=found.z,
        log10_p=min(0.0, found.log10_p + math.log10(cells)),
        method=str(found.method),
        n=informative * (1 if axis.shared else len(similarity)),
        cells=cells,
        samples=_samples(deciding, a),
        deciding=deciding,
        smallest_effect=smallest,
        pairs=_pairs(scores, a, b),
    )


def unit_rows(rows: NDArray[np.int8]) -> Rows:
    """Scale vectors along the last axis to length 1; zeros stay zeros."""
    values = rows.astype(np.float32)
    length = np.sqrt(np.einsum("...i,...i->...", values, values))[..., None]
    length[length == 0] = 1
    values /= length
    return values


def _telling(blocks: Blocks) -> NDArray[np.bool_]:
    """Rows that are not padding: not zero, nor equal to :data:`EQUAL_MAX` others.

    Two unrelated models of one framework are padded at the same places, where their
    axis is not exchangeable; the rest is, since what is left out of a model does not
    depend on the order of its rows.
    """
    rows = _descriptions(blocks)
    live = np.asarray(rows.any(axis=1), np.bool_)
    counts = Counter(row.tobytes() for row in rows)
    if len(counts) > len(rows) - EQUAL_MAX - 1:
        return live  # too few repeats for any row to have that many
    repeats = np.array([counts[row.tobytes()] for row in rows])
    result: NDArray[np.bool_] = live & (repeats <= EQUAL_MAX + 1)
    return result


def _all_differ(blocks: Blocks) -> bool:
    """Whether the rows of the first block do: more blocks cannot make them equal."""
    return bool(len(blocks.rows) and _distinct(blocks.rows[0]) == blocks.rows.shape[1])


def _descriptions(blocks: Blocks) -> Rows:
    """All that is known of each row, shape (n, values)."""
    count, n, values = blocks.rows.shape
    views = blocks.rows.transpose(1, 0, 2).reshape(n, count * values)
    return np.concatenate([views, blocks.common], axis=1)


def _distinct(rows: Rows) -> int:
    """Different, non-zero rows: equal rows are one as far as permutations go."""
    live = np.ascontiguousarray(rows[rows.any(axis=1)])
    different: set[bytes] = {row.tobytes() for row in live}
    return len(different)


def _only(blocks: Blocks, kept: NDArray[np.bool_]) -> Blocks:
    return Blocks(blocks.labels, blocks.rows[:, kept], blocks.common[kept])


def pair_scores(a: Rows, b: Rows) -> NDArray[np.float64]:
    """Z of every pair of blocks, without forming one similarity matrix.

    With rows centred over the axis, tr(D) = <A, B> and sum D^2 = <A'A, B'B>.

    Returns:
        Shape (blocks a, blocks b); 0 where nothing varies.
    """
    if a.size == 0 or b.size == 0:
        return np.zeros((len(a), len(b)))
    n = a.shape[1]
    first = a - a.mean(axis=1, keepdims=True)  # (A, n, f)
    second = b - b.mean(axis=1, keepdims=True)
    traces = first.reshape(len(a), -1) @ second.reshape(len(b), -1).T  # (A, B)
    gram_a = np.matmul(first.transpose(0, 2, 1), first).reshape(len(a), -1)
    gram_b = np.matmul(second.transpose(0, 2, 1), second).reshape(len(b), -1)
    squares = (gram_a @ gram_b.T).astype(np.float64)  # (A, B): sum of D^2
    deviation = np.sqrt(np.maximum(squares, 0.0) / (n - 1))
    live = deviation > 1e-12
    return np.where(live, traces / np.where(live, deviation, 1.0), 0.0)


def _pool(axis: Axis, a: Blocks, b: Blocks) -> list[Matrix]:
    """Similarity of everything at the same place; none if nothing is.

    One matrix for a shared axis, else one for each block.
    """
    same = a.labels == b.labels
    if not axis.shared:
        if not same or len(a.labels) < 2:
            return []
        return [_similarity(x, y) for x, y in zip(a.rows, b.rows, strict=True)]
    parts = []
    if a.common.shape[1]:
        parts.append(_similarity(a.common, b.common))
    if same:
        parts.extend(_similarity(x, y) for x, y in zip(a.rows, b.rows, strict=True))
    parts = [part for part in parts if part.any()]
    if not parts:
        return []
    total: Matrix = np.sum(parts, axis=0) / len(parts)
    return [total]


_Found = tuple[Tail, str, list[Matrix]]


def _best(
    scores: NDArray[np.float64],
    pool: list[Matrix],
    a: Blocks,
    b: Blocks,
    places: NDArray[np.int64],
) -> tuple[_Found | None, int]:
    """The surest of the pool and the best pair of blocks, and what was left out.

    Args:
        scores: Of pairs of blocks.
        pool: Similarities that are tested together; may be none.
        a: First model.
        b: Second model.
        places: Of the rows in the sample.

    Returns:
        None if there is nothing to test; and how many pairings would have decided, but
        by the order of the rows.
    """
    tried = [("pooled", pool)] if pool else []
    cells = scores.size + len(tried)
    best: _Found | None = None
    ordered = 0
    for deciding, similarity in (*tried, *_cells(scores, a, b)):
        centred = [centre(c) for c in similarity]
        found = tail(centred, seed=_SEED, cells=cells)
        telling = found.log10_p + math.log10(cells) <= _CHECKED_FROM_LOG10
        if telling and _is_ordered(centred, places):
            ordered += 1
            continue
        if best is None or found.log10_p < best[0].log10_p:
            best = (found, deciding, similarity)
        if deciding != "pooled":
            break
    return best, ordered


def _none(name: str, ordered: int) -> TestResult:
    if ordered:
        return TestResult(
            name=name,
            reason=NotRun.ORDERED_ROWS,
            detail="rows of both models follow their order: they are as like their "
            f"neighbours' partners as their own, in {ordered} pairings",
        )
    return TestResult(
        name=name,
        reason=NotRun.NOTHING_SHARED,
        detail="no block of one model shares a role with the other",
    )


def _is_ordered(centred: Sequence[Matrix], places: NDArray[np.int64]) -> bool:
    """Whether pairing every row with a neighbour of its partner does nearly as well.

    Rows in some order (sorted neurons, channels that carry fixed positions, halves of
    two kinds) are alike between models that never met, and so are their neighbours.
    Of a relative's rows only the own partner is.

    Args:
        centred: Shape (n, n) each.
        places: Of the rows in the sample, which has runs of neighbours, ascending.
    """
    wanted = SHIFTED_MAX * sum(float(np.trace(d)) / len(d) for d in centred)
    apart = places[None, :] - places[:, None]
    apart[(places // RUN)[None, :] != (places // RUN)[:, None]] = 0
    for shift in range(1, SHIFTS + 1):
        i, j = np.nonzero(apart == shift)
        if len(i) < _SHIFTED_ROWS_MIN:
            continue
        if any(
            sum(float(d[x, y].mean()) for d in centred) >= wanted
            for x, y in ((i, j), (j, i))
        ):
            return True
    return False


def _cells(
    scores: NDArray[np.float64], a: Blocks, b: Blocks
) -> Iterator[tuple[str, list[Matrix]]]:
    """Pairs of blocks, those with the largest scores first."""
    if not scores.any():
        return
    for at in np.argsort(-scores, axis=None, kind="stable")[:_CELLS_TRIED]:
        i, j = np.unravel_index(int(at), scores.shape)
        yield f"{a.labels[i]}:{b.labels[j]}", [_similarity(a.rows[i], b.rows[j])]


def _similarity(a: Rows, b: Rows) -> Matrix:
    """Shape (n, n): cosine of every row of A with every row of B."""
    product: Matrix = a.astype(np.float64) @ b.astype(np.float64).T
    return product


def _effect(similarity: Sequence[Matrix]) -> float:
    """Mean cosine of rows with the same index, less that of other rows."""
    values = []
    for c in similarity:
        n = len(c)
        own = float(np.trace(c)) / n
        others = (float(c.sum()) - float(np.trace(c))) / (n * (n - 1))
        values.append(own - others)
    return float(np.mean(values))


def _samples(deciding: str, a: Blocks) -> int:
    if deciding == "pooled":
        return int(a.rows.size + a.common.size)
    return int(a.rows[0].size)


def _pairs(scores: NDArray[np.float64], a: Blocks, b: Blocks) -> tuple[LayerPair, ...]:
    """For each block of B the block of A it matches best, if it matches."""
    if not scores.size:
        return ()
    best = np.argmax(scores, axis=0)  # (blocks b,)
    pairs = [
        LayerPair(a.labels[i], b.labels[j], round(float(scores[i, j]), 2))
        for j, i in enumerate(best)
        if scores[i, j] >= MATCH_Z
    ]
    return tuple(pairs[:PAIRS_MAX])
