# SPDX-License-Identifier: Apache-2.0
"""Conditions of ModelDeployments: types, reasons, and stable transition times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pedigree.policy.verdict import Reason

MESSAGE_MAX_CHARS = 1024


class ConditionType(StrEnum):
    """What can be true of a ModelDeployment; ``True`` is always the good state."""

    REFERENCES_RESOLVED = "ReferencesResolved"
    """Every reference was last seen to mean one known content."""
    EVIDENCE_RECORDED = "EvidenceRecorded"
    """Every model has been examined."""
    LINEAGE_ESTABLISHED = "LineageEstablished"
    """Every model descends from a known one, and was compared with all of them."""
    POLICY_SATISFIED = "PolicySatisfied"
    """The policies admit it."""
    REFERENCES_PINNED = "ReferencesPinned"
    """Every reference can only ever mean one content."""
    WORKLOAD_RELEASED = "WorkloadReleased"
    """The workload was created or released, or there is none."""
    READY = "Ready"
    """All of it: judged, admitted, released."""


class ConditionStatus(StrEnum):
    """Status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Progress(StrEnum):
    """Condition reasons beyond :class:`pedigree.policy.verdict.Reason`."""

    RESOLVED = "Resolved"
    RECORDED = "Recorded"
    ESTABLISHED = "Established"
    PINNED = "Pinned"
    NOT_PINNED = "NotPinned"
    RELEASED = "Released"
    HELD = "Held"
    CREATED = "Created"
    NO_WORKLOAD = "NoWorkload"
    EXAMINING = "Examining"
    NOT_FOUND = "NotFound"
    NOT_OWNED = "NotOwned"
    """A Deployment of the wanted name belongs to somebody else."""
    CREATE_FAILED = "CreateFailed"
    """The API server refused the Deployment, for its Pod template or a quota."""
    RULES_ACCEPTED = "RulesAccepted"
    NOT_FINGERPRINTED = "NotFingerprinted"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, before it has a time."""

    type: ConditionType | str
    status: ConditionStatus
    reason: Progress | Reason | str
    message: str = ""


def merge_conditions(
    old: Sequence[Mapping[str, Any]],
    new: Iterable[Condition],
    *,
    generation: int,
    now: str,
) -> list[dict[str, Any]]:
    """The new conditions with transition times.

    ``lastTransitionTime`` moves when, and only when, the status of a type changes, as
    the Kubernetes API conventions want it.

    Args:
        old: ``status.conditions`` as it is.
        new: What holds now; types that are not named go away.
        generation: Of the object that was looked at.
        now: RFC 3339.
    """
    before = {item.get("type"): item for item in old}
    merged = []
    for condition in new:
        last = before.get(str(condition.type))
        changed = last is None or last.get("status") != str(condition.status)
        since = now if last is None or changed else last.get("lastTransitionTime", now)
        merged.append(
            {
                "type": str(condition.type),
                "status": str(condition.status),
                "reason": str(condition.reason),
                "message": condition.message[:MESSAGE_MAX_CHARS],
                "observedGeneration": generation,
                "lastTransitionTime": since,
            }
        )
    return merged
