# SPDX-License-Identifier: Apache-2.0
"""What to do about one ModelDeployment.  Pure: values in, a plan out.

Blind to events: the plan follows from what is, never from what has just happened, so
that a lost event, a repeated one and a restart all come to the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pedigree import __version__
from pedigree.ledger.entry import EntryModel, EntryObject, judgement_entry
from pedigree.policy.durations import parse_duration
from pedigree.policy.evaluate import judge
from pedigree.policy.subject import Subject, subject_from_model_deployment
from pedigree.policy.terms import Policy
from pedigree.policy.verdict import Action, Result, Verdict
from pedigree_operator.access import access_of
from pedigree_operator.conditions import Progress, merge_conditions
from pedigree_operator.events import NORMAL, WARNING, build_event
from pedigree_operator.moments import format_time, seconds
from pedigree_operator.observe import Observation, observe
from pedigree_operator.plan import EnsureDeployment, Plan, ReleasePods, Resolve, View
from pedigree_operator.status import (
    build_conditions,
    merge_patch,
    model_row,
    verdict_status,
    workload_condition,
)
from pedigree_operator.workloads import (
    Json,
    belongs_to,
    build_deployment,
    template_digest,
)

INTERVAL_DEFAULT = timedelta(hours=24)
INTERVAL_LEAST = timedelta(minutes=1)
ADMITTING = (Action.ALLOW, Action.WARN)
DRIFTED = "Drifted"


def reconcile(obj: Mapping[str, Any], view: View, now: datetime) -> Plan:
    """Plan what to do about one ModelDeployment.

    Args:
        obj: As the API server has it.
        view: Everything around it.
        now: The time.
    """
    subject = subject_from_model_deployment(obj, view.namespace_labels)
    status: Mapping[str, Any] = obj.get("status") or {}
    judged = last_result(obj)
    rows = {row.get("name"): row for row in status.get("models") or ()}
    interval = revalidation_interval(obj, view)
    seen = [
        observe(
            model,
            access_of(model, subject.namespace),
            rows.get(model.name),
            view,
            judged=judged,
            interval=interval,
            now=now,
        )
        for model in subject.models
    ]
    lookups = tuple(lookup for one in seen for lookup in one.lookups)
    requeue_at = min((one.recheck_at for one in seen if one.recheck_at), default=None)
    if not all(one.settled for one in seen):
        return Plan(lookups=lookups, requeue_at=requeue_at)
    verdict = judge(
        subject,
        {one.model.name: one.facts for one in seen},
        view.policies,
        view.references,
        no_match=view.no_match,
        now=now,
        trusted_signers=view.trusted_signers,
    )
    admitted = verdict.action in ADMITTING and all(one.examined for one in seen)
    if admitted and _starts(obj):
        lookups += tuple(_ask_again(seen, subject.namespace, now))
        admitted = all(one.fresh for one in seen)
    new_status = _status(obj, subject, seen, verdict, view, admitted, now)
    return Plan(
        lookups=lookups,
        entry=_entry(obj, seen, verdict, admitted, now),
        events=tuple(_events(obj, seen, verdict, now)),
        status=merge_patch(status, new_status),
        workload=_workload_action(obj, view) if admitted else None,
        requeue_at=requeue_at,
        verdict=verdict,
    )


def last_result(obj: Mapping[str, Any]) -> Result | None:
    """Result of the last verdict, if that is about this generation of the object."""
    status = obj.get("status") or {}
    if status.get("observedGeneration") != obj["metadata"].get("generation"):
        return None
    try:
        return Result(str((status.get("verdict") or {}).get("result")))
    except ValueError:
        return None


def revalidation_interval(obj: Mapping[str, Any], view: View) -> timedelta:
    """How old a resolution may grow before the source is asked again.

    Three quarters of a policy's ``freshness.maxAge``, if that is shorter than what the
    object asks for: otherwise a model would be held because nobody asked in time.
    """
    text = (obj["spec"].get("revalidation") or {}).get("interval")
    try:
        interval = parse_duration(text) if text else INTERVAL_DEFAULT
    except ValueError:
        interval = INTERVAL_DEFAULT
    ages = [
        policy.max_age * 3 / 4
        for policy in view.policies
        if isinstance(policy, Policy) and policy.max_age is not None
    ]
    return max(min([interval, *ages]), INTERVAL_LEAST)


def _previous(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    previous: Mapping[str, Any] = (obj.get("status") or {}).get("verdict") or {}
    return previous


def _entry(
    obj: Mapping[str, Any],
    seen: Sequence[Observation],
    verdict: Verdict,
    admitted: bool,
    now: datetime,
) -> Json | None:
    """Ledger entry of a judgement; none for waiting, and none for the same again.

    A policy with ``onPending: Warn`` may admit what is pending: that is no waiting.
    """
    previous = _previous(obj)
    if verdict.result is Result.PENDING and not admitted:
        return None
    if previous.get("inputsDigest") == str(verdict.inputs_digest):
        return None
    metadata = obj["metadata"]
    return judgement_entry(
        engine=__version__,
        now=now,
        subject=EntryObject(
            kind="ModelDeployment",
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
        ),
        verdict=verdict.to_dict(),
        models=[_entry_model(one) for one in seen],
        after=str(previous.get("decidedAt") or ""),
    )


def _entry_model(one: Observation) -> EntryModel:
    evidence = one.facts.evidence
    lineage = evidence.lineage if evidence is not None else None
    return EntryModel(
        name=one.model.name,
        uri=one.model.uri,
        digest=str(evidence.digest) if evidence is not None else "",
        ancestors=lineage.matches if lineage is not None else (),
        root_digest=str(evidence.root_digest) if evidence is not None else "",
    )


def _events(
    obj: Mapping[str, Any],
    seen: Sequence[Observation],
    verdict: Verdict,
    now: datetime,
) -> list[Json]:
    events = [
        build_event(
            obj,
            type_=WARNING,
            reason=DRIFTED,
            message=(
                f"model {one.model.name!r} at {one.model.uri} changed from "
                f"{one.drifted_from} to {one.digest}; it was examined and judged again"
            ),
            parts=(str(one.drifted_from), str(one.digest)),
            now=now,
        )
        for one in seen
        if one.drifted_from is not None
    ]
    previous = _previous(obj)
    told = ("result", "reason", "action")
    if all(previous.get(name) == str(getattr(verdict, name)) for name in told):
        return events
    calm = verdict.action is Action.ALLOW or verdict.result is Result.PENDING
    verdict_event = build_event(
        obj,
        type_=NORMAL if calm else WARNING,
        reason=str(verdict.reason),
        message=verdict.message,
        parts=(str(verdict.inputs_digest), str(previous.get("decidedAt") or "")),
        now=now,
    )
    return [*events, verdict_event]


def _status(
    obj: Mapping[str, Any],
    subject: Subject,
    seen: Sequence[Observation],
    verdict: Verdict,
    view: View,
    admitted: bool,
    now: datetime,
) -> Json:
    status = obj.get("status") or {}
    generation = obj["metadata"].get("generation", 0)
    workload = _workload_status(obj, view, admitted)
    released = workload_condition(workload, view.outcome if admitted else None)
    conditions = build_conditions(seen, verdict, released)
    new: Json = {
        "observedGeneration": generation,
        "verdict": verdict_status(verdict, _decided_at(obj, verdict, now)),
        "models": [model_row(one, verdict) for one in seen],
        "conditions": merge_conditions(
            status.get("conditions") or (),
            conditions,
            generation=generation,
            now=seconds(now),
        ),
    }
    return new | ({"workload": workload} if workload is not None else {})


def _decided_at(obj: Mapping[str, Any], verdict: Verdict, now: datetime) -> str:
    previous = _previous(obj)
    told = verdict_status(verdict, str(previous.get("decidedAt")))
    return told["decidedAt"] if told == previous else format_time(now)


def _starts(obj: Mapping[str, Any]) -> bool:
    """Whether there is a workload that has not been started yet."""
    asked = _asked_workload(obj)
    return asked is not None and not _was_started(obj, *asked)


def _ask_again(
    seen: Sequence[Observation], namespace: str, now: datetime
) -> Iterator[Resolve]:
    """Lookups without which the workload would start on what was true long ago."""
    for one in seen:
        waits = one.failure is not None and now < one.failure.retry_at
        if not (one.fresh or waits or one.lookups):
            yield Resolve(access_of(one.model, namespace))


def _workload_status(obj: Mapping[str, Any], view: View, admitted: bool) -> Json | None:
    """``status.workload``; what was released once is never said to be held again."""
    asked = _asked_workload(obj)
    if asked is None:
        return None
    kind, name = asked
    state = Progress.HELD
    if _was_started(obj, kind, name):
        state = Progress(obj["status"]["workload"]["state"])
    elif admitted and "ref" in obj["spec"]["workload"]:
        state = Progress.RELEASED
    elif admitted and view.outcome is not None and not view.outcome.refused:
        state = Progress.CREATED
    return {"kind": kind, "name": name, "state": str(state)}


def _asked_workload(obj: Mapping[str, Any]) -> tuple[str, str] | None:
    """Kind and name of the workload that the object asks for."""
    asked = obj["spec"].get("workload") or {}
    if "ref" in asked:
        return asked["ref"]["kind"], asked["ref"]["name"]
    return ("Deployment", obj["metadata"]["name"]) if "template" in asked else None


def _was_started(obj: Mapping[str, Any], kind: str, name: str) -> bool:
    before = (obj.get("status") or {}).get("workload") or {}
    same = before.get("kind") == kind and before.get("name") == name
    return same and before.get("state") in (Progress.CREATED, Progress.RELEASED)


def _workload_action(
    obj: Mapping[str, Any], view: View
) -> EnsureDeployment | ReleasePods | None:
    asked = obj["spec"].get("workload") or {}
    if "template" in asked:
        if view.outcome is not None and view.outcome.template == template_digest(obj):
            return None
        return EnsureDeployment(build_deployment(obj))
    if "ref" in asked:
        name = asked["ref"]["name"]
        pods = tuple(pod for pod in view.gated_pods if belongs_to(pod, name))
        return ReleasePods(pods) if pods else None
    return None
