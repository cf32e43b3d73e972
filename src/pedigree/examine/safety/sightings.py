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

ROOM_CHARS = 1_500
"""Of all messages together: evidence has about that much for findings."""
_FRAME_CHARS = 100
"""What reason, severity and path take beside a message."""
_WIDE = (3, 150)
_NARROW = (1, 90)
"""Places that a message names, and characters of each: as many as help a reader where
few kinds were seen, as few as say what it is where many were."""


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
    found = [list(kind) for kind in kinds.values()]
    remarks = tuple(_remark(kind, *_WIDE) for kind in found)
    if sum(len(remark.message) + _FRAME_CHARS for remark in remarks) <= ROOM_CHARS:
        return remarks
    return tuple(_remark(kind, *_NARROW) for kind in found)


def _remark(found: list[Sighting], places: int, chars: int) -> Remark:
    first = found[0]
    parts = [_short(each.detail, chars) for each in found[:places]]
    if more := len(found) - len(parts):
        parts.append(f"{more} more like these")
    message = f"{'; '.join(parts)}: {first.consequence}"
    return Remark(first.reason, first.path, message, first.severity)


def _short(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 3] + "..."
