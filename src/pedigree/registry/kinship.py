# SPDX-License-Identifier: Apache-2.0
"""What references say of a model together: siblings, merges, and who is nearest.

Two models alone do not tell a parent from a sibling; a third one, their common root,
can.  Only such a root that is itself an ancestor of the model by the tests takes a
reference out of the line of descent, and only if ``siblings`` finds that nobody could
have prepared that cheaply.  Which of two references is older is taken from what the
registry records of them, else from marks on them: never from the model asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.adapt import is_adapter
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.lineage.compare import compare
from pedigree.lineage.direction import FOSSIL, combined
from pedigree.lineage.findings import Relation, RelationFinding
from pedigree.lineage.merges import MergeFinding, explain_merge
from pedigree.lineage.results import FAR, Comparison
from pedigree.lineage.siblings import Seen, Sibling, central, see, sibling_of

KIN_MAX = 16
"""Nearest references that are looked at together (arbitrary: bounds the time)."""
ORDERED_MAX = 4
"""Nearest references that are put in order by marks; others by what is recorded."""
ROOT_DISCOUNT = 0.85
"""A descendant of another reference is put before it only if it is that much nearer to
the model, as in ``lineage.tree``."""
SURE = 5.0
"""Log-odds from which on marks say which of two references is older."""
_LATER = -1.0
"""Log-odds of descent below which a reference is put after the others."""
_NEARER = 1.25
_GENERATIONS_MAX = 32


@dataclass(frozen=True, slots=True)
class Kinship:
    """What was found.

    Attributes:
        comparisons: By name, with what the others changed: classes and relations.
        distances: Of references that the model may descend from, as ranked.
        siblings: References that come from another one as the model does, by name;
            those that do not count are remarks.
        merge: What combination of references the model is, if it is one.
    """

    comparisons: Mapping[str, Comparison]
    distances: Mapping[str, float]
    siblings: Mapping[str, Sibling]
    merge: MergeFinding | None


def settle(
    model: Fingerprint,
    comparisons: Mapping[str, Comparison],
    references: Callable[[str], Fingerprint],
    parents: Callable[[str], Sequence[str]],
) -> Kinship:
    """Look at all relatives of a model together.

    Args:
        model: The model asked about.
        comparisons: Of references (first) with the model, by name.
        references: Fingerprint by name.
        parents: What the registry records of a reference's parents, by name.
    """
    distances = {
        name: c.distance for name, c in comparisons.items() if c.lineage.descends
    }
    kin = sorted(distances, key=lambda name: (distances[name], name))[:KIN_MAX]
    if len(kin) < 2:
        return Kinship(comparisons, distances, {}, None)
    known = {name: references(name) for name in kin}
    ages = _Ages(known, parents)
    seen = {name: see(reference) for name, reference in known.items()}
    merge = explain_merge(model, known, comparisons)
    told = dict(comparisons)
    siblings: dict[str, Sibling] = {}
    if merge is None:
        siblings = _siblings(see(model), seen, distances, comparisons, ages)
        told |= {name: _apart(told[name], s) for name, s in siblings.items()}
    else:
        for share in merge.shares:
            told[share.name] = _merged(told[share.name], merge, share.share)
    left = [name for name in kin if told[name].lineage.descends]
    # What an adapter was merged into is like it because it contains it.
    discount = 0.0 if is_adapter(model) else ROOT_DISCOUNT
    distances |= _in_order(left, distances, ages, discount)
    centre = central({name: seen[name] for name in left})
    for name in left:
        later = any(ages.told.get((other, name)) for other in left)
        if name == centre and not later and not ages.recorded(name, left):
            distances[name] *= ROOT_DISCOUNT
        if combined(comparisons[name].directions) <= _LATER:
            distances[name] += FAR
    return Kinship(told, distances, siblings, merge)


@dataclass(slots=True)
class _Ages:
    """Which of two references was made from the other."""

    known: Mapping[str, Fingerprint]
    parents: Callable[[str], Sequence[str]]
    told: dict[tuple[str, str], bool] = field(default_factory=dict)

    def older(self, first: str, second: str) -> bool:
        """Whether the second is known to be made from the first."""
        if first in self._ancestors(second):
            return True
        if second in self._ancestors(first):
            return False
        if (first, second) not in self.told:
            found = compare(self.known[first], self.known[second], power=False)
            sure = {x.direction for x in found.directions if x.kind == FOSSIL}
            odds = combined(found.directions)
            self.told[first, second] = odds >= SURE and Direction.A_TO_B in sure
            self.told[second, first] = -odds >= SURE and Direction.B_TO_A in sure
        return self.told[first, second]

    def recorded(self, name: str, others: Sequence[str]) -> bool:
        """Whether the registry puts one of the others before it."""
        return not self._ancestors(name).isdisjoint(others)

    def _ancestors(self, name: str) -> set[str]:
        found: set[str] = set()
        level = {name}
        for _ in range(_GENERATIONS_MAX):
            level = {parent for child in level for parent in self.parents(child)}
            level -= found
            found |= level
        return found


def _siblings(
    model: Seen,
    seen: Mapping[str, Seen],
    distances: Mapping[str, float],
    comparisons: Mapping[str, Comparison],
    ages: _Ages,
) -> dict[str, Sibling]:
    roots = [n for n in seen if comparisons[n].direction is not Direction.B_TO_A]
    found: dict[str, Sibling] = {}
    for name in seen:
        if comparisons[name].lineage is not LineageClass.DERIVED:
            continue
        for root in roots:
            # Whose change the model does not carry is farther from it than the root.
            if root == name or distances[root] > _NEARER * distances[name]:
                continue
            told = sibling_of(root, seen[root], seen[name], model)
            if told is not None and ages.older(root, name):
                found[name] = told
                break
    return found


def _apart(comparison: Comparison, sibling: Sibling) -> Comparison:
    """The comparison with what a third model says of it."""
    if sibling.counts:
        return replace(
            comparison,
            lineage=LineageClass.COMMON_ANCESTOR,
            direction=Direction.UNDIRECTED,
            direction_evidence="",
            statement=(
                f"A and B descend from a common ancestor: {sibling.evidence}; "
                f"{comparison.statement.rpartition('; ')[2]}"
            ),
        )
    return replace(
        comparison,
        statement=(
            f"{comparison.statement}; it looks as if {sibling.evidence}, which does "
            "not count, since what is sampled is public: a salted fingerprint would "
            "tell"
        ),
    )


def _merged(comparison: Comparison, merge: MergeFinding, share: float) -> Comparison:
    finding = RelationFinding(Relation.MERGED, merge.evidence, (("share", share),))
    order = list(Relation)
    kinds = sorted(
        (*comparison.relations, finding), key=lambda found: order.index(found.kind)
    )
    return replace(
        comparison,
        relation=str(kinds[0].kind),
        relations=tuple(kinds),
        direction=Direction.A_TO_B,
        direction_evidence=f"B is a merge: {merge.evidence}",
    )


def _in_order(
    kin: Sequence[str], distances: Mapping[str, float], ages: _Ages, discount: float
) -> dict[str, float]:
    """Distances such that a root comes first unless its descendant is much nearer."""
    ranked = {name: distances[name] for name in kin}
    marked = set(kin[:ORDERED_MAX])
    for name in kin:
        for root in kin:
            near = discount * distances[root] < distances[name] < distances[root]
            if near and (
                ages.recorded(name, [root])
                or ({name, root} <= marked and ages.older(root, name))
            ):
                ranked[name] = max(ranked[name], distances[root] * (1 + 1e-9))
    return ranked
