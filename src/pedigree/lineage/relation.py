# SPDX-License-Identifier: Apache-2.0
"""What kind of descent, and which way: only what the fingerprints show.

First content.  Without evidence the relation is ``Derived`` and undirected; geometry
alone never orients an edge.
"""

from __future__ import annotations

from collections.abc import Sequence

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage import hash_test
from pedigree.lineage.classes import Direction
from pedigree.lineage.results import TestResult

RELATIONS = {
    "Copy": "the same weights in the same places",
    "Rearranged": "the same tensors in other places",
    "PartialCopy": "some matrices are equal value by value, the others differ",
    "Pruned": "one model has many more zeros than the other",
    "ExpertsChanged": "the models have other numbers of experts",
    "LayersChanged": "the numbers of layers differ",
    "NeuronsChanged": "the feed-forward blocks have other sizes",
    "VocabularyChanged": "the vocabularies have other sizes",
    "Derived": "the same shapes, every matrix changed",
}
"""Every relation, in a sentence; the first that holds is taken."""
PRUNED_SHARE = 0.2
"""Additional share of zeros that counts as pruning (arbitrary: the usual are 0.3-0.6,
and trained weights that happen to be zero are below 0.01)."""


def relation_of(
    a: Fingerprint, b: Fingerprint, tests: Sequence[TestResult]
) -> tuple[str, Direction, str]:
    """Relation, direction, and what the direction rests on."""
    if hash_test.same_tensors(a, b):
        return "Rearranged", Direction.UNDIRECTED, ""
    zeros_a, zeros_b = zero_share(a), zero_share(b)
    if abs(zeros_a - zeros_b) >= PRUNED_SHARE:
        child = Direction.A_TO_B if zeros_b > zeros_a else Direction.B_TO_A
        evidence = (
            f"{zeros_a:.0%} of A's and {zeros_b:.0%} of B's weights are zero; "
            "pruning is not undone by training"
        )
        return "Pruned", child, evidence
    return _shape_relation(a, b, tests), Direction.UNDIRECTED, ""


def _shape_relation(a: Fingerprint, b: Fingerprint, tests: Sequence[TestResult]) -> str:
    per_layer = {len(x.blocks) / max(1, len(x.layers)) for x in (a, b)}
    if len(per_layer) > 1:
        return "ExpertsChanged"
    if a.shape.layers != b.shape.layers:
        return "LayersChanged"
    if a.shape.neurons != b.shape.neurons:
        return "NeuronsChanged"
    if a.shape.vocabulary != b.shape.vocabulary:
        return "VocabularyChanged"
    equal = next((t for t in tests if t.name == hash_test.NAME and t.n > 0), None)
    return "PartialCopy" if equal else "Derived"


def zero_share(fingerprint: Fingerprint) -> float:
    """Share of zeros among the trained matrices; 0 without any."""
    counted = [record for record in fingerprint.tensors if record.informative]
    size = sum(record.size for record in counted)
    return sum(record.zeros for record in counted) / size if size else 0.0
