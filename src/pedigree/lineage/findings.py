# SPDX-License-Identifier: Apache-2.0
"""What forensics say of two related models.  Values only, no numerics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pedigree.lineage.classes import Direction

Numbers = tuple[tuple[str, float], ...]
"""What a sentence rests on, by name."""


class Relation(StrEnum):
    """Kinds of descent; several can hold.  In the order in which one is named first."""

    COPY = "Copy"
    """The same weights in the same places."""
    ADAPTER = "Adapter"
    """A low-rank adapter trained on top of the other."""
    REARRANGED = "Rearranged"
    """The same tensors in other places."""
    UPCYCLED = "Upcycled"
    """Experts made from one feed-forward block."""
    DEPTH_UPSCALED = "DepthUpscaled"
    """Layers of the other, some of them more than once."""
    LAYERS_DROPPED = "LayersDropped"
    """Some layers of the other are missing."""
    LAYERS_REORDERED = "LayersReordered"
    """The layers of the other, in another order."""
    WIDTH_PRUNED = "WidthPruned"
    """Fewer neurons in each feed-forward block."""
    PRUNED = "Pruned"
    """Many weights became zero."""
    VOCABULARY_CHANGED = "VocabularyChanged"
    """Another tokenizer: rows added, taken away, or assigned anew."""
    QUANTISED = "Quantised"
    """The weights lie on a coarse lattice near those of the other."""
    MERGED = "Merged"
    """A combination of several models."""
    LORA_MERGED = "LoraMerged"
    """The difference of each changed matrix has a low rank."""
    LAUNDERED = "Laundered"
    """Alike only in what permuting, rotating and rescaling cannot change."""
    CONTINUED_PRETRAINING = "ContinuedPretraining"
    """The weights moved far, by the convention of ``delta.FAR``."""
    FINE_TUNED = "FineTuned"
    """The weights moved a little."""
    PARTIAL_COPY = "PartialCopy"
    """Some matrices are equal value by value, the others differ."""
    DERIVED = "Derived"
    """Related, and no more is known."""


@dataclass(frozen=True, slots=True)
class RelationFinding:
    """One kind of descent that holds.

    Attributes:
        kind: Which.
        evidence: One sentence.
        numbers: What it rests on.
    """

    kind: Relation
    evidence: str
    numbers: Numbers = ()


@dataclass(frozen=True, slots=True)
class DirectionFinding:
    """One piece of evidence of who came first.

    Attributes:
        kind: ``lattice``, ``fossil``, ``structure``, ``merge`` or ``adapter``.
        direction: Which way it points.
        log_odds: Natural logarithm of the odds that it points the right way: a
            convention, high for what training cannot undo.
        evidence: One sentence.
    """

    kind: str
    direction: Direction
    log_odds: float
    evidence: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a block of B comes from.

    Attributes:
        b: Block of B, ``layer`` or ``layer/expert``.
        a: Block of A it matches best.
        score: How well; Z of the test the map is read from, or its effect times 100.
    """

    b: str
    a: str
    score: float


@dataclass(frozen=True, slots=True)
class LayerMap:
    """Which block of A each block of B comes from.

    Attributes:
        test: The test it is read from.
        labels_a: Blocks of A, ``layer`` or ``layer/expert``.
        labels_b: Blocks of B.
        scores: One row per block of A, one column per block of B.
        origins: Blocks of B that match one of A.
        remarks: What is out of the ordinary, one sentence each: missing, repeated,
            moved layers; empty when every block comes from the one at its place.
    """

    test: str
    labels_a: tuple[str, ...]
    labels_b: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    origins: tuple[Origin, ...]
    remarks: tuple[str, ...] = ()
