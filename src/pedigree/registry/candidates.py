# SPDX-License-Identifier: Apache-2.0
"""Which references of a registry are worth comparing with one model.

Choosing by the very weights that are compared afterwards costs nothing in error rate:
every p-value is corrected for all references of the registry, chosen or not.

A relative is near in a code unless its weights were rearranged on purpose.  Rearranging
leaves the shape in place, so references of the same shape are looked at too, with the
tests that see through it.  An adapter has no code and only part of a shape, so every
reference of its width is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pedigree.fingerprint.codes import stored_codes
from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.adapt import is_adapter
from pedigree.registry.coarse import Words, nearest, query_words
from pedigree.registry.folder import Registry, Table
from pedigree.registry.index import Index
from pedigree.registry.legacy import Legacy

SMALL = 64
"""A registry of so many references is compared as a whole."""
SCREENED = 1000
"""Up to so many references all of a registry are at least screened."""
NEAREST = 64
"""References that are near by chance or descent and are screened at least; screening
one takes about 5 ms of one core, half of it reading."""
SAME_SHAPE = 64
"""References of the model's own shape that are screened, the nearest first."""
SAME_SHAPE_LATER = 256
"""The same, if nothing was found among those: a second of one core more."""
ADAPTED_MAX = 1024
"""References of an adapter's width that are screened; one takes 9 ms of one core."""
FOUND_MAX = 200
"""Near references that are compared at most."""
NEAR_Z = 5.0
"""From here up a reference is compared: of 100,000 unrelated ones 0.09 are as near in
one of three codes."""
NEAREST_ALWAYS = 4
"""The nearest are compared however far they are."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Numbers of references in a registry.

    Attributes:
        compared: To be compared in full, nearest first.
        near: To be screened first with tests that see faint likeness.
        shaped: To be screened first with tests that see through rearranged weights.
        later: The same, but only if none of the others is an ancestor.
        adapted: To be screened first with tests that know an adapter's base.
    """

    compared: tuple[int, ...]
    near: frozenset[int] = frozenset()
    shaped: frozenset[int] = frozenset()
    later: frozenset[int] = frozenset()
    adapted: frozenset[int] = frozenset()

    @property
    def screened(self) -> tuple[int, ...]:
        """All that are to be screened in any case."""
        return tuple(sorted(self.near | self.shaped | self.adapted))


def candidates(registry: Registry, fingerprint: Fingerprint) -> Candidates:
    """The references to look at, each once; entries of the kit are never among them."""
    indexed = _Indexed(registry)
    # Those of the first version have no codes, so there is no other way to tell.
    rest = tuple(
        number
        for first, table in _firsts(registry)
        if isinstance(table, Legacy)
        for number in range(first, first + table.count)
    )
    if indexed.count + len(rest) <= SMALL:
        return Candidates((*indexed.numbers(range(indexed.count)), *rest))
    if is_adapter(fingerprint):
        wide = indexed.same_width(fingerprint)[:ADAPTED_MAX]
        return Candidates(rest, adapted=frozenset(indexed.numbers(wide)))
    query = query_words(stored_codes(fingerprint))
    found = nearest((table.words for table in indexed.tables), query, FOUND_MAX)
    compared = [
        one.index
        for rank, one in enumerate(found)
        if one.z >= NEAR_Z or rank < NEAREST_ALWAYS
    ]
    if indexed.count <= SCREENED:
        near = shaped = set(range(indexed.count))
        later = set[int]()
    else:
        near = {one.index for one in found[:NEAREST]}
        same = indexed.same_shape(fingerprint, query)
        shaped, later = set(same[:SAME_SHAPE]), set(same[SAME_SHAPE:])
    done = set(compared)
    return Candidates(
        (*indexed.numbers(compared), *rest),
        near=frozenset(indexed.numbers(near - done)),
        shaped=frozenset(indexed.numbers(shaped - done)),
        later=frozenset(indexed.numbers(later - near - done)),
    )


def all_numbers(registry: Registry) -> Iterator[int]:
    """Numbers of all references that have fingerprints."""
    for first, table in _firsts(registry):
        yield from range(first, first + table.count)


def fingerprints_of(registry: Registry) -> int:
    """How many references have fingerprints."""
    return sum(table.count for _, table in _firsts(registry))


def _firsts(registry: Registry) -> Iterator[tuple[int, Table]]:
    """Each table of fingerprints, and the number of its first reference."""
    first = 0
    for table in registry.tables:
        if not table.is_kit:
            yield first, table
        first += table.count


class _Indexed:
    """The references that have codes, by their place among these."""

    def __init__(self, registry: Registry) -> None:
        pairs = [(f, t) for f, t in _firsts(registry) if isinstance(t, Index)]
        self._firsts = [first for first, _ in pairs]
        self.tables = [table for _, table in pairs]
        self._ends = np.cumsum([table.count for table in self.tables], dtype=np.int64)
        self.count = int(self._ends[-1]) if pairs else 0

    def numbers(self, places: Iterable[int]) -> list[int]:
        """Numbers in the registry of places among those with codes."""
        result = []
        for place in places:
            table = int(np.searchsorted(self._ends, place, side="right"))
            before = int(self._ends[table - 1]) if table else 0
            result.append(self._firsts[table] + place - before)
        return result

    def same_width(self, fingerprint: Fingerprint) -> list[int]:
        """Places of references that an adapter's factors fit."""
        widths = [table.shapes[:, 1] for table in self.tables]
        every = np.concatenate(widths) if widths else np.empty(0, np.int32)
        return [int(p) for p in np.flatnonzero(every == fingerprint.shape.width)]

    def same_shape(
        self, fingerprint: Fingerprint, query: Mapping[str, Words]
    ) -> list[int]:
        """Places with the same layers, width and neurons, nearest first."""
        shape = fingerprint.shape
        wanted = np.array([shape.layers, shape.width, shape.neurons], np.int32)
        subsets, places, first = [], [], 0
        for table in self.tables:
            # One column first: most references differ in the width already.
            own = np.flatnonzero(table.shapes[:, 1] == wanted[1])
            own = own[(table.shapes[own, :3] == wanted).all(axis=1)]
            subsets.append({name: code[:, own] for name, code in table.words.items()})
            places.append(own + first)
            first += table.count
        order = np.concatenate(places) if places else np.empty(0, np.int64)
        if not query:
            return [int(place) for place in order[:SAME_SHAPE_LATER]]
        return [int(order[n.index]) for n in nearest(subsets, query, SAME_SHAPE_LATER)]
