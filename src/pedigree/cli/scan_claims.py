# SPDX-License-Identifier: Apache-2.0
"""A scanned model's claims against what the scan found, and the licences of its bases.

Names of a card are matched with names and aliases of references as policies match
them (:mod:`pedigree.policy.claims`); a name that no reference has is not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pedigree.cli.claimed import Agreement, declared
from pedigree.cli.models import Subject
from pedigree.cli.plain_words import related_to
from pedigree.cli.render import print_lines
from pedigree.errors import quote
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.policy.references import Reference, named
from pedigree.policy.relations import fits

if TYPE_CHECKING:
    from pedigree.evidence import Finding
    from pedigree.evidence.licences import Base
    from pedigree.registry import Registry
    from pedigree.registry.path import Step
    from pedigree.registry.scan import Ranked, Scan
    from pedigree.tensors.remarks import Declared

NAMES_MAX = 20_000
"""References whose names are all looked at; of more, those that were compared.
Arbitrary: to make objects of two million takes longer than the scan."""


@dataclass(frozen=True, slots=True)
class ScanClaim:
    """One declaration of a base or a relation.

    Attributes:
        field: ``baseModel`` or ``relation``.
        value: What is declared.
        source: File that declares it.
        agreement: How it stands to what the scan found.
        evidence: What the weights say, with p.
    """

    field: str
    value: str
    source: str
    agreement: Agreement
    evidence: str


@dataclass(frozen=True, slots=True)
class Told:
    """What the files say, held against the scan.

    Attributes:
        claims: Bases and relations.
        licence: Indicators of what the licences of the bases ask for.
    """

    claims: tuple[ScanClaim, ...]
    licence: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON form: ``claims[]`` and ``licence[]``."""
        from pedigree.cli.findings import finding_dicts

        return {
            "claims": [
                {
                    "field": claim.field,
                    "value": claim.value,
                    "source": claim.source,
                    "agreement": str(claim.agreement),
                    "evidence": claim.evidence,
                }
                for claim in self.claims
            ],
            "licence": finding_dicts(self.licence),
        }

    def print(self) -> None:
        """One line for each."""
        for claim in self.claims:
            print_lines(
                f"claim {claim.field} {quote(claim.value, 80)} ({claim.source}): "
                f"{claim.agreement}: {claim.evidence}"
            )
        for finding in self.licence:
            print_lines(f"licence {finding.severity}: {finding.message}")


def told_of(
    subject: Subject, found: Scan, path: Sequence[Step], registry: Registry
) -> Told:
    """Hold what a model's files declare against a scan.

    Raises:
        SourceError: The bytes could not be had.
    """
    said = declared(subject)
    references = _references(
        registry, found, named_bases=any(item.field == "baseModel" for item in said)
    )
    line = {step.name for step in path}
    claims: list[ScanClaim] = []
    borne_out: list[Ranked] = []
    for item in said:
        if item.field == "baseModel":
            meant = {reference.name for reference in named(item.value, references)}
            ranked = [r for r in found.ranked if r.reference in meant]
            borne_out += [r for r in ranked if r.comparison.lineage.descends]
            claims.append(_claim(item, *_base(meant, ranked, line, found)))
    claims += [
        _claim(item, *_relation(item.value, borne_out))
        for item in said
        if item.field == "relation"
    ]
    return Told(tuple(claims), tuple(_licence(subject, said, found, references)))


def _references(
    registry: Registry, found: Scan, *, named_bases: bool
) -> list[Reference]:
    """Names of the references that can be compared; entries of the kit cannot."""
    entries = (
        registry.entries
        if named_bases and len(registry) <= NAMES_MAX
        else [registry.entry(item.reference) for item in found.ranked]
    )
    return [
        Reference(name=entry.name, license=entry.license, aliases=entry.aliases)
        for entry in entries
        if not entry.is_kit
    ]


def _claim(item: Declared, agreement: Agreement, evidence: str) -> ScanClaim:
    return ScanClaim(item.field, item.value, item.source, agreement, evidence)


def _base(
    meant: set[str], ranked: Sequence[Ranked], line: set[str], found: Scan
) -> tuple[Agreement, str]:
    if not meant:
        return Agreement.NOT_COMPARED, "no reference is called that"
    for item in ranked:
        if item.comparison.lineage.descends:
            if item.comparison.direction is Direction.B_TO_A:
                return (
                    Agreement.CONTRADICTED,
                    f"the weights say {_weights(item)}, but that the model came first",
                )
            return Agreement.AGREES, f"the weights say {_weights(item)}"
    if recorded := sorted(meant & line):
        return Agreement.AGREES, f"the line of descent goes through {recorded[0]}"
    for item in ranked:
        if item.comparison.lineage is LineageClass.INCONCLUSIVE:
            return Agreement.NOT_JUDGED, f"inconclusive ({item.comparison.reason})"
    if meant & set(found.incomparable):
        return Agreement.NOT_COMPARED, "it follows another format or salt"
    closest = [r for r in found.ranked if r.comparison.lineage.descends][:1]
    if closest:
        return Agreement.CONTRADICTED, f"the weights say {_weights(closest[0])}"
    return (
        Agreement.CONTRADICTED,
        f"the weights show no descent from any of {found.references} references",
    )


def _weights(item: Ranked) -> str:
    """``Derived from llama-a (FineTuned, log10 p -118.0)``."""
    comparison = item.comparison
    kind = f"{comparison.relation}, " if comparison.relation else ""
    return (
        f"{related_to(comparison.lineage, item.reference)} "
        f"({kind}log10 p {comparison.log10_p:.1f})"
    )


def _relation(claimed: str, borne_out: Sequence[Ranked]) -> tuple[Agreement, str]:
    if not borne_out:
        return Agreement.NOT_COMPARED, "no claimed base was found"
    kinds = [str(kind.kind) for item in borne_out for kind in item.comparison.relations]
    fit = fits(claimed, kinds)
    if fit is None:
        return Agreement.NOT_JUDGED, "the weights say no kind of descent"
    said = f"the weights say {', '.join(dict.fromkeys(kinds))}"
    return (Agreement.AGREES if fit else Agreement.CONTRADICTED), said


def _licence(
    subject: Subject,
    said: Sequence[Declared],
    found: Scan,
    references: Sequence[Reference],
) -> list[Finding]:
    from pedigree.evidence import Claim
    from pedigree.evidence.licences import Base, licence_indicators
    from pedigree.policy.licensing import declared_bases, name_on_hub

    known = {reference.name: reference for reference in references}
    bases: list[Base] = [
        Base(item.reference, known[item.reference].license, item.comparison.relation)
        for item in found.ranked
        if item.comparison.lineage.descends
        and item.comparison.direction is not Direction.B_TO_A
        and item.reference in known
    ]
    bases += declared_bases(
        (item.value for item in said if item.field == "baseModel"), references
    )
    claims = [Claim(item.field, item.value, item.source) for item in said]
    files = None
    if subject.source is not None:
        files = [entry.path for entry in subject.source.files()]
    names = [item.value for item in said if item.field == "modelName"]
    if on_hub := name_on_hub(subject.uri):
        names.append(on_hub)
    return licence_indicators(claims, bases, files, names)
