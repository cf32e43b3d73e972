# SPDX-License-Identifier: Apache-2.0
"""What a policy selects by: Kubernetes label selectors and name patterns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Operator(StrEnum):
    """Operators of ``matchExpressions``, with the meaning Kubernetes gives them."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One expression over one label.

    ``NotIn`` is also true of an object without the label, as in Kubernetes.
    """

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet it."""
        match self.operator:
            case Operator.IN:
                return self.key in labels and labels[self.key] in self.values
            case Operator.NOT_IN:
                return self.key not in labels or labels[self.key] not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All of some requirements; none at all selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)


EVERYTHING = LabelSelector()


def is_glob(pattern: str) -> bool:
    """Whether a pattern can match more than one name."""
    return "*" in pattern or "?" in pattern


def glob_matches(pattern: str, name: str) -> bool:
    """Whether ``name`` matches, ``*`` being any run and ``?`` any one character.

    Linear in practice and at worst ``len(pattern) * len(name)`` steps: regular
    expressions would let a policy author stop the webhook with ``*a*a*a*a*a``.
    """
    at, star, resume = 0, -1, 0
    position = 0
    while position < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", name[position]):
            at += 1
            position += 1
        elif star >= 0:
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return all(character == "*" for character in pattern[at:])
