# SPDX-License-Identifier: Apache-2.0
"""The line of descent of a model: root -> ... -> reference -> model.

From the closest reference upwards: first what the catalogue records of its parents,
else what the weights say of the other references that the scan found.  An edge from
weights needs a direction; distances alone never orient one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pedigree.lineage.classes import Direction
from pedigree.lineage.compare import compare
from pedigree.registry.catalogue import Advisory
from pedigree.registry.folder import Registry
from pedigree.registry.scan import Ranked, Scan

STEPS_MAX = 16
"""Generations that are followed."""
COMPARED_MAX = 6
"""References compared with one another for one step (arbitrary: bounds the time)."""
RECORDED, WEIGHTS = "recorded", "weights"


@dataclass(frozen=True, slots=True)
class Step:
    """One ancestor, and how the next in line came from it.

    Attributes:
        name: Of the ancestor.
        relation: How the next one was made of it; empty if not known.
        source: ``recorded`` (the catalogue says so) or ``weights``.
        known: Whether the registry has it.
        advisories: What is known against it, and so against all that descend from it.
    """

    name: str
    relation: str
    source: str
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
    names = [r.reference for r in others if r.reference not in seen][:COMPARED_MAX]
    child = registry.fingerprint(name)
    best: tuple[float, str, str] | None = None
    for other in names:
        told = compare(
            registry.fingerprint(other), child, family_size=family, power=False
        )
        if told.lineage.descends and told.direction is Direction.A_TO_B:
            effect = told.deciding.effect if told.deciding else 0.0
            best = max(
                best or (effect, other, told.relation), (effect, other, told.relation)
            )
    return None if best is None else _step(registry, best[1], best[2], WEIGHTS)


def _step(registry: Registry, name: str, relation: str, source: str) -> Step:
    found = registry.find(name)
    if found is None:
        return Step(name, relation, source, False, ())
    return Step(name, relation, source, True, found[0].entry(found[1]).advisories)
