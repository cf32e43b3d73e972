# SPDX-License-Identifier: Apache-2.0
"""One decision from all tests: a class, a relation, and a family-wise p-value.

The family of tests is fixed before any weight is seen.  The smallest p-value decides,
multiplied by the number of tests and of references; nothing is averaged, and a test
that could not run still counts in the multiplier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage import hash_test, match, qf
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.lineage.findings import (
    LayerMap,
    Relation,
    RelationFinding,
)
from pedigree.lineage.results import TESTS, Comparison, NotRun, TestResult

if TYPE_CHECKING:
    from pedigree.lineage.direction import Orientation
    from pedigree.lineage.seed import Seed

ALPHA_LOG10 = -6.0
"""Family-wise false-positive rate of one comparison or scan, as log10."""


_SEE_THROUGH = (match.NAME, qf.NAME)
"""Tests that find neurons in any order and basis."""


def threshold_log10(family_size: int) -> float:
    """log10 of the p-value one test must reach in a family of references."""
    return ALPHA_LOG10 - math.log10(len(TESTS) * max(1, family_size))


def decide(
    a: Fingerprint,
    b: Fingerprint,
    tests: Sequence[TestResult],
    *,
    family_size: int = 1,
) -> Comparison:
    """Bring the results of all tests to one statement.

    Args:
        a: First model, by convention the reference.
        b: Second model, by convention the one asked about.
        tests: One result per name in :data:`TESTS`, run or not.
        family_size: Number of references compared in the same scan.
    """
    ran = [test for test in tests if test.ran]
    deciding = min(ran, key=lambda test: test.log10_p, default=None)
    correction = math.log10(len(TESTS) * max(1, family_size))
    log10_p = min(0.0, deciding.log10_p + correction) if deciding else 0.0
    if hash_test.same_content(a, b):
        log10_p = min(log10_p, hash_test.COLLISION_LOG10 + correction)
        verdict = _identical(a, b)
    elif log10_p <= ALPHA_LOG10 or hash_test.same_tensors(a, b):
        verdict = _related(a, b, tests, deciding, log10_p)
    elif _could_see(tests):
        verdict = _Verdict(LineageClass.NO_EVIDENCE, _no_evidence(tests))
    else:
        blocked = _first_reason(tests)
        verdict = _Verdict(
            LineageClass.INCONCLUSIVE,
            f"whether A and B are related cannot be told: {blocked.detail}",
            reason=str(blocked.reason),
        )
    way = verdict.orientation
    return Comparison(
        lineage=verdict.lineage,
        relation=str(verdict.relations[0].kind) if verdict.relations else "",
        direction=way.direction if way else Direction.UNDIRECTED,
        direction_evidence=way.evidence if way else "",
        reason=verdict.reason,
        statement=verdict.statement,
        log10_p=log10_p,
        deciding=deciding,
        tests=tuple(tests),
        family_size=family_size,
        relations=verdict.relations,
        directions=way.findings if way else (),
        layer_map=verdict.layers,
        change=verdict.change,
    )


@dataclass(frozen=True, slots=True)
class _Verdict:
    lineage: LineageClass
    statement: str
    reason: str = ""
    relations: tuple[RelationFinding, ...] = ()
    orientation: Orientation | None = None
    layers: LayerMap | None = None
    change: float | None = None


def _identical(a: Fingerprint, b: Fingerprint) -> _Verdict:
    basis = hash_test.basis(a, b)
    return _Verdict(
        LineageClass.IDENTICAL,
        f"A and B hold the same weights ({basis})",
        relations=(RelationFinding(Relation.COPY, f"every tensor is equal: {basis}"),),
    )


def _related(
    a: Fingerprint,
    b: Fingerprint,
    tests: Sequence[TestResult],
    deciding: TestResult | None,
    log10_p: float,
) -> _Verdict:
    """Related for certain: how, and which way."""
    # Most pairs are not related, and these take time to load.
    from pedigree.lineage.direction import orient
    from pedigree.lineage.forensics import gather
    from pedigree.lineage.relation import relations
    from pedigree.lineage.seed import read_seed

    chance = _chance(deciding, log10_p)
    forensics = gather(a, b, tests)
    seed = read_seed(forensics.tests, forensics.spectrum, a, b)
    if seed is not None:
        return _Verdict(
            LineageClass.SHARED_INIT,
            _shared_init(seed, chance),
            layers=forensics.layers,
        )
    kinds = relations(forensics)
    way = orient(forensics)
    return _Verdict(
        LineageClass.DERIVED,
        f"{_descent(way, kinds[0])}; {chance}",
        relations=kinds,
        orientation=way,
        layers=forensics.layers,
        change=None if forensics.delta is None else forensics.delta.relative,
    )


def _descent(way: Orientation, kind: RelationFinding) -> str:
    if way.direction is Direction.UNDIRECTED:
        return (
            "A and B are related by descent: one descends from the other or both from "
            f"a common ancestor ({kind.kind}: {kind.evidence})"
        )
    child, parent = ("B", "A") if way.direction is Direction.A_TO_B else ("A", "B")
    return f"{child} descends from {parent} ({kind.kind}: {kind.evidence})"


def _shared_init(seed: Seed, chance: str) -> str:
    return (
        "A and B were trained apart from one random initialisation: weights of the "
        f"same index are alike (cosine {seed.cosine:.2f}), neither holds the other "
        f"whole, and {seed.evidence}; {chance}"
    )


def _chance(deciding: TestResult | None, log10_p: float) -> str:
    if deciding is None:
        return "they hold the same tensors"
    return (
        "weights this alike arise between independent models with probability below "
        f"1e{math.ceil(log10_p)} ({deciding.name}, effect {deciding.effect:.2f})"
    )


def _could_see(tests: Sequence[TestResult]) -> bool:
    """Whether finding nothing says anything.

    It does if a test of similarity ran; and if none could because the widths differ,
    for then B is no derivative of A that keeps the width, and the statement says that
    no more would have been seen.  It says nothing about weights whose roles are
    unknown, or that are constant.
    """
    if any(test.ran and test.name != hash_test.NAME for test in tests):
        return True
    reasons = {test.reason for test in tests if not test.ran}
    return NotRun.WIDTH_DIFFERS in reasons and NotRun.NOTHING_INFORMATIVE not in reasons


def _no_evidence(tests: Sequence[TestResult]) -> str:
    seen = [
        (test.smallest_effect, test.name)
        for test in tests
        if test.ran and test.smallest_effect is not None and test.name != hash_test.NAME
    ]
    if seen:
        effect, name = min(seen)
        return (
            "no test found that A and B are related; "
            f"an effect of {effect:.2f} would have been seen ({name})"
            f"{_laundered_unseen(tests)}"
        )
    widths = [test.detail for test in tests if test.reason is NotRun.WIDTH_DIFFERS]
    if widths:
        return (
            f"no test found that A and B are related; {widths[0]}, so only unchanged "
            "tensors would have been seen"
        )
    return "no test found that A and B are related"


def _laundered_unseen(tests: Sequence[TestResult]) -> str:
    """What a negative leaves open if no test ran that sees through laundering."""
    blind = [test for test in tests if test.name in _SEE_THROUGH and not test.ran]
    if len(blind) < len(_SEE_THROUGH):
        return ""
    return (
        ", but not a copy whose neurons were permuted and channels rotated: "
        f"{' and '.join(test.name for test in blind)} did not run ({blind[0].reason})"
    )


def _first_reason(tests: Sequence[TestResult]) -> TestResult:
    """The reason of the test that would have told most."""
    blocked = [test for test in tests if not test.ran]
    similarity = [test for test in blocked if test.name != hash_test.NAME]
    return (similarity or blocked)[0]
