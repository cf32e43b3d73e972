# SPDX-License-Identifier: Apache-2.0
"""Verdict: the opinion under a policy, a value and never an exception."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pedigree.digests import Digest


class Result(StrEnum):
    """What the policies make of the evidence.  Closed set; a metric label."""

    PASS = "Pass"  # noqa: S105 - a verdict, not a password
    WARN = "Warn"
    FAIL = "Fail"
    UNKNOWN = "Unknown"
    """The evidence is complete and names no known ancestor."""
    PENDING = "Pending"
    """Evidence is still being gathered."""
    ERROR = "Error"
    """No evidence could be gathered, or a policy could not be evaluated."""


class Action(StrEnum):
    """What is to be done, the policies' enforcement mode applied.

    Strictness grows in the order of definition; several policies give the strictest.
    """

    ALLOW = "Allow"
    WARN = "Warn"
    HOLD = "Hold"
    """The object is admitted, its workload waits."""
    DENY = "Deny"


class Reason(StrEnum):
    """Why.  Closed set: condition reason, metric label, status.reason, JSON."""

    LINEAGE_VERIFIED = "LineageVerified"
    LINEAGE_DENIED = "LineageDenied"
    LINEAGE_NOT_ALLOWED = "LineageNotAllowed"
    LINEAGE_UNKNOWN = "LineageUnknown"
    LINEAGE_INCONCLUSIVE = "LineageInconclusive"
    ANCESTOR_REVOKED = "AncestorRevoked"
    CLAIM_CONTRADICTED = "ClaimContradicted"
    CLAIM_UNVERIFIABLE = "ClaimUnverifiable"
    FORMAT_NOT_ALLOWED = "FormatNotAllowed"
    NOT_PINNED = "NotPinned"
    NOT_SIGNED = "NotSigned"
    TEMPLATE_DIFFERS = "TemplateDiffers"
    DIGEST_MISMATCH = "DigestMismatch"
    ARTIFACT_INVALID = "ArtifactInvalid"
    EVIDENCE_PENDING = "EvidencePending"
    EVIDENCE_STALE = "EvidenceStale"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    SOURCE_REFUSED = "SourceRefused"
    REFERENCE_INVALID = "ReferenceInvalid"
    POLICY_INVALID = "PolicyInvalid"
    NO_MATCHING_POLICY = "NoMatchingPolicy"
    NOT_SYNCED = "NotSynced"
    AUDIT_UNAVAILABLE = "AuditUnavailable"
    INTERNAL_ERROR = "InternalError"


CAUSES_MAX = 16
"""Causes in a verdict, strictest first; more would not fit into a status."""
POLICIES_MAX = 16
"""Policies listed in the JSON form; the digest covers all of them."""

_STRICTNESS = {action: rank for rank, action in enumerate(Action)}


@dataclass(frozen=True, slots=True)
class Cause:
    """One ground for a verdict.

    Attributes:
        reason: Why.
        message: A sentence the tenant understands.
        field: Path in the judged object, such as ``spec.models[0].source``.
        result: What this ground alone would make of it.
        action: What this ground alone would do.
        policy: The policy that holds it, as ``name`` or ``namespace/name``.
        rule: Name of the rule in that policy, or of its ``on...`` field.
    """

    reason: Reason
    message: str
    field: str
    result: Result
    action: Action
    policy: str = ""
    rule: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "reason": str(self.reason),
            "message": self.message,
            "field": self.field,
            "result": str(self.result),
            "action": str(self.action),
            "policy": self.policy,
            "rule": self.rule,
        }


def by_strictness(cause: Cause) -> int:
    """Sort key: strictest action first."""
    return -_STRICTNESS[cause.action]


@dataclass(frozen=True, slots=True)
class PolicyUse:
    """That a policy took part: which, and in which version."""

    name: str
    uid: str
    generation: int
    digest: Digest

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "name": self.name,
            "uid": self.uid,
            "generation": self.generation,
            "digest": str(self.digest),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The opinion on one object under all policies that match it.

    Attributes:
        result: What the policies make of the evidence.
        action: What is to be done; the strictest over policies.
        reason: Why; that of the first cause with the strictest action.
        message: A sentence the tenant understands; that of the same cause.
        causes: The grounds that are not a plain pass, strictest first; at most
            ``CAUSES_MAX``.
        policies: The policies that took part, sorted by name.
        policy_digest: Digest over those policies.
        inputs_digest: Digest over everything the verdict depends on, so that equal
            digests mean that nothing need be judged again.
    """

    result: Result
    action: Action
    reason: Reason
    message: str
    causes: tuple[Cause, ...]
    policies: tuple[PolicyUse, ...]
    policy_digest: Digest
    inputs_digest: Digest

    def to_dict(self) -> dict[str, Any]:
        """JSON form: as in ``status.verdict``, ledger entries and ``gate --json``."""
        return {
            "result": str(self.result),
            "action": str(self.action),
            "reason": str(self.reason),
            "message": self.message,
            "causes": [cause.to_dict() for cause in self.causes],
            "policies": [use.to_dict() for use in self.policies[:POLICIES_MAX]],
            "policyDigest": str(self.policy_digest),
            "inputsDigest": str(self.inputs_digest),
        }
