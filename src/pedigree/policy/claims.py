# SPDX-License-Identifier: Apache-2.0
"""Compares what is claimed about a model's base with what its weights say."""

from __future__ import annotations

from collections.abc import Iterator

from pedigree.errors import quote
from pedigree.policy import wording
from pedigree.policy.case import Case, Descent
from pedigree.policy.references import Reference, named
from pedigree.policy.terms import ClaimsRule
from pedigree.policy.verdict import Action, Cause, Reason, Result

FIELD = "baseModel"


def claim_causes(case: Case, descent: Descent, rule: ClaimsRule) -> Iterator[Cause]:
    """Judge every claimed base model: the object's own, then the artifact's."""
    seen: set[str] = set()
    for claimed, where in _claims(case):
        if claimed not in seen:
            seen.add(claimed)
            yield from _judge(case, descent, rule, claimed, where)


def _claims(case: Case) -> Iterator[tuple[str, str]]:
    own = case.model.claims.get(FIELD)
    if own:
        yield own, f"{case.model.field_path}.claims.{FIELD}"
    evidence = case.facts.evidence
    for claim in evidence.claims if evidence is not None else ():
        if claim.field == FIELD and claim.value:
            yield claim.value, claim.source


def _judge(
    case: Case, descent: Descent, rule: ClaimsRule, claimed: str, where: str
) -> Iterator[Cause]:
    meant = named(claimed, case.references.values())
    said = f"{case.who} claims in {where} to descend from {quote(claimed, 120)}"
    if not meant:
        yield from _unverifiable(
            case, rule, f"{said}, which no known reference is called"
        )
        return
    if not descent.readable:
        yield from _unverifiable(
            case, rule, f"{said}, but has no weights that could be compared"
        )
        return
    near = {match.reference for match in descent.ancestors + descent.inconclusive}
    if any(reference.name in near for reference in meant):
        return
    if descent.omitted or not all(reference.fingerprint for reference in meant):
        yield from _unverifiable(
            case, rule, f"{said}, which could not be compared with it"
        )
        return
    yield _contradicted(case, descent, rule, said, meant)


def _contradicted(
    case: Case,
    descent: Descent,
    rule: ClaimsRule,
    said: str,
    meant: tuple[Reference, ...],
) -> Cause:
    ancestors = descent.ancestors
    found = (
        f"its weights say it {wording.descents(ancestors)}"
        if ancestors
        else f"its weights show no descent from {wording.some(r.name for r in meant)}"
    )
    result = Result.FAIL if rule.contradicted is Action.DENY else Result.WARN
    return case.cause(
        Reason.CLAIM_CONTRADICTED,
        f"{said}, but {found}; correct the claim or deploy the model that was claimed "
        f"({case.says(rule.name)})",
        result,
        rule.contradicted,
        rule.name,
    )


def _unverifiable(case: Case, rule: ClaimsRule, message: str) -> Iterator[Cause]:
    if rule.unverifiable is Action.ALLOW:
        return
    result = Result.FAIL if rule.unverifiable is Action.DENY else Result.WARN
    yield case.cause(
        Reason.CLAIM_UNVERIFIABLE,
        f"{message}; name a known reference or drop the claim ({case.says(rule.name)})",
        result,
        rule.unverifiable,
        rule.name,
    )
