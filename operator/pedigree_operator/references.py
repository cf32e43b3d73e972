# SPDX-License-Identifier: Apache-2.0
"""What to do about one ReferenceModel: read it once, keep its fingerprint.  Pure.

A reference is what it was when it was read.  It is read again when its spec changes
and its source then means other content, or when its stored fingerprint is lost; never
because time passed: references that drift by themselves would move every verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pedigree.digests import Digest
from pedigree.evidence import Evidence
from pedigree.evidence.chat_templates import chat_templates
from pedigree.policy.verdict import Reason
from pedigree_operator.access import Access, access_in
from pedigree_operator.conditions import (
    Condition,
    ConditionStatus,
    Progress,
    merge_conditions,
)
from pedigree_operator.lookups import Failure, Stage, UriState
from pedigree_operator.moments import seconds
from pedigree_operator.plan import Examine, Resolve
from pedigree_operator.status import merge_patch
from pedigree_operator.workloads import Json

READY = "Ready"


@dataclass(frozen=True, slots=True)
class ReferencePlan:
    """What to do about one ReferenceModel.

    Attributes:
        lookup: What to ask its source, if anything.
        status: Merge patch of its status; empty when nothing changed.
        requeue_at: When to look again.
    """

    lookup: Resolve | Examine | None = None
    status: Json = field(default_factory=dict)
    requeue_at: datetime | None = None


def reconcile_reference(
    obj: Mapping[str, Any],
    *,
    lookup: Callable[[Access], UriState],
    evidence: Callable[[Digest, str], Evidence | None],
    content: Mapping[tuple[str, str, str], Digest],
    is_stored: Callable[[Digest], bool],
    now: datetime,
) -> ReferencePlan:
    """Plan what to do about one ReferenceModel.

    Args:
        obj: As the API server has it.
        lookup: What this process knows of an access.
        evidence: Finds evidence by model digest, as it counts in a namespace.
        content: Model digest by (scope, reference, identity).
        is_stored: Whether the fingerprint of a model is in the store.
        now: The time.
    """
    try:
        access = access_in((obj.get("spec") or {}).get("source"), "")
        if access.secret:
            raise ValueError("has a credentialsSecret, which only a namespace has")
    except ValueError as error:
        text = f"spec.source {error}"
        return ReferencePlan(status=_failed(obj, Reason.REFERENCE_INVALID, text, now))
    if is_done(obj) and is_stored(Digest.parse(obj["status"]["digest"])):
        known = evidence(Digest.parse(obj["status"]["digest"]), "")
        return ReferencePlan(status=_templates_only(obj, known))
    state = lookup(access)
    if state.stage is Stage.RESOLVING:
        return ReferencePlan(Resolve(access))
    if state.stage is Stage.EXAMINING:
        return ReferencePlan(Examine(access))
    if state.failure is not None and now < state.failure.retry_at:
        return _told(obj, state.failure, now)
    if state.failure is not None or state.located is None:
        return ReferencePlan(Resolve(access))
    located = state.located
    digest = (
        content.get(("", access.uri, located.identity))
        or content.get(("", located.pinned_uri, located.identity))
        or located.digest
    )
    found = evidence(digest, "") if digest is not None else None
    if found is None or (found.fingerprint and not is_stored(found.digest)):
        if now < located.examine_after():
            return ReferencePlan(requeue_at=located.examine_after())
        return ReferencePlan(Examine(access))
    return ReferencePlan(status=_read(obj, found, now))


def is_done(obj: Mapping[str, Any]) -> bool:
    """Whether the status says that this very spec has been read."""
    status = obj.get("status") or {}
    return (
        status.get("observedGeneration") == obj["metadata"].get("generation")
        and bool(status.get("fingerprint"))
        and bool(status.get("digest"))
    )


def _told(obj: Mapping[str, Any], failure: Failure, now: datetime) -> ReferencePlan:
    reason: Reason | Progress = failure.reason
    if failure.detail == Progress.NOT_FOUND:
        reason = Progress.NOT_FOUND
    status = _failed(obj, reason, failure.message, now)
    return ReferencePlan(status=status, requeue_at=failure.retry_at)


def _failed(
    obj: Mapping[str, Any], reason: Reason | Progress, message: str, now: datetime
) -> Json:
    """The fingerprint of an earlier reading stays: models are compared with it."""
    status = dict(obj.get("status") or {})
    condition = Condition(READY, ConditionStatus.FALSE, reason, message)
    return _patch(obj, status, condition, now)


def _read(obj: Mapping[str, Any], found: Evidence, now: datetime) -> Json:
    status: Json = {"digest": str(found.digest)}
    if found.fingerprint is None:
        said = "; ".join(f"{item.path}: {item.message}" for item in found.findings[:3])
        text = f"there are no weights to compare with: {said}"
        condition = Condition(
            READY, ConditionStatus.FALSE, Reason.ARTIFACT_INVALID, text
        )
    else:
        status["fingerprint"] = {
            "digest": str(found.fingerprint),
            "spec": found.fingerprint_spec,
        }
        status.update(_templates(found))
        text = f"{found.parameters} parameters in {found.files} files were read"
        condition = Condition(READY, ConditionStatus.TRUE, Progress.RECORDED, text)
    return _patch(obj, status, condition, now)


def _templates_only(obj: Mapping[str, Any], found: Evidence | None) -> Json:
    """What a status lacks that was written before templates were looked at."""
    if found is None or "chatTemplates" in obj["status"]:
        return {}
    return _templates(found)


def _templates(found: Evidence) -> Json:
    digests = chat_templates(found.claims).digests
    return {} if digests is None else {"chatTemplates": list(digests)}


def _patch(
    obj: Mapping[str, Any], status: Json, condition: Condition, now: datetime
) -> Json:
    before = obj.get("status") or {}
    generation = obj["metadata"].get("generation", 0)
    status["observedGeneration"] = generation
    status["conditions"] = merge_conditions(
        before.get("conditions") or (),
        [condition],
        generation=generation,
        now=seconds(now),
    )
    patch: Json = merge_patch(before, status)
    return patch
