# SPDX-License-Identifier: Apache-2.0
"""Many sightings of one kind become one finding.

A hostile model can show any number of bad names; evidence has room for few findings.
So each kind is told once, with the first places and how many more there are, and none
pushes another out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pedigree.tensors.remarks import WARNING, Remark

SHOWN_MAX = 3
"""Places that one finding names."""
_DETAIL_MAX_CHARS = 150
"""So that three of them and the rest fit into the message of a finding."""


@dataclass(frozen=True, slots=True, order=True)
class Sighting:
    """One place where something was seen.

    Attributes:
        path: The file.
        detail: Where in it and what, for people, beginning with the quoted path.
        reason: Stable CamelCase token.
        consequence: What follows from it; the same for every sighting of its reason.
        severity: How it weighs.
    """

    path: str
    detail: str
    reason: str
    consequence: str
    severity: str = WARNING


def told(sightings: Iterable[Sighting]) -> tuple[Remark, ...]:
    """One remark for each reason and severity, in the order of first sight.

    Sightings of one kind are told in the order in which they were made; equal ones
    count once.
    """
    kinds: dict[tuple[str, str], dict[Sighting, None]] = {}
    for each in sightings:
        kinds.setdefault((each.reason, each.severity), {})[each] = None
    return tuple(_remark(list(found)) for found in kinds.values())


def _remark(found: list[Sighting]) -> Remark:
    first = found[0]
    parts = [_short(each.detail) for each in found[:SHOWN_MAX]]
    if more := len(found) - len(parts):
        parts.append(f"{more} more like these")
    message = f"{'; '.join(parts)}: {first.consequence}"
    return Remark(first.reason, first.path, message, first.severity)


def _short(text: str) -> str:
    if len(text) <= _DETAIL_MAX_CHARS:
        return text
    return text[: _DETAIL_MAX_CHARS - 3] + "..."
