# SPDX-License-Identifier: Apache-2.0
"""What a model's own files say, held against what its weights say.

A claim about the base can be judged if the other model of the comparison is the one
that is named; names are compared, so this is help for reading, not proof.  Policies
judge claims against a registry instead (:mod:`pedigree.policy.claims`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pedigree.cli.models import Subject
from pedigree.errors import quote
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.policy.relations import fits

if TYPE_CHECKING:
    from pedigree.lineage.results import Comparison
    from pedigree.tensors.remarks import Declared


class Agreement(StrEnum):
    """How a claim stands to the evidence."""

    AGREES = "Agrees"
    CONTRADICTED = "Contradicted"
    NOT_COMPARED = "NotCompared"
    """It is about another model than the one compared."""
    NOT_JUDGED = "NotJudged"
    """Weights do not tell."""


@dataclass(frozen=True, slots=True)
class JudgedClaim:
    """One declaration.

    Attributes:
        side: ``A`` or ``B``, whose it is.
        field: Such as ``baseModel``; see ``docs/claims.md``.
        value: What is declared.
        source: The file that declares it.
        agreement: How it stands to the evidence.
        evidence: Why, for people.
    """

    side: str
    field: str
    value: str
    source: str
    agreement: Agreement
    evidence: str


def judged_claims(a: Subject, b: Subject, found: Comparison) -> list[JudgedClaim]:
    """Claims of both models, B's first: B is the one asked about.

    Raises:
        SourceError: The bytes could not be had.
    """
    return [
        claim
        for side, subject, other in (("B", b, a), ("A", a, b))
        for claim in _judged(side, declared(subject), subject, other, found)
    ]


def declared(subject: Subject) -> list[Declared]:
    """What the model's files declare; nothing for a stored fingerprint."""
    if subject.source is None:
        return []
    from pedigree.examine.claims.reading import read_declarations
    from pedigree.limits import DEFAULT

    metadata = subject.checkpoint.metadata if subject.checkpoint else None
    return read_declarations(subject.source, DEFAULT, metadata)[0]


def _judged(
    side: str,
    claims: Sequence[Declared],
    subject: Subject,
    other: Subject,
    found: Comparison,
) -> Iterator[JudgedClaim]:
    bases = [claim.value for claim in claims if claim.field == "baseModel"]
    named = any(names(base, other) for base in bases)
    for claim in claims:
        if claim.field == "baseModel":
            agreement, evidence = _base(side, claim.value, other, found)
        elif claim.field == "relation":
            agreement, evidence = _relation(claim.value, found, named=named)
        elif claim.field == "architecture":
            family = subject.fingerprint.architecture or "no known family"
            agreement = Agreement.NOT_JUDGED
            evidence = f"the tensors are named and shaped as in {family}"
        else:
            agreement, evidence = Agreement.NOT_JUDGED, "weights do not tell"
        yield JudgedClaim(
            side, claim.field, claim.value, claim.source, agreement, evidence
        )


def names(claimed: str, subject: Subject) -> bool:
    """Whether a claimed name could mean this model: its last part is the same.

    Args:
        claimed: Such as ``org/name``.
        subject: The other model of the comparison.
    """
    own = _last(subject.uri) or _last(subject.name)
    return bool(own) and _last(claimed) == own


def _last(name: str) -> str:
    """Last part of a path or name, without revision."""
    last = name.rstrip("/").rpartition("/")[2].partition("@")[0]
    return last.removesuffix(".fingerprint.safetensors").casefold()


def _base(
    side: str, claimed: str, other: Subject, found: Comparison
) -> tuple[Agreement, str]:
    theirs = "A" if side == "B" else "B"
    if not names(claimed, other):
        return (
            Agreement.NOT_COMPARED,
            f"{quote(claimed, 80)} is not what {theirs} is called",
        )
    if found.lineage is LineageClass.INCONCLUSIVE:
        return Agreement.NOT_JUDGED, f"inconclusive ({found.reason})"
    if not found.lineage.descends:
        return Agreement.CONTRADICTED, f"the weights say {found.lineage}"
    first = Direction.A_TO_B if side == "A" else Direction.B_TO_A
    if found.direction is first:  # descent runs away from the one that claims a base
        return Agreement.CONTRADICTED, f"the weights say that {side} came first"
    return Agreement.AGREES, f"the weights say {found.lineage}"


def _relation(claimed: str, found: Comparison, *, named: bool) -> tuple[Agreement, str]:
    if not named:
        return Agreement.NOT_COMPARED, "its base is another model than the one compared"
    kinds = [str(relation.kind) for relation in found.relations]
    fit = fits(claimed, kinds)
    if fit is None:
        return Agreement.NOT_JUDGED, "the weights say no kind of descent"
    said = f"the weights say {', '.join(kinds)}"
    return (Agreement.AGREES if fit else Agreement.CONTRADICTED), said
