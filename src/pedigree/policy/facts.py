# SPDX-License-Identifier: Apache-2.0
"""What is known about each model of a subject when it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pedigree.errors import (
    ArtifactError,
    ModelRefError,
    PedigreeError,
    SourceRefused,
    SourceUnavailable,
)
from pedigree.evidence import Evidence
from pedigree.policy.verdict import Reason


class FactState(StrEnum):
    """Whether there is evidence."""

    KNOWN = "Known"
    PENDING = "Pending"
    """It is being gathered, or will be."""
    FAILED = "Failed"
    """It could not be gathered; the reason says why."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known about one model.

    Attributes:
        state: Whether there is evidence.
        evidence: The evidence; given when, and only when, the state is ``Known``.
        resolved_at: When the reference was last seen to mean this evidence.
        pinned: What ``status.models[].resolved.pinned`` shows.  The verdict does not
            look at it: whether a reference is pinned follows from the object alone,
            see :func:`pedigree.policy.subject.is_pinned`.
        reason: Why the state is not ``Known``, where that is known.
        message: The same for people.
    """

    state: FactState
    evidence: Evidence | None = None
    resolved_at: datetime | None = None
    pinned: bool = False
    reason: Reason | None = None
    message: str = ""


UNSEEN = ModelFacts(FactState.PENDING, reason=Reason.EVIDENCE_PENDING)
"""Stands for a model that no facts were given for."""


def failed_facts(error: PedigreeError) -> ModelFacts:
    """Facts about a model of which no evidence was possible.

    The error's own reason may be any word; the verdict's comes from the closed set.
    """
    kinds = (
        (SourceUnavailable, Reason.SOURCE_UNAVAILABLE),
        (SourceRefused, Reason.SOURCE_REFUSED),
        (ArtifactError, Reason.ARTIFACT_INVALID),
        (ModelRefError, Reason.REFERENCE_INVALID),
    )
    reason = next(
        (word for kind, word in kinds if isinstance(error, kind)),
        Reason.INTERNAL_ERROR,
    )
    return ModelFacts(FactState.FAILED, reason=reason, message=str(error))
