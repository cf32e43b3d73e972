# SPDX-License-Identifier: Apache-2.0
"""Judges who signed a model, and what of it the signature does not cover."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pedigree.evidence import NO_TRUST, Evidence, Signature
from pedigree.policy import wording
from pedigree.policy.case import Case
from pedigree.policy.selection import glob_matches
from pedigree.policy.terms import SignatureRequirement, SignatureRule
from pedigree.policy.verdict import Cause, Reason


def signature_causes(
    case: Case, evidence: Evidence, rule: SignatureRule
) -> Iterator[Cause]:
    """One signature must be valid, by a named signer, and cover what counts.

    Signatures that were verified under other trusted signers than today's say nothing:
    a signer may since have been taken out for a stolen key.
    """
    if evidence.confined_to:
        yield case.fails(
            Reason.NOT_SIGNED,
            f"{case.who} was examined in its own namespace, where what is found could "
            f"be tampered with, and {case.says(rule.name)} wants a signature; publish "
            "it where the operator can read it",
            rule.name,
        )
        return
    signatures = evidence.signatures
    if signatures is None or signatures.trust != case.trusted_signers:
        yield case.pending(
            Reason.EVIDENCE_STALE,
            f"{case.who} has not been looked at for signatures of the signers that are "
            f"trusted today, which {case.says(rule.name)} asks for",
        )
        return
    found = signatures.found
    if not found and rule.required is SignatureRequirement.WHERE_SIGNED:
        return
    objections = [_objection(rule, item) for item in found]
    if not all(objections) and found:
        return
    why = objections[0] if objections else "it has no signature"
    by = f" by {wording.some(rule.signers)}" if rule.signers else ""
    nobody = (
        "; no signer is trusted here, see signatures.trust of the chart, or "
        "--trusted-key and its like of the command"
        if case.trusted_signers == NO_TRUST
        else ""
    )
    yield case.fails(
        Reason.NOT_SIGNED,
        f"{case.who} is not signed as {case.says(rule.name)} wants{by}: {why}{nobody}; "
        "have it signed, or deploy a signed one",
        rule.name,
    )


def _objection(rule: SignatureRule, item: Signature) -> str:
    """Why a signature does not do; empty when it does."""
    where = wording.name(item.path)
    if not item.valid:
        return f"the signature {where} is not accepted ({item.reason})"
    if rule.signers and item.signer not in rule.signers:
        return f"the signature {where} is by {wording.name(item.signer)}"
    for what, names, count, allowed in (
        ("does not cover", item.unsigned, item.unsigned_files, rule.unsigned),
        ("leaves out", item.ignored, item.ignored_files, rule.ignored),
    ):
        beyond = _beyond(names, allowed)
        if beyond:
            return f"the signature {where} {what} {wording.some(beyond)}"
        if count > len(names) and "*" not in allowed:
            more = count - len(names)
            return f"the signature {where} {what} {more} more files, untold here"
    return ""


def _beyond(names: Iterable[str], allowed: Sequence[str]) -> list[str]:
    """Names that no pattern allows."""
    return [
        name
        for name in names
        if not any(glob_matches(pattern, name) for pattern in allowed)
    ]
