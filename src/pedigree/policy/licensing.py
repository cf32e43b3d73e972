# SPDX-License-Identifier: Apache-2.0
"""What stored evidence says of the licences of a model's bases: no rule, no verdict.

Evidence does not list files, so that nothing is said of licence and notice files here;
``pedigree scan`` looks at them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pedigree.errors import PedigreeError
from pedigree.evidence import Evidence, Finding, Match
from pedigree.evidence.licences import Base, licence_indicators
from pedigree.lineage.classes import LineageClass
from pedigree.policy import wording
from pedigree.policy.references import Reference, named
from pedigree.refs import Scheme, parse


def licence_findings(
    evidence: Evidence, references: Mapping[str, Reference]
) -> list[Finding]:
    """Indicators for a model whose lineage is known.

    Args:
        evidence: Of the model.
        references: Every known reference, by name.
    """
    matches = evidence.lineage.matches if evidence.lineage is not None else ()
    bases = [
        Base(match.reference, references[match.reference].license, _kind(match))
        for match in matches
        if match.lineage.descends
        and not wording.is_reversed(match)
        and match.reference in references
    ]
    declared = (claim.value for claim in evidence.claims if claim.field == "baseModel")
    bases += declared_bases(declared, references.values())
    published = (resolution.uri for resolution in evidence.resolutions)
    names = [claim.value for claim in evidence.claims if claim.field == "modelName"]
    names += filter(None, map(name_on_hub, published))
    return licence_indicators(evidence.claims, bases, None, names)


def declared_bases(names: Iterable[str], references: Iterable[Reference]) -> list[Base]:
    """Known references that a model names as its bases; what it says, not what is."""
    known = list(references)
    return [
        Base(reference.name, reference.license, verified=False)
        for name in names
        for reference in named(name, known)
    ]


def name_on_hub(uri: str) -> str:
    """What a model is called on the Hub; empty for one of another place."""
    try:
        ref = parse(uri)
    except PedigreeError:
        return ""
    return ref.location.rpartition("/")[2] if ref.scheme is Scheme.HUB else ""


def _kind(match: Match) -> str:
    same = match.lineage is LineageClass.IDENTICAL
    return match.lineage.value if same else match.relation
