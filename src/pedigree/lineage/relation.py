# SPDX-License-Identifier: Apache-2.0
"""What kind of descent: every kind that holds, with what it rests on.

Kinds do not exclude each other: a model can be pruned, quantised and have another
vocabulary.  The first in the order of ``findings.Relation`` is named first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.slots import FEW_BITS, QUANTISED
from pedigree.lineage import hash_test
from pedigree.lineage.adapt import is_adapter
from pedigree.lineage.delta import FAR
from pedigree.lineage.findings import Relation, RelationFinding
from pedigree.lineage.forensics import INVARIANT, Forensics
from pedigree.lineage.paired import raw_values

PRUNED_SHARE = 0.2
"""Additional share of zeros that counts as pruning (arbitrary: the usual are 0.3-0.6,
and trained weights that happen to be zero are below 0.01)."""
ROWS_MOVED = 0.2
"""So much less alike than the layers are the rows of tokens that were assigned anew
(measured: 0.33 and 0.85 less after a rebuilt tokenizer, at most 0.07 otherwise)."""
QUANTISED_MAX = 0.2
"""Relative change that rounding to 4 bits explains (measured: 0.1 for groups of 32)."""
FEW_BITS_MAX = 0.75
"""The same for fewer bits (measured on made weights: 0.26 for 3, 0.53 for 2 and 0.55
for 1.5, where the other has more; 0.68 between two of 2 and 1.5)."""

_Finder = Callable[[Forensics], "RelationFinding | None"]


def relations(of: Forensics) -> tuple[RelationFinding, ...]:
    """Every kind of descent that holds, the one to name first first; never empty."""
    order = list(Relation)
    found = [x for finder in _FINDERS for x in _optional(finder(of))]
    kinds = {x.kind for x in found}
    change = _change(of, kinds)
    if change is not None:
        found.append(change)
    if not found:
        found.append(RelationFinding(Relation.DERIVED, "no more than that is known"))
    return tuple(sorted(found, key=lambda x: order.index(x.kind)))


def _optional(found: RelationFinding | None) -> Iterable[RelationFinding]:
    return () if found is None else (found,)


def _adapter(of: Forensics) -> RelationFinding | None:
    test = of.tests.get("ADAPT")
    if test is None or not of.fired("ADAPT"):
        return None
    which = "A" if is_adapter(of.a) else "B"
    other = "B" if which == "A" else "A"
    return RelationFinding(
        Relation.ADAPTER,
        f"the factors of {which} point along the weights of {other} "
        f"(mean cosine {test.effect:.2f} above chance)",
        (("effect", test.effect), ("z", test.z)),
    )


def _rearranged(of: Forensics) -> RelationFinding | None:
    if not hash_test.same_tensors(of.a, of.b):
        return None
    return RelationFinding(
        Relation.REARRANGED, "both hold the same tensors, in other places"
    )


def _partial_copy(of: Forensics) -> RelationFinding | None:
    test = of.tests.get("HASH")
    if test is None or not test.ran or test.n <= 0:
        return None
    if hash_test.same_tensors(of.a, of.b):
        return None
    return RelationFinding(
        Relation.PARTIAL_COPY, test.detail, (("share", test.effect), ("n", test.n))
    )


def _upcycled(of: Forensics) -> RelationFinding | None:
    if of.structure is None:
        return None
    for layers, child, parent in (
        (of.structure.experts, "B", "A"),
        (of.structure.experts_a, "A", "B"),
    ):
        if layers:
            return RelationFinding(
                Relation.UPCYCLED,
                f"in {len(layers)} layers several experts of {child} come from one "
                f"block of {parent}",
                (("layers", len(layers)),),
            )
    return None


def _depth(of: Forensics) -> RelationFinding | None:
    if of.structure is None or of.layers is None:
        return None
    shape = of.structure
    for repeated, longer in ((shape.repeated, "B"), (shape.repeated_a, "A")):
        if repeated:
            return RelationFinding(
                Relation.DEPTH_UPSCALED,
                f"{longer} has {len(repeated)} layers of the other more than once",
                (("layers", len(repeated)),),
            )
    return None


def _dropped(of: Forensics) -> RelationFinding | None:
    if of.structure is None:
        return None
    shape = of.structure
    for gone, kept, longer in (
        (shape.missing, shape.added, "A"),
        (shape.added, shape.missing, "B"),
    ):
        if gone and not kept:
            shorter = "B" if longer == "A" else "A"
            names = ", ".join(str(layer) for layer in gone)
            return RelationFinding(
                Relation.LAYERS_DROPPED,
                f"{shorter} lacks layer {names} of {longer} and has no layer that "
                f"{longer} lacks",
                (("layers", len(gone)),),
            )
    return None


def _reordered(of: Forensics) -> RelationFinding | None:
    if of.structure is None or not of.structure.reordered:
        return None
    return RelationFinding(
        Relation.LAYERS_REORDERED, "the common layers stand in another order"
    )


def _width(of: Forensics) -> RelationFinding | None:
    first, second = of.a.shape.neurons, of.b.shape.neurons
    if not first or not second or first == second or _kinds_differ(of):
        return None
    small, large = ("B", "A") if second < first else ("A", "B")
    return RelationFinding(
        Relation.WIDTH_PRUNED,
        f"the blocks of {small} have {min(first, second)} neurons, those of {large} "
        f"{max(first, second)}",
        (("a", first), ("b", second)),
    )


def _kinds_differ(of: Forensics) -> bool:
    """Whether one has experts and the other does not."""
    experts = [any(e >= 0 for _, e in x.blocks) for x in (of.a, of.b)]
    return experts[0] != experts[1] or is_adapter(of.a) or is_adapter(of.b)


def _pruned(of: Forensics) -> RelationFinding | None:
    if abs(of.zeros_a - of.zeros_b) < PRUNED_SHARE:
        return None
    sparse = of.a if of.zeros_a > of.zeros_b else of.b
    if FEW_BITS in sparse.notes:
        return None  # rounding to few bits makes as many zeros as pruning does
    return RelationFinding(
        Relation.PRUNED,
        f"{of.zeros_a:.0%} of A's and {of.zeros_b:.0%} of B's weights are zero",
        (("zerosA", of.zeros_a), ("zerosB", of.zeros_b)),
    )


def _vocabulary(of: Forensics) -> RelationFinding | None:
    first, second = of.a.shape.vocabulary, of.b.shape.vocabulary
    if not first or not second:
        return None
    moved = rows_kept(of)
    layers = None if of.delta is None else of.delta.cosine
    if moved is not None and layers is not None and moved < layers - ROWS_MOVED:
        return RelationFinding(
            Relation.VOCABULARY_CHANGED,
            f"embedding rows of the same index have a cosine of {moved:.2f}, weights "
            f"of the layers one of {layers:.2f}: the tokenizer was rebuilt",
            (("rows", moved), ("layers", layers)),
        )
    if first == second:
        return None
    return RelationFinding(
        Relation.VOCABULARY_CHANGED,
        f"A has {first} tokens, B has {second}",
        (("a", first), ("b", second)),
    )


def rows_kept(of: Forensics) -> float | None:
    """Cosine of embedding rows with the same index; None if rows are not kept."""
    parts = [(x.part("fossil.rows"), x.part("fossil.index")) for x in (of.a, of.b)]
    (rows_a, values_a), (rows_b, values_b) = parts
    if rows_a is None or rows_b is None or values_a is None or values_b is None:
        return None
    if of.a.shape.width != of.b.shape.width:
        return None
    _, at_a, at_b = np.intersect1d(rows_a, rows_b, return_indices=True)
    first = raw_values(values_a)[at_a].astype(np.float64).ravel()
    second = raw_values(values_b)[at_b].astype(np.float64).ravel()
    norm = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / norm if norm > 0 else None


def _quantised(of: Forensics) -> RelationFinding | None:
    kinds = [
        f"lie on a {kind} lattice" if kind else _stored_in_few_bits(side)
        for kind, side in ((of.lattice_a, of.a), (of.lattice_b, of.b))
    ]
    if kinds[0] and kinds[1]:
        return _both_quantised(of)
    if not kinds[0] and not kinds[1]:
        return None
    child = "A" if kinds[0] else "B"
    other = "A" if child == "B" else "B"
    change = "" if of.delta is None else f"; the weights differ by {_percent(of)}"
    return RelationFinding(
        Relation.QUANTISED,
        f"the matrices of {child} {kinds[0] or kinds[1]}, those of {other} do not"
        f"{change}",
        () if of.delta is None else (("relativeChange", of.delta.relative),),
    )


def _both_quantised(of: Forensics) -> RelationFinding | None:
    d = of.delta
    if d is None or not d.changed or d.relative > _rounding_max(of):
        return None
    return RelationFinding(
        Relation.QUANTISED,
        f"both are quantised, and rounding explains that they differ by {_percent(of)}",
        (("relativeChange", d.relative),),
    )


def _rounding_max(of: Forensics) -> float:
    """Relative change that rounding alone may have made."""
    coarse = any(FEW_BITS in side.notes for side in (of.a, of.b))
    return FEW_BITS_MAX if coarse else QUANTISED_MAX


def _stored_in_few_bits(side: Fingerprint) -> str:
    few = QUANTISED in side.notes
    return "are stored with 8 bits or less and scales" if few else ""


def _low_rank(of: Forensics) -> RelationFinding | None:
    if of.delta is None or not of.delta.is_low_rank:
        return None
    d = of.delta
    return RelationFinding(
        Relation.LORA_MERGED,
        f"{d.low_rank} of {d.changed} changed matrices differ by a matrix of rank "
        f"about {d.rank:.0f} and rounding (samples of {d.sample} x {d.sample})",
        (("rank", d.rank), ("matrices", d.low_rank), ("relativeChange", d.relative)),
    )


def _laundered(of: Forensics) -> RelationFinding | None:
    seen = [name for name in INVARIANT if of.fired(name)]
    if not seen:
        return None
    neurons = of.tests.get("ALIGN-neuron")
    quiet = neurons is not None and of.silent("ALIGN-neuron")
    if of.silent("ALIGN-residual") and (quiet or neurons is None or not neurons.ran):
        what = "neither neurons nor residual channels are at their places"
    elif of.silent("ALIGN-residual"):
        what = "the residual channels are not at their places"
    elif quiet:
        what = "the neurons are not at their places"
    else:
        return None
    return RelationFinding(
        Relation.LAUNDERED,
        f"{what}, yet {', '.join(seen)} find the models related: permuting, rotating "
        "or rescaling hides weights and keeps what a model computes",
    )


def _change(of: Forensics, kinds: set[Relation]) -> RelationFinding | None:
    """Fine-tuning or continued pretraining, where nothing else explains the change."""
    d = of.delta
    if d is None or not d.changed or Relation.LORA_MERGED in kinds:
        return None
    if Relation.QUANTISED in kinds and d.relative <= _rounding_max(of):
        return None
    far = d.kept_relative >= FAR
    kind = Relation.CONTINUED_PRETRAINING if far else Relation.FINE_TUNED
    side = "or more: by convention" if far else "or less: by convention not"
    return RelationFinding(
        kind,
        f"the weights of the layers moved by {_percent(of)} of their size "
        f"({FAR:.0%} {side} continued pretraining)",
        (("relativeChange", d.kept_relative), ("cosine", d.cosine)),
    )


def _percent(of: Forensics) -> str:
    return "" if of.delta is None else f"{of.delta.kept_relative:.1%}"


_FINDERS: tuple[_Finder, ...] = (
    _adapter,
    _rearranged,
    _upcycled,
    _depth,
    _dropped,
    _reordered,
    _width,
    _pruned,
    _vocabulary,
    _quantised,
    _low_rank,
    _laundered,
    _partial_copy,
)
