# SPDX-License-Identifier: Apache-2.0
"""Who came first: marks that later training does not undo.

Likeness is symmetric and never orients an edge.  What does is a *mark* that one model
has and the other lacks: a lattice, zeros, untouched rows that shrank, layers that are
missing or there twice, experts, fewer neurons, more tokens.  The model with the mark is
the later one, *if* one descends from the other.

Marks on both sides speak for a common ancestor, and are told; but two models alone are
never called so.  A common ancestor is not descent, so policies let it pass, and every
mark can be had or lost at will: a little noise, or a rotation, removes zeros and
lattices, and rounding sets one.  It takes a third model to tell (``siblings``).

The owner of a copy can set marks on it and remove others: direction is for telling a
family's history, not against forgery.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pedigree.fingerprint.slots import FEW_BITS, QUANTISED
from pedigree.lineage.adapt import is_adapter
from pedigree.lineage.classes import Direction
from pedigree.lineage.findings import DirectionFinding
from pedigree.lineage.forensics import Forensics
from pedigree.lineage.relation import PRUNED_SHARE

LATTICE, ZEROS, FOSSIL, STRUCTURE, ADAPTER, SLOPE = (
    "lattice",
    "zeros",
    "fossil",
    "structure",
    "adapter",
    "slope",
)
HOLDS, HOLDS_NOT = 0.9, 0.85
"""Slopes of a model that the other holds whole, and of one that it does not."""
ENOUGH = 2.5
"""Log-odds from which on a direction is stated: 12 to 1."""
_ODDS = {
    "lattice": 5.0,
    "zeros": 4.0,
    "fossil": 5.0,
    "fossil hint": 1.5,
    "layers": 3.5,
    "repeated": 5.0,
    "experts": 5.0,
    "neurons": 3.0,
    "tokens": 2.5,
    "adapter": 9.0,
    "slope": 2.0,
}
"""Natural log-odds of each kind of mark.  The lattice's is that of quantised models to
be leaves (99.41 % in a survey of a public hub, Horwitz et al. 2025); the others are
conventions in that scale, ordered by how often the reverse is seen."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """All evidence of direction, and what it comes to.

    Attributes:
        direction: Stated only without strong evidence against it.
        evidence: Sentences, or empty.
        findings: Every mark.
    """

    direction: Direction
    evidence: str
    findings: tuple[DirectionFinding, ...]


@dataclass(frozen=True, slots=True)
class _Mark:
    on_b: bool
    kind: str
    what: str
    evidence: str


def orient(of: Forensics) -> Orientation:
    """Weigh all marks of a related pair."""
    marks = list(_marks(of))
    findings = tuple(_finding(mark) for mark in marks)
    towards_b = sum(x.log_odds for x in findings if x.direction is Direction.A_TO_B)
    towards_a = sum(x.log_odds for x in findings if x.direction is Direction.B_TO_A)
    said = "; ".join(mark.evidence for mark in marks)
    if min(towards_a, towards_b) >= ENOUGH:
        return Orientation(
            Direction.UNDIRECTED,
            f"the evidence points both ways, as between relatives that were each "
            f"changed: {said}",
            findings,
        )
    said = "; ".join(x.evidence for x in findings if x.log_odds >= ENOUGH)
    direction = Direction.UNDIRECTED
    if towards_b - towards_a >= ENOUGH:
        direction = Direction.A_TO_B
    elif towards_a - towards_b >= ENOUGH:
        direction = Direction.B_TO_A
    if direction is Direction.UNDIRECTED:
        said = ""
    return Orientation(direction, said, findings)


def combined(findings: Sequence[DirectionFinding]) -> float:
    """Sum of log-odds that B is the later model; negative if A is."""
    return sum(
        x.log_odds if x.direction is Direction.A_TO_B else -x.log_odds for x in findings
    )


def _finding(mark: _Mark) -> DirectionFinding:
    return DirectionFinding(
        kind=mark.kind,
        direction=Direction.A_TO_B if mark.on_b else Direction.B_TO_A,
        log_odds=_ODDS[mark.what],
        evidence=mark.evidence,
    )


def _marks(of: Forensics) -> Iterator[_Mark]:
    if of.fired("ADAPT"):
        which = "A" if is_adapter(of.a) else "B"
        yield _Mark(
            which == "B", ADAPTER, "adapter", f"{which} is an adapter of the other"
        )
        return
    yield from _lattice(of)
    yield from _zeros(of)
    yield from _fossil(of)
    yield from _layers(of)
    yield from _sizes(of)
    yield from _slope(of)


def _lattice(of: Forensics) -> Iterator[_Mark]:
    if bool(of.lattice_a) != bool(of.lattice_b):
        on_b = bool(of.lattice_b)
        which, other = ("B", "A") if on_b else ("A", "B")
        if QUANTISED in (of.a if on_b else of.b).notes:
            return  # both were rounded, to lattices of which one is too fine to be seen
        kind = of.lattice_b or of.lattice_a
        yield _Mark(
            on_b,
            LATTICE,
            "lattice",
            f"{which} lies on a {kind} lattice and {other} does not; rounding is not "
            "undone",
        )


def _zeros(of: Forensics) -> Iterator[_Mark]:
    if abs(of.zeros_a - of.zeros_b) < PRUNED_SHARE:
        return
    on_b = of.zeros_b > of.zeros_a
    sparse, other = (of.b, of.a) if on_b else (of.a, of.b)
    rounded = FEW_BITS in sparse.notes
    if rounded and QUANTISED in other.notes:
        return
    cause = "rounding to few bits" if rounded else "pruning"
    yield _Mark(
        on_b,
        ZEROS,
        "zeros",
        f"{of.zeros_a:.0%} of A's and {of.zeros_b:.0%} of B's weights are zero; "
        f"{cause} is not undone by training",
    )


def _fossil(of: Forensics) -> Iterator[_Mark]:
    fossil = of.fossil
    if fossil is None or not (fossil.oriented or fossil.hints):
        return
    on_b = fossil.shrunk > fossil.grown
    which, other = ("B", "A") if on_b else ("A", "B")
    factor = fossil.factor if on_b else 1 / fossil.factor
    yield _Mark(
        on_b,
        FOSSIL,
        "fossil" if fossil.oriented else "fossil hint",
        f"{fossil.rows} embedding rows of {which} are {factor:.4f} times those of "
        f"{other}, as weight decay leaves rows that training never touches: if one "
        f"descends from the other it is {which}",
    )


def _layers(of: Forensics) -> Iterator[_Mark]:
    shape = of.structure
    if shape is None:
        return
    for layers, on_b in ((shape.experts, True), (shape.experts_a, False)):
        if layers:
            which = "B" if on_b else "A"
            yield _Mark(
                on_b,
                STRUCTURE,
                "experts",
                f"the experts of {which} are copies of one block of the other",
            )
    for layers, on_b in ((shape.repeated, True), (shape.repeated_a, False)):
        if layers:
            which = "B" if on_b else "A"
            yield _Mark(
                on_b,
                STRUCTURE,
                "repeated",
                f"{which} has {len(layers)} layers of the other more than once",
            )
    if bool(shape.missing) != bool(shape.added) and not (
        shape.repeated or shape.repeated_a
    ):
        on_b = bool(shape.missing)
        which, other = ("B", "A") if on_b else ("A", "B")
        gone = len(shape.missing or shape.added)
        yield _Mark(
            on_b,
            STRUCTURE,
            "layers",
            f"{which} has a part of the layers of {other}, {gone} fewer",
        )


def _sizes(of: Forensics) -> Iterator[_Mark]:
    first, second = of.a.shape, of.b.shape
    experts = [any(e >= 0 for _, e in x.blocks) for x in (of.a, of.b)]
    dense = experts[0] == experts[1] and first.neurons and second.neurons
    if dense and first.neurons != second.neurons:
        on_b = second.neurons < first.neurons
        which, other = ("B", "A") if on_b else ("A", "B")
        yield _Mark(
            on_b,
            STRUCTURE,
            "neurons",
            f"the blocks of {which} have fewer neurons than those of {other}",
        )
    if first.vocabulary != second.vocabulary and of.fired("EMB"):
        on_b = second.vocabulary > first.vocabulary
        which, other = ("B", "A") if on_b else ("A", "B")
        extra = abs(second.vocabulary - first.vocabulary)
        yield _Mark(
            on_b,
            STRUCTURE,
            "tokens",
            f"{which} has the embedding rows of {other} and {extra} more",
        )


def _slope(of: Forensics) -> Iterator[_Mark]:
    """A leaning only: averaging models makes the average look like the origin."""
    spectrum = of.spectrum
    if spectrum is None:
        return
    forward, back = spectrum.slope_ab, spectrum.slope_ba
    if max(forward, back) >= HOLDS and min(forward, back) <= HOLDS_NOT:
        on_b = forward > back
        which, other = ("B", "A") if on_b else ("A", "B")
        yield _Mark(
            on_b,
            SLOPE,
            "slope",
            f"{which} holds {other} whole (slope {max(forward, back):.2f}) and not the "
            f"reverse ({min(forward, back):.2f})",
        )
