# SPDX-License-Identifier: Apache-2.0
"""From a verdict of the policies to the answer a requester reads.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from pedigree.digests import Digest
from pedigree.evidence import NO_TRUST
from pedigree.policy.evaluate import judge, selected_policies
from pedigree.policy.facts import ModelFacts
from pedigree.policy.subject import Subject
from pedigree.policy.terms import Enforcement
from pedigree.policy.verdict import Action, Cause, Reason, Result, Verdict
from pedigree_webhook.decision import (
    CAUSES_MAX,
    MESSAGE_MAX_CHARS,
    WARNING_MAX_CHARS,
    WARNINGS_MAX,
    Basis,
    Decision,
    JudgedModel,
    plain,
)
from pedigree_webhook.facts import facts_for, no_facts
from pedigree_webhook.review import StatusCause
from pedigree_webhook.store import Snapshot


@dataclass(frozen=True, slots=True)
class Judged:
    """A subject, what was known of it, and what the policies make of that.

    Attributes:
        subject: The object.
        facts: What was known, by model name.
        verdict: The policies' opinion.
        enforced: Whether one of them is in ``Enforce``.
    """

    subject: Subject
    facts: Mapping[str, ModelFacts]
    verdict: Verdict
    enforced: bool

    @property
    def models(self) -> tuple[JudgedModel, ...]:
        """The models with digest and ancestors, where these are known."""
        return tuple(
            _model(model.name, model.uri, self.facts.get(model.name))
            for model in self.subject.models
        )


def judge_now(
    subject: Subject,
    snapshot: Snapshot,
    *,
    now: datetime,
    no_match: Action,
    trusted_signers: Digest = NO_TRUST,
) -> Judged:
    """Judge on everything that is known."""
    facts = facts_for(subject, snapshot.evidence)
    return _judged(
        subject,
        facts,
        snapshot,
        now=now,
        no_match=no_match,
        trusted_signers=trusted_signers,
    )


def judge_blind(
    subject: Subject, snapshot: Snapshot, why: str, *, now: datetime, no_match: Action
) -> Judged:
    """Judge as if gathering evidence had failed: every policy's ``onError``.

    Args:
        subject: The object.
        snapshot: For its policies; its evidence is not looked at.
        why: Why nothing may be taken as known.
        now: Wall clock.
        no_match: What happens to what no policy matches.
    """
    facts = no_facts(subject, Reason.EVIDENCE_STALE, why)
    return _judged(subject, facts, snapshot, now=now, no_match=no_match)


def _judged(
    subject: Subject,
    facts: Mapping[str, ModelFacts],
    snapshot: Snapshot,
    *,
    now: datetime,
    no_match: Action,
    trusted_signers: Digest = NO_TRUST,
) -> Judged:
    policies = snapshot.policies_for(subject.namespace)
    verdict = judge(
        subject,
        facts,
        policies,
        snapshot.references,
        no_match=no_match,
        now=now,
        trusted_signers=trusted_signers,
    )
    enforced = any(
        policy.enforcement is Enforcement.ENFORCE
        for policy in selected_policies(subject, policies)
    )
    return Judged(subject, facts, verdict, enforced)


def _model(name: str, uri: str, facts: ModelFacts | None) -> JudgedModel:
    evidence = facts.evidence if facts is not None else None
    if evidence is None:
        return JudgedModel(name, uri, "", ())
    matches = evidence.lineage.matches if evidence.lineage is not None else ()
    return JudgedModel(
        name, uri, str(evidence.digest), matches, str(evidence.root_digest)
    )


def decision_of(judged: Judged, called: str, basis: Basis | None = None) -> Decision:
    """The answer that follows from a verdict.

    Args:
        judged: The verdict and what it rests on.
        called: The object, for messages.
        basis: What to call the ground; None takes it from the verdict.
    """
    verdict = judged.verdict
    return Decision(
        action=verdict.action,
        basis=_basis(verdict) if basis is None else basis,
        reason=str(verdict.reason),
        message=plain(verdict.message, MESSAGE_MAX_CHARS),
        causes=tuple(
            StatusCause(
                str(cause.reason), plain(cause.message, MESSAGE_MAX_CHARS), cause.field
            )
            for cause in _grounds(verdict, Action.DENY)
        ),
        warnings=_warnings(_spoken(judged, called)),
        verdict=verdict,
        models=judged.models,
        enforced=judged.enforced,
    )


def advise(decision: Decision, judged: Judged, called: str) -> Decision:
    """An admission that stands whatever the verdict, with the verdict as a warning."""
    verdict = judged.verdict
    spoken: Iterable[str] = ()
    if verdict.action in (Action.DENY, Action.HOLD):
        fate = "refused" if verdict.action is Action.DENY else "held"
        spoken = [
            f"{called} is admitted because its models did not change; created now it "
            f"would be {fate}: {verdict.message}"
        ]
    elif verdict.action is Action.WARN:
        spoken = (cause.message for cause in _grounds(verdict, Action.WARN))
    return replace(
        decision, verdict=verdict, models=judged.models, warnings=_warnings(spoken)
    )


def _basis(verdict: Verdict) -> Basis:
    if verdict.result is Result.PENDING:
        return Basis.PENDING
    if verdict.reason is Reason.NO_MATCHING_POLICY:
        return Basis.NO_POLICY
    return Basis.VERDICT


def _spoken(judged: Judged, called: str) -> Iterable[str]:
    """What the requester is told beside the answer, most important first."""
    verdict = judged.verdict
    if verdict.action is Action.DENY:
        # kubectl shows only status.message, so further grounds are said here.
        told = verdict.message
        return (
            cause.message
            for cause in _grounds(verdict, Action.DENY, Action.HOLD, Action.WARN)
            if cause.message != told
        )
    heard = [cause.message for cause in _grounds(verdict, Action.HOLD, Action.WARN)]
    if verdict.action is Action.HOLD:
        heard.insert(
            0, f"{called} is admitted, but its workload is held until it is verified"
        )
    return heard


def _grounds(verdict: Verdict, *actions: Action) -> tuple[Cause, ...]:
    found = tuple(cause for cause in verdict.causes if cause.action in actions)
    return found[:CAUSES_MAX]


def _warnings(texts: Iterable[str]) -> tuple[str, ...]:
    short = (plain(text, WARNING_MAX_CHARS) for text in texts)
    return tuple(dict.fromkeys(text for text in short if text))[:WARNINGS_MAX]
