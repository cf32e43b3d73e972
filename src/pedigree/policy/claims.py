# SPDX-License-Identifier: Apache-2.0
"""Compares what is claimed about a model's base with what its weights say.

A base is claimed by name.  A name means a reference if it is that reference's name or
one of its aliases (:func:`~pedigree.policy.references.named`): exactly, but for case, a
Hub address and a revision.  Nothing is guessed from likeness; what no reference is
called is unverifiable, never contradicted.  A claimed relation is looked at where a
claimed base is borne out, and differing from it is worth a warning at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pedigree.errors import quote
from pedigree.evidence import Match
from pedigree.lineage.classes import LineageClass
from pedigree.policy import wording
from pedigree.policy.case import Case, Descent
from pedigree.policy.references import Reference, named
from pedigree.policy.relations import fits_first
from pedigree.policy.terms import ClaimsRule
from pedigree.policy.verdict import Action, Cause, Reason, Result

FIELD = "baseModel"
RELATION = "relation"


def claim_causes(case: Case, descent: Descent, rule: ClaimsRule) -> Iterator[Cause]:
    """Judge every claimed base model: the object's own, then the artifact's."""
    seen: set[str] = set()
    for claimed, where in _claims(case, FIELD):
        if claimed not in seen:
            seen.add(claimed)
            yield from _judge(case, descent, rule, claimed, where)
    yield from _relations(case, descent, rule, seen)


def _claims(case: Case, field: str) -> Iterator[tuple[str, str]]:
    own = case.model.claims.get(field)
    if own:
        yield own, f"{case.model.field_path}.claims.{field}"
    evidence = case.facts.evidence
    for claim in evidence.claims if evidence is not None else ():
        if claim.field == field and claim.value:
            yield claim.value, claim.source


def _relations(
    case: Case, descent: Descent, rule: ClaimsRule, bases: Iterable[str]
) -> Iterator[Cause]:
    """A claimed kind of descent that the match with a claimed base excludes."""
    meant = {
        reference.name
        for base in bases
        for reference in named(base, case.references.values())
    }
    borne_out = [match for match in descent.ancestors if match.reference in meant]
    seen: set[str] = set()
    for claimed, where in _claims(case, RELATION):
        told = [fits_first(claimed, _kind(match)) for match in borne_out]
        if told and all(fit is False for fit in told) and claimed not in seen:
            seen.add(claimed)
            yield case.cause(
                Reason.CLAIM_CONTRADICTED,
                f"{case.who} claims in {where} to be {quote(claimed, 64)} of its base, "
                f"but its weights say it {wording.descents(borne_out)}; correct the "
                f"claim ({case.says(rule.name)})",
                Result.WARN,
                Action.WARN,
                rule.name,
            )


def _kind(match: Match) -> str:
    if match.lineage is LineageClass.IDENTICAL:
        return match.lineage.value
    return match.relation


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
        else f"its weights show no descent from {wording.some(r.name for r in meant)} "
        f"or any other of the {descent.references} references they were compared with"
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
