# SPDX-License-Identifier: Apache-2.0
"""The family tree of a set of models.

Every pair is compared; related ones are one family.  The root is the model that marks
of direction put before most others; of equal ones that from which another differs by a
matrix of low rank or shares whole tensors, for such a step is one step; then the one
nearest to all others.  The edges are the cheapest tree from there.  The cost of an edge
is how far the weights moved along it; edges against a mark are left out; edges from the
root are cheaper, and another model is a parent only if its child carries its change.
Merged models get an edge from each parent, adapters one from the root.

Distances alone do not tell two fine-tunes of one base from a chain of two.
An edge is called directed only where a mark says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.adapt import is_adapter
from pedigree.lineage.arborescence import cheapest
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.lineage.compare import compare
from pedigree.lineage.direction import ENOUGH, combined
from pedigree.lineage.findings import Relation
from pedigree.lineage.merges import MergeFinding, explain_merge
from pedigree.lineage.results import FAR, Comparison

Progress = Callable[[int, int], None]
"""Called with (pairs done, pairs in all)."""
KIN = (LineageClass.IDENTICAL, LineageClass.DERIVED, LineageClass.COMMON_ANCESTOR)
_AGAINST = 100.0
"""Cost of an edge against a mark."""
_CARRIED = 0.5
"""Share of a parent's own change that its child must carry."""
_ROOT_DISCOUNT = 0.85
"""Measured: a fine-tune of a fine-tune is nearer to its parent by a factor of 0.8 to
0.9, siblings tuned on one text by a factor of 0.65 to 1."""
_STEP_DISCOUNT = 0.05
_ALONE = 1.0
_ONE_STEP = frozenset({Relation.LORA_MERGED, Relation.PARTIAL_COPY})
_SHARE_MIN = 0.08
"""Least share of a merge that gets an edge."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One step of descent.

    Attributes:
        parent: Name.
        child: Name.
        relation: Kind of step.
        directed: Whether a mark says which way it runs.
        evidence: The mark, or why the edge runs this way.
        log10_p: Of the kinship, over all pairs.
        distance: Relative change of the weights; None if they cannot be laid side by
            side.
        share: Of this parent in a merge; None otherwise.
    """

    parent: str
    child: str
    relation: str
    directed: bool
    evidence: str
    log10_p: float
    distance: float | None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """Related models.

    Attributes:
        root: The model that all others descend from, as far as they tell.
        rooted: Whether marks say so; without them the root is the model nearest to all
            others.
        members: Names, the root first.
    """

    root: str
    rooted: bool
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """Families of models.

    Attributes:
        families: Largest first; a model without relatives is a family of one.
        edges: Of all families, parents before children.
        shared_init: Pairs trained apart from one initialisation.
        comparisons: Of every pair, by names in sorted order.
    """

    families: tuple[Family, ...]
    edges: tuple[Edge, ...]
    shared_init: tuple[tuple[str, str], ...]
    comparisons: Mapping[tuple[str, str], Comparison]


def reconstruct(
    models: Mapping[str, Fingerprint], *, progress: Progress | None = None
) -> Tree:
    """Compare all models and draw their family trees.

    Args:
        models: By name.
        progress: Called after each comparison.

    Raises:
        ArtifactError: The fingerprints follow different specs.
    """
    names = sorted(models)
    everything = list(combinations(names, 2))
    found: dict[tuple[str, str], Comparison] = {}
    for done, (a, b) in enumerate(everything, start=1):
        found[a, b] = compare(
            models[a], models[b], family_size=len(everything), power=False
        )
        if progress is not None:
            progress(done, len(everything))
    families: list[Family] = []
    edges: list[Edge] = []
    for members in _components(names, found):
        family, own = _family(models, members, found)
        families.append(family)
        edges.extend(own)
    families.sort(key=lambda family: (-len(family.members), family.root))
    twins = [k for k, c in found.items() if c.lineage is LineageClass.SHARED_INIT]
    return Tree(tuple(families), tuple(edges), tuple(twins), found)


def _components(
    names: Sequence[str], found: Mapping[tuple[str, str], Comparison]
) -> list[list[str]]:
    group = {name: {name} for name in names}
    for (a, b), comparison in found.items():
        if comparison.lineage in KIN and group[a] is not group[b]:
            group[a] |= group[b]
            for name in group[b]:
                group[name] = group[a]
    unique = {id(members): members for members in group.values()}
    return [sorted(members) for members in unique.values()]


def _family(
    models: Mapping[str, Fingerprint],
    members: list[str],
    found: Mapping[tuple[str, str], Comparison],
) -> tuple[Family, list[Edge]]:
    whole = [name for name in members if not is_adapter(models[name])]
    merges = _merges(models, whole)
    whole = [name for name in whole if name not in merges]
    adapters = [name for name in members if is_adapter(models[name])]
    if not whole:
        return Family(members[0], False, tuple(members)), []
    root, rooted, parents = _rooted(_measured(whole, found))
    order = _breadth_first(parents, root)
    edges = [_edge(whole[parents[c]], whole[c], found) for c in order[1:]]
    for name, merge in merges.items():
        edges.extend(_merge_edges(name, merge, found))
    edges.extend(_edge(whole[root], name, found) for name in adapters)
    listed = (*(whole[i] for i in order), *merges, *adapters)
    return Family(whole[root], rooted, listed), edges


@dataclass(frozen=True, eq=False, slots=True)
class _Measured:
    """Of all pairs of a family, shapes (n, n)."""

    distances: NDArray[np.float64]
    marks: NDArray[np.float64]
    """Log-odds that the column is later than the row."""
    steps: NDArray[np.bool_]
    """Whether the change is of low rank, or leaves whole tensors alone."""
    excluded: NDArray[np.bool_]
    """Whether a mark says that the column does not descend from the row."""


def _measured(
    names: Sequence[str], found: Mapping[tuple[str, str], Comparison]
) -> _Measured:
    n = len(names)
    distances, marks = np.full((n, n), np.inf), np.zeros((n, n))
    steps, excluded = np.zeros((n, n), bool), np.zeros((n, n), bool)
    np.fill_diagonal(distances, 0.0)
    for i, j in combinations(range(n), 2):
        comparison = found[names[i], names[j]]
        if comparison.lineage not in KIN:
            continue
        distances[i, j] = distances[j, i] = comparison.distance
        odds = combined(comparison.directions)
        marks[i, j], marks[j, i] = odds, -odds
        strong = {x.direction for x in comparison.directions if x.log_odds >= ENOUGH}
        excluded[i, j] = Direction.B_TO_A in strong
        excluded[j, i] = Direction.A_TO_B in strong
        kinds = {x.kind for x in comparison.relations}
        steps[i, j] = steps[j, i] = bool(kinds & _ONE_STEP)
    return _Measured(distances, marks, steps, excluded)


def _rooted(of: _Measured) -> tuple[int, bool, list[int]]:
    """The root, whether marks chose it, and the parent of each model."""
    n = len(of.distances)
    centre = np.where(np.isfinite(of.distances), of.distances, FAR).sum(axis=1)
    earlier = np.clip(of.marks, -ENOUGH, ENOUGH).sum(axis=1)
    steps = of.steps.sum(axis=1)
    ranked = sorted(
        range(n), key=lambda i: (-round(earlier[i], 6), -steps[i], centre[i], i)
    )
    for root in ranked:
        total, parents = cheapest(_costs(of, root), root)
        if math.isfinite(total):
            rooted = n > 1 and earlier[root] >= earlier[ranked[-1]] + ENOUGH
            alone = n > 1 and earlier[root] >= earlier[ranked[1]] + _ALONE
            return root, bool(rooted and alone), parents
    return ranked[0], False, [-1] * n


def _costs(of: _Measured, root: int) -> NDArray[np.float64]:
    """Shape (n, n): of an edge from row to column."""
    d = of.distances
    costs = d + np.where(of.excluded, _AGAINST, 0.0)
    own = d[root]  # (n,)
    square = np.where(own > 0, own, 1.0)[:, None] ** 2
    with np.errstate(invalid="ignore"):
        carried = (own[None, :] ** 2 + own[:, None] ** 2 - d**2) / (2 * square)
    costs = costs + np.where(carried < _CARRIED, 1.0, 0.0)
    costs[root] = d[root] * _ROOT_DISCOUNT + np.where(of.excluded[root], _AGAINST, 0.0)
    return np.where(of.steps, costs * _STEP_DISCOUNT, costs)


def _breadth_first(parents: Sequence[int], root: int) -> list[int]:
    order = [root]
    for node in order:
        order.extend(c for c, p in enumerate(parents) if p == node)
    return order


def _merges(
    models: Mapping[str, Fingerprint], names: Sequence[str]
) -> dict[str, MergeFinding]:
    """Models that are combinations of others that are none themselves."""
    found: dict[str, MergeFinding] = {}
    for name in names:
        others = {
            other: models[other]
            for other in names
            if other != name and other not in found
        }
        merge = explain_merge(models[name], others)
        if merge is not None:
            found[name] = merge
    return found


def _merge_edges(
    child: str, merge: MergeFinding, found: Mapping[tuple[str, str], Comparison]
) -> list[Edge]:
    edges = []
    for share in merge.shares:
        if share.share < _SHARE_MIN:
            continue
        comparison, _ = _pair(share.name, child, found)
        edges.append(
            Edge(
                parent=share.name,
                child=child,
                relation="Merged",
                directed=True,
                evidence=merge.evidence,
                log10_p=comparison.log10_p,
                distance=comparison.change,
                share=share.share,
            )
        )
    return edges


def _edge(parent: str, child: str, found: Mapping[tuple[str, str], Comparison]) -> Edge:
    comparison, sign = _pair(parent, child, found)
    odds = sign * combined(comparison.directions)
    directed = odds >= ENOUGH
    evidence = "; ".join(x.evidence for x in comparison.directions) if directed else ""
    if directed and sign < 0:
        evidence = _swapped(evidence)
    return Edge(
        parent=parent,
        child=child,
        relation=comparison.relation or str(comparison.lineage),
        directed=directed,
        evidence=evidence or "the shortest tree runs this way",
        log10_p=comparison.log10_p,
        distance=comparison.change,
    )


def _pair(
    parent: str, child: str, found: Mapping[tuple[str, str], Comparison]
) -> tuple[Comparison, int]:
    """The comparison of two names, and 1 if the parent is its A."""
    if (parent, child) in found:
        return found[parent, child], 1
    return found[child, parent], -1


def _swapped(text: str) -> str:
    """A sentence about A and B with the letters exchanged: A is the parent."""
    words = {"A": "B", "B": "A", "A's": "B's", "B's": "A's"}
    return " ".join(words.get(word, word) for word in text.split(" "))


def significance(edge: Edge) -> str:
    """``p < 1e-213``."""
    return f"p < 1e{math.ceil(edge.log10_p)}"
