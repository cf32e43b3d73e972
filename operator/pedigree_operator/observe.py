# SPDX-License-Identifier: Apache-2.0
"""What is known about one model of a ModelDeployment, and what must be asked.  Pure.

A reference is *located* when its source has told its identity; located content is
*known* when evidence records that very identity.  What the object's own status says
bridges restarts: it is believed about content that evidence exists for, and never about
failures or work in progress, which this process must see for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pedigree.digests import Digest
from pedigree.evidence import Evidence
from pedigree.policy.facts import FactState, ModelFacts
from pedigree.policy.subject import SubjectModel, is_pinned
from pedigree.policy.verdict import Reason, Result
from pedigree_operator.access import Access
from pedigree_operator.lookups import Failure, Located, Stage, UriState
from pedigree_operator.moments import read_time
from pedigree_operator.plan import Examine, Resolve, View

EXAMINING = "the model is being examined"
AWAITED_SHOWN = 3
START_AGE = timedelta(minutes=5)
"""How old a resolution may be when a workload starts on it (arbitrary).  Asking again
is one listing; what another object learnt yesterday may no longer be true."""
DOUBTED = frozenset(
    {
        Reason.EVIDENCE_PENDING,
        Reason.SOURCE_UNAVAILABLE,
        Reason.SOURCE_REFUSED,
        Reason.REFERENCE_INVALID,
        Reason.INTERNAL_ERROR,
    }
)
"""Reasons of a row whose ``resolved`` is no longer what the reference means."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the object's status says about a model.

    Attributes:
        located: What its reference meant.
        digest: Model digest of that content.
        pending: Whether that content was in doubt when the status was written.
    """

    located: Located
    digest: Digest
    pending: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One model, as far as it is known.

    Attributes:
        model: As the object names it.
        facts: For the judge.
        fresh: Whether its source was asked just now.
        current: Whether its lineage was compared with today's references, or never
            can be.
        settled: False if this process has yet to see for itself what an earlier one
            left in the status: the last verdict stays meanwhile.
        located: What its reference means; None if that is not known.
        digest: Of the content that the facts are about, or that was known last.
        failure: Why the source cannot be asked just now, whatever the facts.
        lookups: What to ask.
        recheck_at: When to look again.
        drifted_from: The digest that the same reference meant before, if another.
    """

    model: SubjectModel
    facts: ModelFacts
    fresh: bool = False
    current: bool = True
    settled: bool = True
    located: Located | None = None
    digest: Digest | None = None
    failure: Failure | None = None
    lookups: tuple[Resolve | Examine, ...] = ()
    recheck_at: datetime | None = None
    drifted_from: Digest | None = None

    @property
    def known(self) -> bool:
        """Whether there is evidence to judge."""
        return self.facts.state is FactState.KNOWN

    @property
    def examined(self) -> bool:
        """Whether a workload may be started on what is known: nothing is left out."""
        return self.known and self.current


def read_recorded(row: Mapping[str, Any] | None, access: Access) -> Recorded | None:
    """What a row of ``status.models`` says about an access; None if nothing.

    What was learnt with another Secret, or with none, says nothing about this one.
    """
    if row is None or row.get("requested") != access.uri or not row.get("resolved"):
        return None
    if row.get("credentialsSecret", "") != access.secret:
        return None
    resolved = row["resolved"]
    try:
        digest = Digest.parse(str(resolved.get("digest")))
    except ValueError:
        return None
    located = Located(
        pinned_uri=str(resolved.get("uri") or access.uri),
        identity=str(resolved.get("identity") or ""),
        at=read_time(resolved.get("resolvedAt")),
    )
    return Recorded(located, digest, row.get("reason") in DOUBTED)


def observe(
    model: SubjectModel,
    access: Access,
    row: Mapping[str, Any] | None,
    view: View,
    *,
    judged: Result | None,
    interval: timedelta,
    now: datetime,
) -> Observation:
    """Find out what is known about one model.

    Args:
        model: As the object names it.
        access: How the object reaches it.
        row: Its row in ``status.models``, if there is one.
        view: Everything around it.
        judged: Result of the last verdict, if that is about this generation.
        interval: How old a resolution may grow before the source is asked again.
        now: The time.
    """
    if model.ref is None:
        return _invalid(model)
    state = view.lookup(access)
    recorded = read_recorded(row, access)
    trusted = recorded if recorded is not None and not recorded.pending else None
    first = trusted is None and not _is_fresh(state.located, now)
    seen = None if first else state.located
    asked = located = seen or (trusted.located if trusted else None)
    digest = _content(access, located, trusted, view)
    evidence = view.evidence(digest, access.namespace) if digest is not None else None
    facts = _facts(model, state, located, evidence, view, judged)
    if evidence is None and recorded is not None:
        located, digest = recorded.located, recorded.digest
    last = recorded.digest if recorded is not None else digest
    unseen = state.located is None and state.failure is None and evidence is None
    stale = evidence is not None and digest == last and _rescanning(evidence, view)
    return Observation(
        model=model,
        facts=facts,
        fresh=state.failure is None and _is_fresh(state.located, now),
        current=evidence is None or _is_current(evidence, view),
        settled=judged is None or not (unseen or stale),
        located=located,
        digest=digest,
        failure=state.failure,
        lookups=_lookups(access, state, asked, evidence, interval, now),
        recheck_at=_recheck_at(state, asked, evidence, interval),
        drifted_from=last if last != digest else None,
    )


def _invalid(model: SubjectModel) -> Observation:
    reason = Reason.REFERENCE_INVALID
    facts = ModelFacts(FactState.FAILED, reason=reason, message=model.problem)
    return Observation(model=model, facts=facts)


def _content(
    access: Access, located: Located | None, trusted: Recorded | None, view: View
) -> Digest | None:
    if located is None:
        return None
    for name in (access.uri, located.pinned_uri):
        digest = view.content.get((access.scope, name, located.identity))
        if digest is not None:
            return digest
    if located.digest is not None:
        return located.digest
    if trusted is not None and trusted.located.identity == located.identity:
        return trusted.digest
    return None


def _facts(
    model: SubjectModel,
    state: UriState,
    located: Located | None,
    evidence: Evidence | None,
    view: View,
    judged: Result | None,
) -> ModelFacts:
    if evidence is not None and located is not None:
        if view.references_awaited and judged in (None, Result.PENDING):
            return _awaiting(view.references_awaited)
        return ModelFacts(
            FactState.KNOWN,
            evidence=evidence,
            resolved_at=located.at,
            pinned=is_pinned(model),
        )
    if state.failure is not None:
        return ModelFacts(
            FactState.FAILED,
            reason=state.failure.reason,
            message=state.failure.message,
        )
    return _pending(EXAMINING)


def _awaiting(names: tuple[str, ...]) -> ModelFacts:
    """A verdict that does not know all references yet could admit what they deny."""
    some = ", ".join(names[:AWAITED_SHOWN])
    more = f" and {len(names) - AWAITED_SHOWN} more" if names[AWAITED_SHOWN:] else ""
    return _pending(f"waiting for reference models to be read: {some}{more}")


def _pending(message: str) -> ModelFacts:
    reason = Reason.EVIDENCE_PENDING
    return ModelFacts(FactState.PENDING, reason=reason, message=message)


def _is_fresh(located: Located | None, now: datetime) -> bool:
    return located is not None and now < located.at + START_AGE


def _rescanning(evidence: Evidence, view: View) -> bool:
    """Whether the lineage is stale and will be brought up to date."""
    return (
        not _is_current(evidence, view)
        and evidence.object_name not in view.rescan_failed
    )


def _is_current(evidence: Evidence, view: View) -> bool:
    """Whether there is nothing to compare with today's references any more."""
    lineage = evidence.lineage
    return evidence.fingerprint is None or (
        lineage is not None and lineage.registry_digest == view.registry
    )


def _lookups(
    access: Access,
    state: UriState,
    located: Located | None,
    evidence: Evidence | None,
    interval: timedelta,
    now: datetime,
) -> tuple[Resolve | Examine, ...]:
    if state.stage is not Stage.IDLE:
        # Asked again all the same: it makes the object one that is woken at the end.
        same = Resolve if state.stage is Stage.RESOLVING else Examine
        return (same(access),)
    if state.failure is not None and now < state.failure.retry_at:
        return ()
    if located is None or located.at + interval <= now:
        return (Resolve(access),)
    if evidence is not None or now < located.examine_after():
        return ()
    return (Examine(access),)


def _recheck_at(
    state: UriState,
    located: Located | None,
    evidence: Evidence | None,
    interval: timedelta,
) -> datetime | None:
    if state.failure is not None:
        return state.failure.retry_at
    if located is not None and located.digest is not None and evidence is None:
        return located.examine_after()
    return located.at + interval if located is not None else None
