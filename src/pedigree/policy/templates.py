# SPDX-License-Identifier: Apache-2.0
"""Compares a model's chat templates with those of what its weights descend from.

A template is a program with words of its own, run for every request.  On copied or
tuned weights a changed one is worth a look, and no test on weights can see it.
"""

from __future__ import annotations

from collections.abc import Iterator

from pedigree.evidence import Evidence
from pedigree.evidence.chat_templates import ChatTemplates, chat_templates
from pedigree.policy import wording
from pedigree.policy.case import Case, Descent
from pedigree.policy.references import Reference, Trust
from pedigree.policy.terms import ChatTemplateRule
from pedigree.policy.verdict import Action, Cause, Reason, Result


def template_causes(
    case: Case, evidence: Evidence, descent: Descent, rule: ChatTemplateRule
) -> Iterator[Cause]:
    """Every template of the model must be one of the same trusted ancestor.

    As where ancestors are allowed, one ancestor is enough, and neither an untrusted
    one counts nor one that looks like the model's descendant.
    """
    found = chat_templates(evidence.claims)
    if found.complete and not found.told:
        return
    bases = _bases(case, descent)
    known = [base for base in bases if base.chat_templates is not None]
    if not bases:
        yield from _without_base(case, descent, rule)
    elif any(not _foreign(found, base) for base in known):
        if not found.complete:
            what = "has more chat templates than its evidence has room for"
            yield _unknown(case, rule, Reason.LINEAGE_INCONCLUSIVE, what)
    elif len(known) < len(bases):
        names = wording.some(base.name for base in bases if base not in known)
        what = f"has a chat template, and those of its base {names} are not known"
        yield _unknown(case, rule, Reason.LINEAGE_INCONCLUSIVE, what)
    else:
        yield _differs(case, rule, found, known[0])


def _bases(case: Case, descent: Descent) -> list[Reference]:
    found = (
        case.references.get(match.reference)
        for match in descent.ancestors
        if not wording.is_reversed(match)
    )
    return [item for item in found if item is not None and item.trust is Trust.TRUSTED]


def _foreign(found: ChatTemplates, base: Reference) -> list[tuple[str, str]]:
    """Digest and place of each template that the base does not have."""
    return [
        (claim.value, claim.source)
        for claim in found.told
        if claim.value not in (base.chat_templates or ())
    ]


def _without_base(
    case: Case, descent: Descent, rule: ChatTemplateRule
) -> Iterator[Cause]:
    if not descent.ancestors and case.asks_for_ancestors:
        return  # the same is told of the ancestors themselves
    if descent.readable:
        reason = Reason.LINEAGE_UNKNOWN
        what = "descends from no trusted reference that it could be compared with"
    else:
        reason = Reason.LINEAGE_INCONCLUSIVE
        what = "no weights that show whose it should be"
    yield _unknown(case, rule, reason, f"has a chat template, and {what}")


def _differs(
    case: Case, rule: ChatTemplateRule, found: ChatTemplates, base: Reference
) -> Cause:
    foreign = _foreign(found, base)
    digest, place = foreign[0]
    others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    theirs = base.chat_templates or ()
    has = " or ".join(theirs[:2]) or "none"
    more = f" or {len(theirs) - 2} more" if len(theirs) > 2 else ""
    return case.cause(
        Reason.TEMPLATE_DIFFERS,
        f"{case.who} has the chat template {digest} in {wording.name(place)}{others}, "
        f"but its base {wording.name(base.name)} has {has}{more}; read the difference, "
        f"or serve it with the template of its base ({case.says(rule.name)})",
        Result.FAIL if rule.differs is Action.DENY else Result.WARN,
        rule.differs,
        rule.name,
    )


def _unknown(case: Case, rule: ChatTemplateRule, reason: Reason, what: str) -> Cause:
    """What ``onUnknown`` answers, but never more than a known difference would get."""
    asked = case.policy.on_unknown
    if rule.differs is Action.DENY or asked in (Action.ALLOW, Action.WARN):
        return case.unknown(reason, f"{case.who} {what}")
    text = f"{case.who} {what} ({case.says(rule.name)})"
    return case.cause(reason, text, Result.UNKNOWN, Action.WARN, rule.name)
