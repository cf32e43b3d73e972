# SPDX-License-Identifier: Apache-2.0
"""One decision from all tests: a class, a relation, and a family-wise p-value.

The family of tests is fixed before any weight is seen.  The smallest p-value decides,
multiplied by the number of tests and of references; nothing is averaged, and a test
that could not run still counts in the multiplier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage import hash_test
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.lineage.relation import relation_of
from pedigree.lineage.results import TESTS, Comparison, NotRun, TestResult

ALPHA_LOG10 = -6.0
"""Family-wise false-positive rate of one comparison or scan, as log10."""


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
    relation, direction, evidence, reason = "", Direction.UNDIRECTED, "", ""
    if hash_test.same_content(a, b):
        lineage, relation = LineageClass.IDENTICAL, "Copy"
        log10_p = min(log10_p, hash_test.COLLISION_LOG10 + correction)
        statement = "A and B hold the same weights"
    elif log10_p <= ALPHA_LOG10 or hash_test.same_tensors(a, b):
        lineage = LineageClass.DERIVED
        relation, direction, evidence = relation_of(a, b, tests)
        statement = _derived(deciding, log10_p)
    elif _could_see(tests):
        lineage = LineageClass.NO_EVIDENCE
        statement = _no_evidence(tests)
    else:
        lineage = LineageClass.INCONCLUSIVE
        blocked = _first_reason(tests)
        reason = str(blocked.reason)
        statement = f"whether A and B are related cannot be told: {blocked.detail}"
    return Comparison(
        lineage=lineage,
        relation=relation,
        direction=direction,
        direction_evidence=evidence,
        reason=reason,
        statement=statement,
        log10_p=log10_p,
        deciding=deciding,
        tests=tuple(tests),
        family_size=family_size,
    )


def _derived(deciding: TestResult | None, log10_p: float) -> str:
    if deciding is None:
        return "A and B hold the same tensors in other places"
    return (
        f"A and B are related by descent: weights this alike arise between "
        f"independent models with probability below 1e{math.ceil(log10_p)} "
        f"({deciding.name}, effect {deciding.effect:.2f})"
    )


def _could_see(tests: Sequence[TestResult]) -> bool:
    """Whether finding nothing says anything.

    It does if a test of similarity ran; and if none could because the widths differ,
    for then B is no derivative of A that keeps the width, which is all that this
    version would see.  It says nothing about weights whose roles are unknown.
    """
    if any(test.ran and test.name != hash_test.NAME for test in tests):
        return True
    reasons = {test.reason for test in tests if not test.ran}
    return reasons == {NotRun.WIDTH_DIFFERS}


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
        )
    widths = [test.detail for test in tests if test.reason is NotRun.WIDTH_DIFFERS]
    if widths:
        return (
            f"no test found that A and B are related; {widths[0]}, so only unchanged "
            "tensors would have been seen"
        )
    return "no test found that A and B are related"


def _first_reason(tests: Sequence[TestResult]) -> TestResult:
    """The reason of the test that would have told most."""
    blocked = [test for test in tests if not test.ran]
    similarity = [test for test in blocked if test.name != hash_test.NAME]
    return (similarity or blocked)[0]
