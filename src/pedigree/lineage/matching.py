# SPDX-License-Identifier: Apache-2.0
"""From matched blocks to the result of a test; what MATCH and QF have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pedigree.lineage.axis import MATCH_Z, PAIRS_MAX
from pedigree.lineage.mutual import ROWS_MIN, Block, Cell, cells, prepare
from pedigree.lineage.nullbank import Law, NullBank, load
from pedigree.lineage.results import LayerPair, NotRun, TestResult

MATCHED_MIN = 12
"""Of a cell; with fewer matched neurons even full agreement is not looked at: rates of
so few were not measured."""


@dataclass(frozen=True, slots=True)
class _Scored:
    log10_p: float
    cell: Cell
    deciding: str
    law: Law


def match(
    name: str,
    a: Sequence[Block],
    b: Sequence[Block],
    *,
    signed: bool,
    alpha_log10: float | None,
) -> TestResult:
    """Match all pairs of blocks, and say how surprising the best pair is.

    Args:
        name: Of the test, as in the null bank.
        a: Blocks of A, as they were stored; at least one block of A or B is whole.
        b: Blocks of B, with the same features.
        signed: Whether the sign of the second view means anything.
        alpha_log10: log10 of the threshold of the whole test; None if the smallest
            effect is not wanted.
    """
    first, second = prepare(a, b)
    found, candidates = cells(first, second, signed=signed)
    if not candidates:
        live = (max(map(len, x), default=0) for x in (first, second))
        return TestResult(
            name=name,
            reason=NotRun.NOTHING_INFORMATIVE,
            detail=f"the largest blocks have {' and '.join(map(str, live))} different "
            f"neurons with two views, wanted at least {ROWS_MIN}",
        )
    bank = load()
    scored = [_score(name, cell, first, second, bank) for cell in found]
    pool = _pool(name, found, first, second, bank)
    scored += [pool] if pool else []
    best = min(scored, key=lambda s: (s.log10_p, -s.cell.matched))
    tried = candidates + (pool is not None)
    agreed, matched = best.cell.agreed, best.cell.matched
    smallest = None
    if alpha_log10 is not None:
        smallest = best.law.smallest_rate(matched, alpha_log10 - math.log10(tried))
    return TestResult(
        name=name,
        detail=f"{agreed} of {matched} neurons matched by two views agree",
        effect=agreed / matched if matched else 0.0,
        z=best.law.z(agreed, matched),
        log10_p=min(0.0, best.log10_p + math.log10(tried)),
        method=f"NullBank {bank.version}",
        n=matched,
        cells=tried,
        samples=_samples(best.cell, first, second),
        deciding=best.deciding,
        smallest_effect=smallest,
        pairs=_pairs(scored, first, second),
    )


def _score(
    name: str, cell: Cell, a: Sequence[Block], b: Sequence[Block], bank: NullBank
) -> _Scored:
    one, other = a[cell.a], b[cell.b]
    law = bank.law(name, whole=one.whole and other.whole)
    log10_p = 0.0
    if cell.matched >= MATCHED_MIN:
        log10_p = law.log10_p(cell.agreed, cell.matched)
    return _Scored(log10_p, cell, f"{one.label}:{other.label}", law)


def _pool(
    name: str,
    found: Sequence[Cell],
    a: Sequence[Block],
    b: Sequence[Block],
    bank: NullBank,
) -> _Scored | None:
    """Blocks at the same place together, if the models have the same places."""
    if len(a) < 2 or [x.label for x in a] != [x.label for x in b]:
        return None
    same = [cell for cell in found if cell.a == cell.b]
    if len(same) < 2:
        return None
    whole = all(a[cell.a].whole and b[cell.b].whole for cell in same)
    total = Cell(
        same[0].a,
        same[0].b,
        sum(cell.agreed for cell in same),
        sum(cell.matched for cell in same),
    )
    law = bank.law(name, whole=whole)
    return _Scored(law.log10_p(total.agreed, total.matched), total, "pooled", law)


def _samples(cell: Cell, a: Sequence[Block], b: Sequence[Block]) -> int:
    one, other = a[cell.a], b[cell.b]
    return min(one.first.size + one.second.size, other.first.size + other.second.size)


def _pairs(
    scored: Sequence[_Scored], a: Sequence[Block], b: Sequence[Block]
) -> tuple[LayerPair, ...]:
    """For each block of B the block of A it matches best, if it matches."""
    best: dict[int, tuple[float, Cell]] = {}
    for one in scored:
        z = one.law.z(one.cell.agreed, one.cell.matched)
        enough = one.deciding != "pooled" and one.cell.matched >= MATCHED_MIN
        if enough and z >= max(MATCH_Z, best.get(one.cell.b, (0.0, one.cell))[0]):
            best[one.cell.b] = (z, one.cell)
    return tuple(
        LayerPair(a[cell.a].label, b[cell.b].label, round(z, 2))
        for _, (z, cell) in sorted(best.items())
    )[:PAIRS_MAX]
