# SPDX-License-Identifier: Apache-2.0
"""One model against all known ones.

The p-values hold over the whole scan: every comparison is corrected for the number of
references, those included that were not worth comparing.  The order in which references
are given changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pedigree.evidence import Lineage, Match
from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.classes import LineageClass
from pedigree.lineage.compare import compare, run_test
from pedigree.lineage.results import Comparison
from pedigree.registry.candidates import (
    Candidates,
    all_numbers,
    candidates,
    fingerprints_of,
)
from pedigree.registry.folder import Registry
from pedigree.registry.references import ReferenceSet

if TYPE_CHECKING:
    from pedigree.lineage.merges import MergeFinding
    from pedigree.lineage.siblings import Sibling

_RANK = {
    LineageClass.IDENTICAL: 0,
    LineageClass.DERIVED: 1,
    LineageClass.COMMON_ANCESTOR: 2,
    LineageClass.SHARED_INIT: 3,
    LineageClass.INCONCLUSIVE: 4,
    LineageClass.NO_EVIDENCE: 5,
}


SCREEN_NEAR = ("HASH", "ALIGN-neuron", "ALIGN-residual", "EMB")
"""Tests that a reference is screened with that is near, but not nearer than chance
would bring one: the cheap ones that see the faintest likeness."""
SCREEN_SHAPED = ("HASH", "MATCH", "QF")
"""Tests that a reference of the same shape is screened with: those that see through
rearranged weights."""
SCREEN_ADAPTED = ("HASH", "ADAPT")
"""Tests that a reference is screened with when an adapter is asked about."""
SCREEN_LOG10_P = -3.0
"""A screened reference is compared if a test gives this, uncorrected: one in 170
unrelated ones is compared for nothing."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One reference, and what the model is to it (as B to A)."""

    reference: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan of a registry found.

    Attributes:
        ranked: References that were compared, best first.
        references: How many the registry holds; p-values are corrected for all.
        screened: How many were only screened, and showed nothing.
        incomparable: Names of references that follow another format or salt.
        siblings: References that were made from another one as the model was.
        merge: What combination of references the model is, if it is one.
    """

    ranked: tuple[Ranked, ...]
    references: int
    screened: int
    incomparable: tuple[str, ...]
    siblings: Mapping[str, Sibling] = field(default_factory=dict)
    merge: MergeFinding | None = None

    @property
    def far(self) -> int:
        """References that no code and no shape brought near enough to look at."""
        seen = len(self.ranked) + self.screened + len(self.incomparable)
        return self.references - seen


def scan_registry(
    fingerprint: Fingerprint,
    registry: Registry,
    *,
    exhaustive: bool = False,
    power: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Find the references of a registry that a model descends from.

    Args:
        fingerprint: Of the model.
        registry: Known models; entries of the kit are left to :mod:`kit`.
        exhaustive: Whether to compare every reference, near or not.
        power: Whether to compute what each negative would have seen.
        progress: Told (references looked at, references to look at), once for each
            of three rounds.

    Raises:
        PedigreeError: A reference that has to be looked at is damaged or away; it is
            not left out.
    """
    chosen = candidates(registry, fingerprint)
    if exhaustive:
        chosen = Candidates(tuple(all_numbers(registry)))
    family = fingerprints_of(registry)
    looking = _Looking(fingerprint, registry, family, power, progress)
    looking.look(dict.fromkeys(chosen.compared, ()))
    looking.look(
        {
            number: SCREEN_NEAR * (number in chosen.near)
            + SCREEN_SHAPED * (number in chosen.shaped)
            + SCREEN_ADAPTED * (number in chosen.adapted)
            for number in chosen.screened
        }
    )
    if not any(r.comparison.lineage.descends for r in looking.ranked):
        looking.look(dict.fromkeys(sorted(chosen.later), SCREEN_SHAPED))
    together = _together(
        fingerprint,
        looking.ranked,
        registry.fingerprint,
        lambda name: _recorded(registry, name),
    )
    return replace(
        together,
        references=family,
        screened=looking.screened,
        incomparable=tuple(sorted(looking.incomparable)),
    )


def _recorded(registry: Registry, name: str) -> tuple[str, ...]:
    found = registry.find(name)
    if found is None:
        return ()
    return tuple(parent.name for parent in found[0].entry(found[1]).parents)


def _together(
    fingerprint: Fingerprint,
    ranked: Sequence[Ranked],
    references: Callable[[str], Fingerprint],
    parents: Callable[[str], Sequence[str]],
) -> Scan:
    """References ranked, with what they say of one another."""
    if sum(r.comparison.lineage.descends for r in ranked) < 2:
        return Scan(tuple(sorted(ranked, key=_order)), len(ranked), 0, ())
    # Only needed for relatives, and takes time to load.
    from pedigree.registry.kinship import settle

    told = settle(
        fingerprint, {r.reference: r.comparison for r in ranked}, references, parents
    )
    settled = [Ranked(name, c) for name, c in told.comparisons.items()]

    def order(item: Ranked) -> tuple[int, float, tuple[int, int, float, str]]:
        distance = told.distances.get(item.reference, 0.0)
        return (_RANK[item.comparison.lineage], distance, _order(item))

    return Scan(
        tuple(sorted(settled, key=order)),
        len(ranked),
        0,
        (),
        siblings=told.siblings,
        merge=told.merge,
    )


@dataclass(slots=True)
class _Looking:
    """What was found so far."""

    fingerprint: Fingerprint
    registry: Registry
    family: int
    power: bool
    progress: Callable[[int, int], None] | None
    ranked: list[Ranked] = field(default_factory=list)
    incomparable: list[str] = field(default_factory=list)
    screened: int = 0

    def look(self, numbers: Mapping[int, Sequence[str]]) -> None:
        """Compare references that show anything in the given tests; all if none."""
        for done, (number, tests) in enumerate(numbers.items(), start=1):
            table, place = self.registry.at(number)
            reference = self.registry.fingerprint_at(table, place)
            if reference.settings != self.fingerprint.settings:
                self.incomparable.append(table.name(place))
            elif tests and not _shows(reference, self.fingerprint, tests):
                self.screened += 1
            else:
                found = compare(
                    reference,
                    self.fingerprint,
                    family_size=self.family,
                    power=self.power,
                )
                self.ranked.append(Ranked(table.name(place), found))
            if self.progress is not None:
                self.progress(done, len(numbers))


def _shows(a: Fingerprint, b: Fingerprint, names: Sequence[str]) -> bool:
    """Whether screening finds anything; stops at the first test that does."""
    results = (run_test(name, a, b, alpha_log10=None) for name in dict.fromkeys(names))
    return any(r.ran and r.log10_p <= SCREEN_LOG10_P for r in results)


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
    compared = compare_all(fingerprint, references)
    ranked = _together(
        fingerprint, compared, references.__getitem__, lambda _: ()
    ).ranked
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
