# SPDX-License-Identifier: Apache-2.0
"""Judges where a model comes from: allowed, denied, revoked, unknown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pedigree.evidence import ESCAPED, Match
from pedigree.policy import wording
from pedigree.policy.case import Case, Descent
from pedigree.policy.references import Reference, Trust
from pedigree.policy.selection import glob_matches
from pedigree.policy.terms import (
    AllowedAncestors,
    Ancestors,
    DeniedAncestors,
    Format,
    FormatsRule,
)
from pedigree.policy.verdict import Cause, Reason

READ_FIRST = (Format.SAFETENSORS, Format.GGUF, Format.PYTORCH)
"""Of several formats the first of these is read, the others are not."""


def names_reference(wanted: Ancestors, reference: Reference) -> bool:
    """Whether a rule means a reference: by name, alias, family or publisher."""
    return (
        any(
            glob_matches(entry, called)
            for entry in wanted.references
            for called in reference.names
        )
        or reference.family in wanted.families
        or reference.publisher in wanted.publishers
    )


def revoked_causes(case: Case, descent: Descent) -> Iterator[Cause]:
    """No policy admits a descendant of a revoked reference."""
    for match in descent.ancestors:
        if case.trust(match.reference) is Trust.REVOKED:
            yield case.fails(
                Reason.ANCESTOR_REVOKED,
                f"{case.who} {wording.descent(match)}, and that reference is revoked; "
                "deploy a model of another ancestry",
                "revoked",
            )


def allowed_causes(
    case: Case, descent: Descent, rule: AllowedAncestors
) -> Iterator[Cause]:
    """At least one ancestor must be allowed.

    One is enough because registered relatives show up together: a descendant of a
    base also matches the registered descendants of that base.  What must never be
    mixed in belongs into a denying rule, and denied beats allowed: where the policy
    also denies an ancestor, that is the one ground told.
    """
    ancestors = descent.ancestors
    if not ancestors or any(_allows(case, rule, match) for match in ancestors):
        return
    if any(_is_denied(case, match) for match in ancestors):
        return
    untrusted = [
        match.reference
        for match in ancestors
        if case.trust(match.reference) is Trust.UNTRUSTED
    ]
    note = f" ({wording.some(untrusted)} is known but untrusted)" if untrusted else ""
    yield case.fails(
        Reason.LINEAGE_NOT_ALLOWED,
        f"{case.who} {wording.descents(ancestors)}{note}, but {case.says(rule.name)} "
        f"allows only descendants of {wording.ancestors(rule.ancestors)}; deploy one "
        "of those, or ask for the ancestor to be allowed",
        rule.name,
    )


def denied_causes(
    case: Case, descent: Descent, rule: DeniedAncestors
) -> Iterator[Cause]:
    """No ancestor may be denied, and none may be hidden by a gap in the evidence."""
    for match in descent.ancestors:
        if _names(case, rule.ancestors, match):
            yield case.fails(
                Reason.LINEAGE_DENIED,
                f"{case.who} {wording.descent(match)}, which {case.says(rule.name)} "
                "denies; deploy a model of another ancestry",
                rule.name,
            )


def doubt_causes(case: Case, descent: Descent) -> Iterator[Cause]:
    """What the evidence leaves open, where the policy asks for ancestors."""
    yield from _uncomparable(case)
    if not case.asks_for_ancestors:
        return
    if not descent.readable:
        yield case.unknown(Reason.LINEAGE_INCONCLUSIVE, _unreadable(case))
        return
    yield from _uncompared(case)
    barred = [match for match in descent.inconclusive if _is_barred(case, match)]
    if barred:
        why = barred[0].reason or "no reason given"
        yield case.unknown(
            Reason.LINEAGE_INCONCLUSIVE,
            f"{case.who} could not be compared with the denied reference "
            f"{wording.name(barred[0].reference)} ({why})",
        )
    elif descent.omitted and _bars_anything(case):
        yield case.unknown(
            Reason.LINEAGE_INCONCLUSIVE,
            f"{case.who} matches {descent.omitted} more references than its evidence "
            "has room for, so that a denied one may be among them",
        )
    elif not descent.ancestors:
        yield case.unknown(
            Reason.LINEAGE_UNKNOWN,
            f"{case.who} descends from none of the {descent.references} references it "
            "was compared with; register its base as a reference model or deploy a "
            "descendant of a known one",
        )


def _uncompared(case: Case) -> Iterator[Cause]:
    """Weights beside those that were compared: nobody knows whose they are."""
    evidence = case.facts.evidence
    if evidence is None:
        return
    found = [item.message for item in evidence.findings if item.reason in ESCAPED]
    if unread := _unread(case, evidence.formats):
        found.append(f"it also stores weights as {wording.some(unread)}, not read here")
    if found:
        yield case.unknown(
            Reason.LINEAGE_INCONCLUSIVE,
            f"{case.who} has weights that were compared with nothing: "
            f"{'; '.join(found)}; leave them out",
        )


def _unread(case: Case, formats: Iterable[str]) -> list[str]:
    """Formats nobody read; a rule on formats has decided about them by itself."""
    if any(isinstance(rule, FormatsRule) for rule in case.policy.rules):
        return []
    found = {*formats}
    read = next((form.value for form in READ_FIRST if form.value in found), "")
    return sorted(found - {read, Format.NONE.value})


def _uncomparable(case: Case) -> Iterator[Cause]:
    """A barred reference without fingerprint: its descendants would pass unseen."""
    missing = sorted(
        reference.name
        for reference in case.references.values()
        if not reference.fingerprint and _bars(case, reference)
    )
    if missing:
        yield case.pending(
            Reason.EVIDENCE_PENDING,
            f"{case.who} cannot be compared with the denied or revoked reference "
            f"{wording.some(missing)} before that has a fingerprint",
        )


def _allows(case: Case, rule: AllowedAncestors, match: Match) -> bool:
    reference = case.references.get(match.reference)
    return (
        reference is not None
        and not wording.is_reversed(match)
        and reference.trust is Trust.TRUSTED
        and names_reference(rule.ancestors, reference)
    )


def _names(case: Case, wanted: Ancestors, match: Match) -> bool:
    known = case.references.get(match.reference)
    return names_reference(wanted, known or Reference(match.reference))


def _is_denied(case: Case, match: Match) -> bool:
    return any(
        isinstance(rule, DeniedAncestors) and _names(case, rule.ancestors, match)
        for rule in case.policy.rules
    )


def _is_barred(case: Case, match: Match) -> bool:
    return _bars(case, case.references.get(match.reference, Reference(match.reference)))


def _bars(case: Case, reference: Reference) -> bool:
    return reference.trust is Trust.REVOKED or any(
        isinstance(rule, DeniedAncestors) and names_reference(rule.ancestors, reference)
        for rule in case.policy.rules
    )


def _bars_anything(case: Case) -> bool:
    return any(_bars(case, reference) for reference in case.references.values())


def _unreadable(case: Case) -> str:
    evidence = case.facts.evidence
    findings = evidence.findings if evidence is not None else ()
    why = f" ({findings[0].reason}: {findings[0].message})" if findings else ""
    return f"{case.who} has no weights that could be compared{why}"
