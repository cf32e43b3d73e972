# SPDX-License-Identifier: Apache-2.0
"""One model against all known ones.

The p-values hold over the whole scan: every comparison is corrected for the number of
references.  The order in which references are given changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pedigree.evidence import Lineage, Match
from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.classes import LineageClass
from pedigree.lineage.compare import compare
from pedigree.lineage.results import Comparison
from pedigree.registry.references import ReferenceSet

_RANK = {
    LineageClass.IDENTICAL: 0,
    LineageClass.DERIVED: 1,
    LineageClass.COMMON_ANCESTOR: 2,
    LineageClass.SHARED_INIT: 3,
    LineageClass.INCONCLUSIVE: 4,
    LineageClass.NO_EVIDENCE: 5,
}


@dataclass(frozen=True, slots=True)
class Ranked:
    """One reference, and what the model is to it (as B to A)."""

    reference: str
    comparison: Comparison


def compare_all(
    fingerprint: Fingerprint,
    references: Mapping[str, Fingerprint],
    *,
    power: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Ranked, ...]:
    """Compare a model with every reference.

    Args:
        fingerprint: Of the model.
        references: Fingerprints by name.
        power: Whether to compute what each negative would have seen.
        progress: Told (references done, references in all).

    Returns:
        Every reference, best first: by class, p-value, effect, and name.
    """
    ranked = []
    for done, name in enumerate(sorted(references), start=1):
        comparison = compare(
            references[name], fingerprint, family_size=len(references), power=power
        )
        ranked.append(Ranked(name, comparison))
        if progress is not None:
            progress(done, len(references))
    return tuple(sorted(ranked, key=_order))


def _order(ranked: Ranked) -> tuple[int, int, float, str]:
    found = ranked.comparison
    effect = found.deciding.effect if found.deciding else 0.0
    # Whole decades: p-values at the floor differ by the number of layers only.
    return (_RANK[found.lineage], round(found.log10_p), -effect, ranked.reference)


def scan(
    fingerprint: Fingerprint,
    references: Mapping[str, Fingerprint],
    *,
    now: datetime,
    engine: str,
) -> Lineage:
    """What a model descends from, as evidence.

    Args:
        fingerprint: Of the model.
        references: Fingerprints by name.
        now: When; must know its time zone.
        engine: Version of this program.

    Returns:
        Dependent references best first, then inconclusive ones.
    """
    ranked = compare_all(fingerprint, references)
    told = [r for r in ranked if r.comparison.lineage is not LineageClass.NO_EVIDENCE]
    return Lineage(
        registry_digest=ReferenceSet(references).digest,
        references=len(references),
        matches=tuple(_match(item) for item in told),
        judged_at=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        engine=engine,
    )


def _match(ranked: Ranked) -> Match:
    found = ranked.comparison
    inconclusive = found.lineage is LineageClass.INCONCLUSIVE
    deciding = None if inconclusive else found.deciding
    effect = deciding.effect if deciding else 0.0
    return Match(
        reference=ranked.reference,
        lineage=found.lineage,
        relation=found.relation,
        direction=found.direction,
        log10_p=0 if inconclusive else int(found.log10_p),  # towards zero
        effect_permille=int(max(-1.0, min(1.0, effect)) * 1000),
        test=deciding.name if deciding else "",
        reason=found.reason,
    )
