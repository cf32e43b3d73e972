# SPDX-License-Identifier: Apache-2.0
"""What is true of two models, from the ``zoo.json`` of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

Zoo = Mapping[str, Mapping[str, Any]]


class Truth(StrEnum):
    """How two models are related."""

    IDENTICAL = "identical"
    """The same weights in other files."""
    DERIVED = "derived"
    """One is an ancestor of the other, through linked steps."""
    SIBLINGS = "siblings"
    """Both have a common ancestor, and neither is the other's."""
    SHARED_INIT = "shared-init"
    """Only the random initialisation is common."""
    INDEPENDENT = "independent"
    """Nothing of the weights is common; a distilled student and its teacher too."""

    @property
    def related(self) -> bool:
        """Whether weights descend from common weights."""
        return self in (Truth.IDENTICAL, Truth.DERIVED, Truth.SIBLINGS)


EXPECTED = {
    Truth.IDENTICAL: ("Identical",),
    Truth.DERIVED: ("Derived",),
    # Two models alone do not tell siblings from parent and child.
    Truth.SIBLINGS: ("CommonAncestor", "Derived"),
    Truth.SHARED_INIT: ("SharedInit",),
    Truth.INDEPENDENT: ("NoEvidence", "Inconclusive"),
}
"""Classes that are right."""


def read_zoo(folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """All ``zoo.json`` of some folders by the model's name, with its ``folder``."""
    found = {}
    for folder in folders:
        for path in sorted(folder.glob("*/zoo.json")):
            facts = json.loads(path.read_text())
            found[path.parent.name] = facts | {"folder": path.parent}
    return found


def ancestors(name: str, zoo: Zoo, links: tuple[Any, ...] = (True,)) -> set[str]:
    """A model and all that it descends from through steps of these kinds."""
    found = {name}
    facts = zoo.get(name, {})
    if facts.get("linked", True) in links:
        for parent in facts.get("parents", ()):
            found |= ancestors(parent, zoo, links)
    return found


def contents(name: str, zoo: Zoo) -> str:
    """The model whose values this one holds: itself, unless only files changed."""
    facts = zoo.get(name, {})
    return contents(facts["parents"][0], zoo) if facts.get("sameValues") else name


def truth(a: str, b: str, zoo: Zoo) -> Truth:
    """What is true of two models."""
    if contents(a, zoo) == contents(b, zoo):
        return Truth.IDENTICAL
    first, second = ancestors(a, zoo), ancestors(b, zoo)
    if contents(a, zoo) in second or contents(b, zoo) in first:
        return Truth.DERIVED
    if first & second:
        return Truth.SIBLINGS
    loose = (True, "shared-init")
    if ancestors(a, zoo, loose) & ancestors(b, zoo, loose):
        return Truth.SHARED_INIT
    return Truth.INDEPENDENT


def is_base(name: str, zoo: Zoo) -> bool:
    """Whether a model starts from random weights of its own."""
    facts = zoo[name]
    return not facts.get("parents") or facts.get("linked") == "distilled"
