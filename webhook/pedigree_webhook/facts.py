# SPDX-License-Identifier: Apache-2.0
"""From what the store knows to the facts that policies are evaluated on."""

from __future__ import annotations

from collections.abc import Mapping

from pedigree.policy.facts import UNSEEN, FactState, ModelFacts
from pedigree.policy.subject import Subject, SubjectModel, is_pinned, scope_of
from pedigree.policy.verdict import Reason
from pedigree_webhook.evidence_index import EvidenceIndex


def facts_for(subject: Subject, evidence: EvidenceIndex) -> Mapping[str, ModelFacts]:
    """What is known about each model of a subject, by the model's name."""
    return {
        model.name: _facts(model, subject.namespace, evidence)
        for model in subject.models
    }


def no_facts(
    subject: Subject, reason: Reason, message: str
) -> Mapping[str, ModelFacts]:
    """That nothing may be taken as known about any model, and why."""
    failed = ModelFacts(FactState.FAILED, reason=reason, message=message)
    return dict.fromkeys((model.name for model in subject.models), failed)


def _facts(model: SubjectModel, namespace: str, evidence: EvidenceIndex) -> ModelFacts:
    known = evidence.get(model.uri, scope_of(model.uri, namespace, model.secret))
    if known is None:
        return UNSEEN
    if known.evidence is None:
        return ModelFacts(
            FactState.FAILED, reason=Reason.INTERNAL_ERROR, message=known.problem
        )
    return ModelFacts(
        FactState.KNOWN,
        evidence=known.evidence,
        resolved_at=known.resolved_at,
        pinned=is_pinned(model),
    )
