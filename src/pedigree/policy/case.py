# SPDX-License-Identifier: Apache-2.0
"""One model under one policy, with everything that is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pedigree.digests import Digest
from pedigree.evidence import NO_TRUST, Match
from pedigree.lineage.classes import LineageClass
from pedigree.policy.facts import ModelFacts
from pedigree.policy.references import Reference, Trust
from pedigree.policy.subject import SubjectModel
from pedigree.policy.terms import AllowedAncestors, DeniedAncestors, Policy
from pedigree.policy.verdict import Action, Cause, Reason, Result
from pedigree.policy.wording import bounded, name


@dataclass(frozen=True, slots=True)
class Case:
    """One model under one policy.

    Attributes:
        policy: The policy.
        model: The model.
        facts: What is known about it.
        references: Every known reference, by name.
        registry: Identity of the references that can be compared with now.
        now: The time of judging.
        trusted_signers: Digest of the set of signers that are trusted now.
    """

    policy: Policy
    model: SubjectModel
    facts: ModelFacts
    references: Mapping[str, Reference]
    registry: Digest
    now: datetime
    trusted_signers: Digest = NO_TRUST

    @property
    def who(self) -> str:
        """``model 'base'``."""
        return f"model {name(self.model.name)}"

    @property
    def asks_for_ancestors(self) -> bool:
        """Whether the policy cares where a model comes from."""
        return any(
            isinstance(rule, AllowedAncestors | DeniedAncestors)
            for rule in self.policy.rules
        )

    def says(self, rule: str) -> str:
        """``rule 'r' of policy 'p'``."""
        return f"rule {name(rule)} of policy {name(self.policy.key)}"

    def trust(self, reference: str) -> Trust | None:
        """Trust in a reference; None when it is not known."""
        known = self.references.get(reference)
        return known.trust if known is not None else None

    def cause(
        self, reason: Reason, message: str, result: Result, action: Action, rule: str
    ) -> Cause:
        """A ground of this policy against this model, its enforcement applied."""
        return Cause(
            reason=reason,
            message=bounded(message),
            field=self.model.field_path,
            result=result,
            action=self.policy.enforcement.soften(action),
            policy=self.policy.key,
            rule=rule,
        )

    def fails(self, reason: Reason, message: str, rule: str) -> Cause:
        """A rule that is broken."""
        return self.cause(reason, message, Result.FAIL, Action.DENY, rule)

    def unknown(self, reason: Reason, message: str) -> Cause:
        """What ``onUnknown`` answers."""
        action = self.policy.on_unknown
        text = f"{message}; policy {name(self.policy.key)} says onUnknown: {action}"
        return self.cause(reason, text, Result.UNKNOWN, action, "onUnknown")

    def pending(self, reason: Reason, message: str) -> Cause:
        """What ``onPending`` answers."""
        action = self.policy.on_pending
        text = f"{message}; policy {name(self.policy.key)} says onPending: {action}"
        return self.cause(reason, text, Result.PENDING, action, "onPending")

    def error(self, reason: Reason, message: str) -> Cause:
        """What ``onError`` answers."""
        action = self.policy.on_error
        text = f"{message}; policy {name(self.policy.key)} says onError: {action}"
        return self.cause(reason, text, Result.ERROR, action, "onError")


@dataclass(frozen=True, slots=True)
class Descent:
    """What the weights say about a model's ancestors, compared with today's references.

    Attributes:
        matches: All matches, strongest first.
        readable: Whether there was a fingerprint to compare.
        omitted: How many further matches were left out for want of room.
        references: How many references were compared.
    """

    matches: tuple[Match, ...] = ()
    readable: bool = True
    omitted: int = 0
    references: int = 0

    @property
    def ancestors(self) -> tuple[Match, ...]:
        """References the model descends from."""
        return tuple(match for match in self.matches if match.lineage.descends)

    @property
    def inconclusive(self) -> tuple[Match, ...]:
        """References that could not be compared."""
        return tuple(
            match
            for match in self.matches
            if match.lineage is LineageClass.INCONCLUSIVE
        )


def descent_of(case: Case) -> Descent | None:
    """The descent to judge; None as long as the model must be compared again."""
    evidence = case.facts.evidence
    if evidence is None:
        return None
    lineage = evidence.lineage
    if lineage is not None and lineage.registry_digest == case.registry:
        return Descent(
            lineage.matches, True, max(lineage.omitted, 0), lineage.references
        )
    if evidence.fingerprint is None:
        # Nothing will ever be compared: not pending, but unknown for good.
        return Descent(readable=False)
    return None


def is_expired(case: Case) -> bool:
    """Whether the resolution is older than the policy's freshness allows."""
    if case.policy.max_age is None:
        return False
    resolved = case.facts.resolved_at
    return resolved is None or _aware(case.now) - _aware(resolved) > case.policy.max_age


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
