# SPDX-License-Identifier: Apache-2.0
"""The line of descent of a model: root -> ... -> reference -> model.

From the closest reference upwards: first what the catalogue records of its parents,
else what the weights say of the other references that the scan found.  Of these, one
that marks put before it; else one that they lean to; else the one nearest to all
others, which is a guess, and said to be one (``sure`` is False).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pedigree.lineage.classes import Direction
from pedigree.lineage.compare import compare
from pedigree.lineage.direction import combined
from pedigree.lineage.results import Comparison
from pedigree.lineage.siblings import central, see
from pedigree.registry.catalogue import Advisory
from pedigree.registry.folder import Registry
from pedigree.registry.scan import Ranked, Scan

STEPS_MAX = 16
"""Generations that are followed."""
COMPARED_MAX = 6
"""References compared with one another for one step (arbitrary: bounds the time)."""
LEANS = 1.0
"""Log-odds from which on marks lean to a parent."""
RECORDED, WEIGHTS = "recorded", "weights"


@dataclass(frozen=True, slots=True)
class Step:
    """One ancestor, and how the next in line came from it.

    Attributes:
        name: Of the ancestor.
        relation: How the next one was made of it; empty if not known.
        source: ``recorded`` (the catalogue says so) or ``weights``.
        sure: Whether the catalogue or a mark says which way the step runs.
        known: Whether the registry has it.
        advisories: What is known against it, and so against all that descend from it.
    """

    name: str
    relation: str
    source: str
    sure: bool
    known: bool
    advisories: tuple[Advisory, ...]


def lineage_path(scan: Scan, registry: Registry) -> tuple[Step, ...]:
    """Ancestors of the scanned model, the oldest first; none if none was found.

    Raises:
        PedigreeError: A reference on the way is damaged or away.
    """
    descends = [r for r in scan.ranked if r.comparison.lineage.descends]
    if not descends:
        return ()
    best = descends[0]
    steps = [_step(registry, best.reference, best.comparison.relation, WEIGHTS)]
    seen = {best.reference}
    while len(steps) < STEPS_MAX:
        step = _parent(registry, steps[-1].name, descends, seen, scan.references)
        if step is None:
            break
        seen.add(step.name)
        steps.append(step)
    return tuple(reversed(steps))


def _parent(
    registry: Registry, name: str, others: Sequence[Ranked], seen: set[str], family: int
) -> Step | None:
    found = registry.find(name)
    if found is None:
        return None
    for parent in found[0].entry(found[1]).parents:
        if parent.name not in seen:
            return _step(registry, parent.name, parent.relation, RECORDED)
    return _by_weights(registry, name, others, seen, family)


def _by_weights(
    registry: Registry, name: str, others: Sequence[Ranked], seen: set[str], family: int
) -> Step | None:
    """The parent that weights tell, or lean to."""
    names = [r.reference for r in others if r.reference not in seen][:COMPARED_MAX]
    child = registry.fingerprint(name)
    prints = {other: registry.fingerprint(other) for other in names}
    found = {}
    for other, reference in prints.items():
        told = compare(reference, child, family_size=family, power=False)
        if told.lineage.descends and told.direction is not Direction.B_TO_A:
            found[other] = told
    marked = [
        (told.direction is Direction.A_TO_B, _effect(told), other)
        for other, told in found.items()
        if combined(told.directions) >= LEANS
    ]
    if marked:
        sure, _, best = max(marked)
        return _step(registry, best, found[best].relation, WEIGHTS, sure=sure)
    later = any(combined(told.directions) <= -LEANS for told in found.values())
    # The child of the last step is the model itself, or has been looked at.
    if later or len(seen) > 1:
        return None
    best_guess = central({n: see(x) for n, x in {name: child, **prints}.items()})
    if best_guess not in found:
        return None
    return _step(registry, best_guess, found[best_guess].relation, WEIGHTS, sure=False)


def _effect(told: Comparison) -> float:
    return told.deciding.effect if told.deciding else 0.0


def _step(
    registry: Registry, name: str, relation: str, source: str, *, sure: bool = True
) -> Step:
    found = registry.find(name)
    if found is None:
        return Step(name, relation, source, sure, False, ())
    advisories = found[0].entry(found[1]).advisories
    return Step(name, relation, source, sure, True, advisories)
