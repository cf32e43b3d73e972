# SPDX-License-Identifier: Apache-2.0
"""Digest over everything a verdict depends on.

Not in it: the time itself (only whether it makes evidence too old), who applied the
object, its uid and generation, and policies that do not select it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pedigree.digests import Digest
from pedigree.evidence import NO_TRUST, Evidence, match_to_dict, signatures_to_dict
from pedigree.policy.canonical import stable_digest
from pedigree.policy.facts import UNSEEN, ModelFacts
from pedigree.policy.references import Reference
from pedigree.policy.subject import Subject, SubjectModel
from pedigree.policy.terms import (
    BrokenPolicy,
    ChatTemplateRule,
    Policy,
    SignatureRule,
)
from pedigree.policy.verdict import Action, PolicyUse


def policy_use(policy: Policy | BrokenPolicy) -> PolicyUse:
    """That a policy took part, and in which version."""
    return PolicyUse(policy.key, policy.uid, policy.generation, policy.digest)


def policies_digest(policies: Sequence[Policy | BrokenPolicy]) -> Digest:
    """Identity of a set of policies: their names and texts, wherever they are kept."""
    return stable_digest(sorted([item.key, str(item.digest)] for item in policies))


def inputs_digest(
    subject: Subject,
    facts: Mapping[str, ModelFacts],
    policies: Sequence[Policy | BrokenPolicy],
    references: Mapping[str, Reference],
    no_match: Action,
    expired: Sequence[tuple[str, str]],
    trusted_signers: Digest = NO_TRUST,
) -> Digest:
    """Digest over everything the verdict depends on.

    Args:
        subject: What is judged.
        facts: What is known, by model name.
        policies: Those that take part.
        references: Known references; their chat templates are not in it unless a policy
            asks for templates.
        no_match: What happens to what no policy covers.
        expired: Pairs (policy, model) whose freshness has run out.
        trusted_signers: Which signers are trusted; not in it unless a policy asks who
            signed.
    """
    signed = _asks(policies, SignatureRule)
    templates = _asks(policies, ChatTemplateRule)
    return stable_digest(
        {
            **({"trustedSigners": str(trusted_signers)} if signed else {}),
            "subject": _subject(subject),
            "facts": {
                model.name: _facts(facts.get(model.name, UNSEEN), signed)
                for model in subject.models
            },
            "policies": sorted((_policy(item) for item in policies), key=str),
            "references": sorted(
                (_reference(item, templates) for item in references.values()), key=str
            ),
            "noMatch": str(no_match),
            "expired": sorted(list(pair) for pair in expired),
        }
    )


def _subject(subject: Subject) -> dict[str, Any]:
    return {
        "kind": subject.kind,
        "namespace": subject.namespace,
        "name": subject.name,
        "labels": dict(subject.labels),
        "models": [_model(model) for model in subject.models],
        "problem": subject.problem,
    }


def _model(model: SubjectModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "role": model.role,
        "uri": model.uri,
        "expectedDigest": str(model.expected_digest or ""),
        "claims": dict(model.claims),
        "field": model.field_path,
        "problem": model.problem,
    }


def _asks(
    policies: Sequence[Policy | BrokenPolicy],
    kind: type[SignatureRule] | type[ChatTemplateRule],
) -> bool:
    return any(
        isinstance(rule, kind)
        for policy in policies
        if isinstance(policy, Policy)
        for rule in policy.rules
    )


def _facts(facts: ModelFacts, signed: bool) -> dict[str, Any]:
    evidence = facts.evidence
    told = _evidence(evidence) if evidence is not None else None
    if told is not None and evidence is not None and signed:
        found = evidence.signatures
        told["signatures"] = signatures_to_dict(found) if found else None
    return {
        "state": str(facts.state),
        "reason": str(facts.reason or ""),
        "evidence": told,
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    lineage = evidence.lineage
    return {
        "digest": str(evidence.digest),
        "formats": list(evidence.formats),
        "fingerprint": str(evidence.fingerprint or ""),
        "findings": [
            [item.reason, str(item.severity), item.path, item.message]
            for item in evidence.findings
        ],
        "claims": [[item.field, item.value, item.source] for item in evidence.claims],
        "lineage": None
        if lineage is None
        else {
            "registry": str(lineage.registry_digest),
            "references": lineage.references,
            "matches": [match_to_dict(match) for match in lineage.matches],
            "omitted": lineage.omitted,
        },
    }


def _policy(policy: Policy | BrokenPolicy) -> list[Any]:
    return [
        policy.kind,
        policy.key,
        policy.uid,
        policy.generation,
        str(policy.digest),
        isinstance(policy, BrokenPolicy),
    ]


def _reference(reference: Reference, templates: bool) -> list[Any]:
    found = reference.chat_templates
    told = None if found is None else sorted(found)
    return [
        *([told] if templates else []),
        reference.name,
        reference.generation,
        str(reference.trust),
        reference.family,
        reference.publisher,
        sorted(reference.aliases),
        reference.fingerprint,
    ]
