# SPDX-License-Identifier: Apache-2.0
"""Every ground that one policy has against one model, in the order of its rules."""

from __future__ import annotations

from collections.abc import Iterator

from pedigree.errors import quote
from pedigree.evidence import Evidence, Severity
from pedigree.policy import wording
from pedigree.policy.ancestry import (
    allowed_causes,
    denied_causes,
    doubt_causes,
    revoked_causes,
)
from pedigree.policy.case import Case, Descent, descent_of, is_expired
from pedigree.policy.claims import claim_causes
from pedigree.policy.facts import FactState
from pedigree.policy.signed import signature_causes
from pedigree.policy.subject import is_pinned
from pedigree.policy.templates import template_causes
from pedigree.policy.terms import (
    AllowedAncestors,
    ChatTemplateRule,
    ClaimsRule,
    DeniedAncestors,
    Format,
    FormatsRule,
    PinnedRequirement,
    PinnedRule,
    Rule,
    SignatureRule,
)
from pedigree.policy.verdict import Cause, Reason
from pedigree.refs import Scheme

_FINDINGS_TOLD = 4


def model_causes(case: Case) -> Iterator[Cause]:
    """Judge one model under one policy.

    A rule that the object alone can break is judged before there is evidence, so that
    the author hears of it at once.
    """
    model, facts = case.model, case.facts
    if model.problem or model.ref is None:
        problem = model.problem or f"{quote(model.uri)} is no model reference"
        yield case.error(Reason.REFERENCE_INVALID, f"{case.who}: {problem}")
        return
    if facts.state is FactState.KNOWN and facts.evidence is not None:
        yield from _known(case, facts.evidence)
        return
    for rule in case.policy.rules:
        if isinstance(rule, PinnedRule):
            yield from _pinned(case, rule)
    where = f"{case.who} at {quote(model.uri, 120)}"
    if facts.state is FactState.PENDING:
        why = f": {facts.message}" if facts.message else ""
        yield case.pending(
            facts.reason or Reason.EVIDENCE_PENDING,
            f"{where} has not been examined yet{why}",
        )
    else:
        why = facts.message or "no reason given"
        yield case.error(
            facts.reason or Reason.INTERNAL_ERROR,
            f"{where} could not be examined: {why}",
        )


def _known(case: Case, evidence: Evidence) -> Iterator[Cause]:
    invalid = tuple(_invalid(case, evidence))
    yield from invalid
    descent = descent_of(case)
    if descent is not None:
        yield from revoked_causes(case, descent)
    for rule in case.policy.rules:
        yield from _rule_causes(case, evidence, descent, rule)
    if descent is None:
        yield case.pending(
            Reason.EVIDENCE_STALE,
            f"{case.who} has not been compared with today's reference models yet",
        )
    elif descent.readable or not invalid:
        yield from doubt_causes(case, descent)
    if is_expired(case):
        # Rules are judged all the same: waiting must never turn a denial into less.
        yield case.pending(
            Reason.EVIDENCE_STALE,
            f"{case.who} was last resolved longer ago than the policy's freshness "
            "allows; it is looked up again",
        )


def _rule_causes(
    case: Case, evidence: Evidence, descent: Descent | None, rule: Rule
) -> Iterator[Cause]:
    match rule:
        case FormatsRule():
            yield from _formats(case, evidence, rule)
        case PinnedRule():
            yield from _pinned(case, rule)
        case SignatureRule():
            yield from signature_causes(case, evidence, rule)
        case AllowedAncestors() if descent is not None:
            yield from allowed_causes(case, descent, rule)
        case DeniedAncestors() if descent is not None:
            yield from denied_causes(case, descent, rule)
        case ClaimsRule() if descent is not None:
            yield from claim_causes(case, descent, rule)
        case ChatTemplateRule() if descent is not None:
            yield from template_causes(case, evidence, descent, rule)


def _invalid(case: Case, evidence: Evidence) -> Iterator[Cause]:
    errors = [item for item in evidence.findings if item.severity is Severity.ERROR]
    for finding in errors[:_FINDINGS_TOLD]:
        place = quote(finding.path, 120)
        told = not finding.path or place in finding.message
        at = "" if told else f" in {place}"
        yield case.fails(
            Reason.ARTIFACT_INVALID,
            f"{case.who} is not sound: {finding.reason}{at}: {finding.message}; its "
            "publisher must correct the files",
            "findings",
        )


def _formats(case: Case, evidence: Evidence, rule: FormatsRule) -> Iterator[Cause]:
    found = evidence.formats or (Format.NONE.value,)
    refused = [item for item in found if _format(item) not in rule.allowed]
    if refused:
        yield case.fails(
            Reason.FORMAT_NOT_ALLOWED,
            f"{case.who} stores weights as {wording.some(refused)}, but "
            f"{case.says(rule.name)} allows only {wording.some(sorted(rule.allowed))}; "
            "convert the weights or leave those files out",
            rule.name,
        )


def _format(found: str) -> str:
    return found if found in set(Format) else Format.OTHER.value


def _pinned(case: Case, rule: PinnedRule) -> Iterator[Cause]:
    model = case.model
    if is_pinned(model):
        return
    is_file = model.ref is not None and model.ref.scheme is Scheme.FILE
    if is_file and rule.required is PinnedRequirement.EXCEPT_FILES:
        return
    advice = "set expectedDigest" if is_file else "name a commit or set expectedDigest"
    yield case.fails(
        Reason.NOT_PINNED,
        f"{case.who} at {quote(model.uri, 120)} may change under the same name, but "
        f"{case.says(rule.name)} wants pinned references; {advice}",
        rule.name,
    )
