# SPDX-License-Identifier: Apache-2.0
"""The status of policies: are the rules understood, are the references known.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pedigree.policy.references import Reference, named
from pedigree.policy.rules import check_references
from pedigree.policy.selection import is_glob
from pedigree.policy.terms import (
    AllowedAncestors,
    BrokenPolicy,
    DeniedAncestors,
    Policy,
)
from pedigree.policy.verdict import Reason
from pedigree_operator.conditions import (
    Condition,
    ConditionStatus,
    Progress,
    merge_conditions,
)
from pedigree_operator.moments import seconds
from pedigree_operator.status import merge_patch
from pedigree_operator.workloads import Json

READY = "Ready"
REFERENCES_RESOLVED = "ReferencesResolved"


def policy_patch(
    obj: Mapping[str, Any],
    policy: Policy | BrokenPolicy,
    references: Mapping[str, Reference],
    now: datetime,
) -> Json:
    """Merge patch that brings a policy's status up to date; empty if it is."""
    status = obj.get("status") or {}
    generation = obj["metadata"].get("generation", 0)
    conditions = merge_conditions(
        status.get("conditions") or (),
        policy_conditions(policy, references),
        generation=generation,
        now=seconds(now),
    )
    wanted = {"observedGeneration": generation, "conditions": conditions}
    patch: Json = merge_patch(status, {**status, **wanted})
    return patch


def policy_conditions(
    policy: Policy | BrokenPolicy, references: Mapping[str, Reference]
) -> list[Condition]:
    """``Ready`` and ``ReferencesResolved``; messages start with the field's path."""
    if isinstance(policy, BrokenPolicy):
        unread = "the rules cannot be read"
        return [
            _broken(policy.message),
            Condition(
                REFERENCES_RESOLVED,
                ConditionStatus.UNKNOWN,
                Reason.POLICY_INVALID,
                unread,
            ),
        ]
    check = check_references(policy, references)
    if check.breaking:
        ready = _broken("; ".join(map(str, check.breaking)))
    else:
        text = f"{len(policy.rules)} rules are in force"
        ready = Condition(READY, ConditionStatus.TRUE, Progress.RULES_ACCEPTED, text)
    problems = [*check.breaking, *check.notes]
    if problems:
        resolved = Condition(
            REFERENCES_RESOLVED,
            ConditionStatus.FALSE,
            Progress.NOT_FOUND,
            "; ".join(map(str, problems)),
        )
    else:
        resolved = _unread_references(policy, references)
    return [ready, resolved]


def _broken(message: str) -> Condition:
    text = f"{message}; as long as this stands, what the policy enforces is denied"
    return Condition(READY, ConditionStatus.FALSE, Reason.POLICY_INVALID, text)


def _unread_references(
    policy: Policy, references: Mapping[str, Reference]
) -> Condition:
    entries = {
        entry
        for rule in policy.rules
        if isinstance(rule, AllowedAncestors | DeniedAncestors)
        for entry in rule.ancestors.references
        if not is_glob(entry)
    }
    unread = sorted(
        {
            reference.name
            for entry in entries
            for reference in named(entry, references.values())
            if not reference.fingerprint
        }
    )
    if unread:
        return Condition(
            REFERENCES_RESOLVED,
            ConditionStatus.FALSE,
            Progress.NOT_FINGERPRINTED,
            f"no model can be compared with {', '.join(unread)}: "
            "see the status of these reference models",
        )
    text = "every reference model it names is known"
    return Condition(REFERENCES_RESOLVED, ConditionStatus.TRUE, Progress.RESOLVED, text)
