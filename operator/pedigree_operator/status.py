# SPDX-License-Identifier: Apache-2.0
"""The status of a ModelDeployment: rows, verdict, conditions, and how it is patched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pedigree.evidence import Evidence, Match
from pedigree.lineage.classes import LineageClass
from pedigree.policy.facts import FactState
from pedigree.policy.verdict import Action, Cause, Reason, Result, Verdict
from pedigree_operator.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    Progress,
)
from pedigree_operator.moments import format_time
from pedigree_operator.observe import Observation
from pedigree_operator.plan import Outcome
from pedigree_operator.workloads import Json

MESSAGE_MAX_CHARS = 1024
CAUSES_MAX = 16
POLICIES_MAX = 16
TRUE, FALSE, UNKNOWN = ConditionStatus


def merge_patch(old: Any, new: Any) -> Any:
    """The RFC 7396 merge patch that makes ``new`` of ``old``; ``{}`` if they are equal.

    Both are JSON objects without nulls, as Kubernetes objects are.
    """
    patch: Json = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = merge_patch(before, value)
            if inner:
                patch[key] = inner
        elif key not in old or before != value:
            patch[key] = value
    return patch


def verdict_status(verdict: Verdict, decided_at: str) -> Json:
    """``status.verdict``, bounded."""
    told = verdict.to_dict()
    told["message"] = told["message"][:MESSAGE_MAX_CHARS]
    told["causes"] = [
        cause | {"message": cause["message"][:MESSAGE_MAX_CHARS]}
        for cause in told["causes"][:CAUSES_MAX]
    ]
    told["policies"] = told["policies"][:POLICIES_MAX]
    return told | {"decidedAt": decided_at}


def model_row(seen: Observation, verdict: Verdict) -> Json:
    """One row of ``status.models``."""
    row: Json = {"name": seen.model.name, "requested": seen.model.uri}
    if seen.model.secret:
        row["credentialsSecret"] = seen.model.secret
    if seen.located is not None and seen.digest is not None:
        row["resolved"] = {
            "uri": seen.located.pinned_uri,
            "digest": str(seen.digest),
            "identity": seen.located.identity,
            "pinned": "True" if seen.facts.pinned else "False",
            "resolvedAt": format_time(seen.located.at),
        }
    evidence = seen.facts.evidence
    if evidence is not None and evidence.lineage is not None:
        row["lineage"] = _lineage_row(evidence.lineage.matches)
    cause = model_cause(seen, verdict)
    if seen.known:
        row["reason"] = str(cause.reason if cause else Reason.LINEAGE_VERIFIED)
        row["message"] = cause.message if cause else ""
    else:
        row["reason"] = str(seen.facts.reason or Reason.INTERNAL_ERROR)
        row["message"] = seen.facts.message
    row["message"] = row["message"][:MESSAGE_MAX_CHARS]
    return row


def model_cause(seen: Observation, verdict: Verdict) -> Cause | None:
    """The first ground of the verdict that is about this model."""
    path = seen.model.field_path
    for cause in verdict.causes:
        if cause.field == path or cause.field.startswith(f"{path}."):
            return cause
    return None


def _lineage_row(matches: Sequence[Match]) -> Json:
    if not matches:
        return {"lineage": str(LineageClass.NO_EVIDENCE)}
    best = matches[0]
    row: Json = {
        "lineage": str(best.lineage),
        "ancestor": best.reference,
        "log10P": best.log10_p,
    }
    return row | ({"relation": best.relation} if best.relation else {})


def workload_condition(
    workload: Mapping[str, Any] | None, outcome: Outcome | None
) -> Condition:
    """Whether the workload runs as far as we are concerned."""
    kind = ConditionType.WORKLOAD_RELEASED
    if workload is None:
        return Condition(kind, TRUE, Progress.NO_WORKLOAD, "there is no workload")
    what = f"{workload['kind']} {workload['name']}"
    if workload["state"] != Progress.HELD:
        did = str(workload["state"]).lower()
        return Condition(kind, TRUE, Progress.RELEASED, f"{what} was {did}")
    if outcome is not None and outcome.refused:
        return Condition(kind, FALSE, outcome.reason, outcome.refused)
    return Condition(kind, FALSE, Progress.HELD, f"{what} waits for the verdict")


def build_conditions(
    seen: Sequence[Observation], verdict: Verdict, released: Condition
) -> list[Condition]:
    """All conditions, in the order in which they become true."""
    return [
        _resolved(seen),
        _recorded(seen),
        _established(seen),
        _satisfied(verdict),
        _pinned(seen),
        released,
        _ready(seen, verdict, released),
    ]


def _resolved(seen: Sequence[Observation]) -> Condition:
    kind = ConditionType.REFERENCES_RESOLVED
    for one in seen:
        if one.failure is not None or one.facts.state is FactState.FAILED:
            return Condition(kind, FALSE, _failure_reason(one), _failure_message(one))
    if all(one.located is not None for one in seen):
        return Condition(kind, TRUE, Progress.RESOLVED, "every reference was resolved")
    return Condition(kind, UNKNOWN, Progress.EXAMINING, _first_pending(seen))


def _failure_reason(one: Observation) -> Reason | Progress:
    if one.failure is not None and one.failure.detail == Progress.NOT_FOUND:
        return Progress.NOT_FOUND
    if one.failure is not None:
        return one.failure.reason
    return one.facts.reason or Reason.INTERNAL_ERROR


def _failure_message(one: Observation) -> str:
    said = one.failure.message if one.failure is not None else one.facts.message
    kept = "; the verdict about what was examined before stands" if one.known else ""
    return f"model {one.model.name!r}: {said}{kept}"


def _recorded(seen: Sequence[Observation]) -> Condition:
    kind = ConditionType.EVIDENCE_RECORDED
    for one in seen:
        if one.facts.state is FactState.FAILED:
            reason = one.facts.reason or Reason.INTERNAL_ERROR
            return Condition(kind, FALSE, reason, _failure_message(one))
    if all(one.known for one in seen):
        return Condition(kind, TRUE, Progress.RECORDED, "every model was examined")
    return Condition(kind, UNKNOWN, Progress.EXAMINING, _first_pending(seen))


def _established(seen: Sequence[Observation]) -> Condition:
    kind = ConditionType.LINEAGE_ESTABLISHED
    if not all(one.known for one in seen):
        return Condition(kind, UNKNOWN, Progress.EXAMINING, _first_pending(seen))
    for one in seen:
        problem = _lineage_problem(one.facts.evidence)
        if problem is not None:
            status = UNKNOWN if problem[0] is Reason.EVIDENCE_PENDING else FALSE
            text = f"model {one.model.name!r} {problem[1]}"
            return Condition(kind, status, problem[0], text)
    text = "every model descends from a known one"
    return Condition(kind, TRUE, Progress.ESTABLISHED, text)


def _lineage_problem(evidence: Evidence | None) -> tuple[Reason, str] | None:
    if evidence is None:
        return None
    errors = [item for item in evidence.findings if item.severity == "Error"]
    if errors:
        return Reason.ARTIFACT_INVALID, f"is malformed: {errors[0].message}"
    if evidence.lineage is None:
        if evidence.fingerprint is None:
            return Reason.LINEAGE_UNKNOWN, "has no weights that could be compared"
        return Reason.EVIDENCE_PENDING, "has not been compared with the references yet"
    matches = evidence.lineage.matches
    if any(match.lineage.descends for match in matches):
        return None
    if any(match.lineage is LineageClass.INCONCLUSIVE for match in matches):
        return Reason.LINEAGE_INCONCLUSIVE, "could not be compared with all references"
    compared = evidence.lineage.references
    return Reason.LINEAGE_UNKNOWN, f"descends from none of {compared} known models"


def _satisfied(verdict: Verdict) -> Condition:
    kind = ConditionType.POLICY_SATISFIED
    if verdict.result is Result.PENDING:
        return Condition(kind, UNKNOWN, verdict.reason, verdict.message)
    admits = verdict.action in (Action.ALLOW, Action.WARN)
    return Condition(kind, TRUE if admits else FALSE, verdict.reason, verdict.message)


def _pinned(seen: Sequence[Observation]) -> Condition:
    kind = ConditionType.REFERENCES_PINNED
    floating = [one for one in seen if not one.facts.pinned]
    if not all(one.known for one in floating):
        return Condition(kind, UNKNOWN, Progress.EXAMINING, _first_pending(seen))
    if floating:
        text = (
            f"model {floating[0].model.name!r} at {floating[0].model.uri} can change; "
            "set expectedDigest, or name a commit"
        )
        return Condition(kind, FALSE, Progress.NOT_PINNED, text)
    text = "every reference can only mean one content"
    return Condition(kind, TRUE, Progress.PINNED, text)


def _ready(
    seen: Sequence[Observation], verdict: Verdict, released: Condition
) -> Condition:
    kind = ConditionType.READY
    if verdict.action not in (Action.ALLOW, Action.WARN):
        pending = verdict.result is Result.PENDING
        reason = Progress.EXAMINING if pending else verdict.reason
        return Condition(kind, FALSE, reason, verdict.message)
    if not all(one.known for one in seen):
        return Condition(kind, FALSE, Progress.EXAMINING, _first_pending(seen))
    if released.status is not TRUE:
        return Condition(kind, FALSE, released.reason, released.message)
    return Condition(kind, TRUE, verdict.reason, verdict.message)


def _first_pending(seen: Sequence[Observation]) -> str:
    for one in seen:
        if not one.known:
            return f"model {one.model.name!r}: {one.facts.message}"
    return ""
