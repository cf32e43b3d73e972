# SPDX-License-Identifier: Apache-2.0
"""Which block of A each block of B comes from, and what that says about the change.

The map is read from the cells of one test: the first of ALIGN-neuron, TSP,
ALIGN-residual, MATCH and QF that found the models related.  Cells of the first three
are Z values; those of MATCH and QF are what these tests report per pair of blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.align import neuron_blocks, residual_blocks
from pedigree.lineage.axis import MATCH_Z, pair_scores
from pedigree.lineage.findings import LayerMap, Origin
from pedigree.lineage.paired import BlockMap
from pedigree.lineage.results import TestResult
from pedigree.lineage.tsp import token_blocks

_BLOCKS = {
    "ALIGN-neuron": neuron_blocks,
    "TSP": token_blocks,
    "ALIGN-residual": residual_blocks,
}
_ORDER = ("ALIGN-neuron", "TSP", "MATCH", "ALIGN-residual", "QF")
SURE_LOG10 = -8.0
"""A test may draw the map from here down."""
EQUALLY_GOOD = 0.8
"""Blocks of A that score this share of the best are copies of each other."""


@dataclass(frozen=True, slots=True)
class Structure:
    """How the layers of two related models go together.

    Attributes:
        missing: Layers of A that no layer of B comes from.
        added: Layers of B that come from none of A.
        repeated: Layers of A that several layers of B come from.
        repeated_a: Layers of B that several layers of A match, the same from there.
        experts: Layers of B whose experts come from one block of A.
        experts_a: Layers of A whose experts come from one block of B.
        reordered: Whether the common layers stand in another order.
    """

    missing: tuple[int, ...]
    added: tuple[int, ...]
    repeated: tuple[int, ...]
    repeated_a: tuple[int, ...]
    experts: tuple[int, ...]
    experts_a: tuple[int, ...]
    reordered: bool


def layer_map(
    a: Fingerprint, b: Fingerprint, tests: Sequence[TestResult]
) -> LayerMap | None:
    """The map of blocks, or None if no test that sees blocks found anything."""
    by_name = {test.name: test for test in tests}
    for name in _ORDER:
        test = by_name.get(name)
        if test is None or not test.ran or test.log10_p > SURE_LOG10:
            continue
        found = _scores(name, a, b, test)
        if found is not None and found.origins:
            return found
    return None


def block_map(found: LayerMap | None, a: Fingerprint, b: Fingerprint) -> BlockMap:
    """Block of B to block of A; empty for a block without origin.

    Without a map the blocks at equal places belong together.
    """
    if found is None:
        return {block: block for block in b.blocks if block in set(a.blocks)}
    origins = {origin.b: origin.a for origin in found.origins}
    result: dict[tuple[int, int], tuple[int, int]] = {}
    for block in b.blocks:
        label = f"{block[0]}/{block[1]}" if block[1] >= 0 else str(block[0])
        origin = origins.get(label, origins.get(str(block[0])))
        if origin is None:
            continue
        layer, _, expert = origin.partition("/")
        result[block] = (int(layer), int(expert) if expert else _expert(a, block[1]))
    return result


def _expert(a: Fingerprint, expert: int) -> int:
    """The expert of A that a map of whole layers means: the same one, or none."""
    return expert if any(e >= 0 for _, e in a.blocks) else -1


def structure(found: LayerMap) -> Structure:
    """What the map says about layers and experts."""
    scores = np.array(found.scores)
    layers_a, layers_b = _layers(found.labels_a), _layers(found.labels_b)
    forward = {
        _layer(o.b): _layer(o.a) for o in sorted(found.origins, key=lambda o: o.score)
    }
    covered = _covered(scores, found.labels_a)
    missing = tuple(x for x in layers_a if x not in covered)
    covered_b = _covered(scores.T, found.labels_b)
    added = tuple(x for x in layers_b if x not in covered_b)
    order = [forward[x] for x in layers_b if x in forward]
    dense_a, dense_b = (
        all("/" not in label for label in labels)
        for labels in (found.labels_a, found.labels_b)
    )
    return Structure(
        missing=missing,
        added=added,
        repeated=_repeats(order),
        repeated_a=_repeats(_best(scores.T, found.labels_a, found.labels_b)),
        experts=_upcycled(found.origins) if dense_a and not dense_b else (),
        experts_a=_experts_of_a(scores, found) if dense_b and not dense_a else (),
        reordered=any(x > y for x, y in pairwise(order)),
    )


def remarks(of: Structure) -> tuple[str, ...]:
    """What is out of the ordinary, one sentence each."""
    said = []
    if of.missing:
        said.append(f"{_named(of.missing)} of A {_has(of.missing)} no likeness in B")
    if of.added:
        said.append(f"{_named(of.added)} of B {_has(of.added)} no likeness in A")
    if of.repeated:
        said.append(f"{_named(of.repeated)} of A {_is(of.repeated)} repeated in B")
    if of.repeated_a:
        said.append(f"{_named(of.repeated_a)} of B {_is(of.repeated_a)} repeated in A")
    if of.experts:
        said.append(
            f"the experts of {_named(of.experts)} of B come from one block of A"
        )
    if of.experts_a:
        said.append(
            f"the experts of {_named(of.experts_a)} of A come from one block of B"
        )
    if of.reordered:
        said.append("the layers stand in another order")
    return tuple(said)


def _scores(
    name: str, a: Fingerprint, b: Fingerprint, test: TestResult
) -> LayerMap | None:
    if name in _BLOCKS:
        blocks = _BLOCKS[name](a, b)
        if isinstance(blocks, TestResult):
            return None
        first, second = blocks
        scores = pair_scores(first.rows, second.rows)
        return _mapped(name, first.labels, second.labels, scores, MATCH_Z)
    labels_a, labels_b = _labels(a), _labels(b)
    scores = np.zeros((len(labels_a), len(labels_b)))
    for pair in test.pairs:
        if pair.a in labels_a and pair.b in labels_b:
            scores[labels_a.index(pair.a), labels_b.index(pair.b)] = pair.z
    return _mapped(name, labels_a, labels_b, scores, 0.0)


def _mapped(
    name: str,
    labels_a: tuple[str, ...],
    labels_b: tuple[str, ...],
    scores: NDArray[np.float64],
    least: float,
) -> LayerMap | None:
    if not scores.size:
        return None
    origins = []
    for j, label in enumerate(labels_b):
        i = _origin(scores[:, j], labels_a, label)
        if scores[i, j] > least:
            origins.append(Origin(label, labels_a[i], round(float(scores[i, j]), 2)))
    rows = tuple(tuple(round(float(x), 2) for x in row) for row in scores)
    return LayerMap(name, labels_a, labels_b, rows, tuple(origins))


def _origin(column: NDArray[np.float64], labels_a: tuple[str, ...], own: str) -> int:
    """The best block of A; of equally good ones the one at the same place."""
    best = int(np.argmax(column))
    if own in labels_a:
        same = labels_a.index(own)
        if column[same] >= 0.95 * column[best]:
            return same
    return best


def _best(
    scores: NDArray[np.float64], labels: tuple[str, ...], origins: tuple[str, ...]
) -> list[int]:
    """For each of ``labels`` (columns) its best row, if that is a match, as layers."""
    found = []
    for j in range(len(labels)):
        i = int(np.argmax(scores[:, j]))
        if scores[i, j] > MATCH_Z:
            found.append(_layer(origins[i]))
    return found if all("/" not in x for x in labels + origins) else []


def _covered(scores: NDArray[np.float64], labels: tuple[str, ...]) -> set[int]:
    """Layers of the rows that match some column nearly as well as its best row."""
    if not scores.size:
        return set()
    best = scores.max(axis=0)  # (columns,)
    good = (scores > 0) & (scores >= EQUALLY_GOOD * best) & (best >= _least(scores))
    return {_layer(label) for label, row in zip(labels, good, strict=True) if row.any()}


def _least(scores: NDArray[np.float64]) -> float:
    """A match: a quarter of a typical best score, and no chance result."""
    best = np.sort(scores.max(axis=0))  # np.median would load numpy.ma
    typical = (best[(len(best) - 1) // 2] + best[len(best) // 2]) / 2
    return max(float(typical) / 4, 1e-9)


def _upcycled(origins: Sequence[Origin]) -> tuple[int, ...]:
    """Layers of B at least two experts of which have the same origin."""
    count = Counter((_layer(o.b), o.a) for o in origins if "/" in o.b)
    return tuple(sorted({layer for (layer, _), k in count.items() if k >= 2}))


def _experts_of_a(scores: NDArray[np.float64], found: LayerMap) -> tuple[int, ...]:
    count: Counter[tuple[int, int]] = Counter()
    for i, label in enumerate(found.labels_a):
        j = int(np.argmax(scores[i]))
        if scores[i, j] > MATCH_Z:
            count[_layer(label), j] += 1
    return tuple(sorted({layer for (layer, _), k in count.items() if k >= 2}))


def _repeats(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(x for x, k in Counter(order).items() if k >= 2))


def _labels(model: Fingerprint) -> tuple[str, ...]:
    return tuple(f"{x}/{e}" if e >= 0 else str(x) for x, e in model.blocks)


def _layer(label: str) -> int:
    return int(label.partition("/")[0])


def _layers(labels: Sequence[str]) -> list[int]:
    return sorted({_layer(label) for label in labels})


def _named(layers: tuple[int, ...]) -> str:
    names = ", ".join(str(layer) for layer in layers)
    return f"layer {names}" if len(layers) == 1 else f"layers {names}"


def _has(layers: tuple[int, ...]) -> str:
    return "has" if len(layers) == 1 else "have"


def _is(layers: tuple[int, ...]) -> str:
    return "is" if len(layers) == 1 else "are"
