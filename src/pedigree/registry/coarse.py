# SPDX-License-Identifier: Apache-2.0
"""The coarse scan: the exact nearest codes among millions, by counting bits.

The distance of a reference is the smallest of its three Hamming distances.  Nothing is
approximate and nothing is skipped: bounds that would let the scan stop early cannot
help, as unrelated codes differ in half of their bits and the last of the wanted few
differ in little less (448 of 1024 among two million), so that most of a code must be
read before anything is known.

It is fast because of the layout alone.  Codes lie word by word (all first words, then
all second ones ...), so that every step is one operation on long arrays that stay in
the cache; counts are added as bytes, three words of at most 64 at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.codes import BITS, NAMES

WORDS = BITS // 64
BLOCK = 65_536
"""References per step: 512 kB a word, measured best of 4,096 to 131,072."""
_GROUP = 3
"""Words counted at a time: 3 x 64 bits differ at most, which a byte holds."""
_KEPT = 4096
"""Found references that are held before all but the nearest are let go."""

Words = NDArray[np.uint64]
Halves = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Nearest:
    """One reference that the scan found.

    Attributes:
        index: Its place among all.
        distance: Bits that differ in the code nearest to it, 0 to 1024.
    """

    index: int
    distance: int

    @property
    def z(self) -> float:
        """Standard deviations below what unrelated codes differ by."""
        return score(self.distance)


def score(distance: int) -> float:
    """``(1024 - 2 distance) / sqrt(1024)``: normal for unrelated codes."""
    return (BITS - 2 * distance) / math.sqrt(BITS)


def query_words(codes: Mapping[str, NDArray[np.uint8]]) -> dict[str, Words]:
    """Codes as words; those that say nothing (all zeros) are left out."""
    return {
        name: np.ascontiguousarray(codes[name]).view("<u8")
        for name in NAMES
        if codes[name].any()
    }


def nearest(
    columns: Iterable[Mapping[str, Words]], query: Mapping[str, Words], count: int
) -> tuple[Nearest, ...]:
    """The references with the smallest distance, exactly.

    Args:
        columns: Tables of references one after the other: for each code an array of
            shape (16, references).
        query: For each code that is searched for, shape (16,).
        count: How many are wanted.

    Returns:
        At most ``count``, nearest first; equally near ones in order of place.
    """
    found = _Found(count)
    work = _Work()
    offset = 0
    for table in columns:
        size = next(iter(table.values())).shape[1]
        for begin in range(0, size if query and count else 0, BLOCK):
            end = min(size, begin + BLOCK)
            blocks = [(table[name][:, begin:end], query[name]) for name in query]
            work.measure(blocks)
            found.take(work.even, work.odd, end - begin, offset + begin)
        offset += size
    return found.finish()


class _Work:
    """Memory that is used for every block.

    Two counts of eight bits are one of sixteen: even and odd references are kept
    apart, which saves converting bytes.
    """

    def __init__(self) -> None:
        self._xor = np.zeros((_GROUP, BLOCK), np.uint64)
        self._counts = np.zeros((_GROUP, BLOCK), np.uint8)
        self._part = np.zeros(BLOCK // 2, "<u2")
        self._sums = np.zeros((2, BLOCK // 2), "<u2")
        self.even: Halves = np.zeros(BLOCK // 2, "<u2")
        self.odd: Halves = np.zeros(BLOCK // 2, "<u2")

    def measure(self, blocks: Sequence[tuple[Words, Words]]) -> None:
        """Leave the smallest distance of each reference in ``even`` and ``odd``.

        Args:
            blocks: For each code, the references' (16, m) and the query's (16,).
        """
        for number, (references, query) in enumerate(blocks):
            even, odd = (self.even, self.odd) if number == 0 else self._sums
            self._distances(references, query, even, odd)
            if number:
                np.minimum(self.even, even, out=self.even)
                np.minimum(self.odd, odd, out=self.odd)

    def _distances(
        self, references: Words, query: Words, even: Halves, odd: Halves
    ) -> None:
        size = references.shape[1]
        even.fill(0)
        odd.fill(0)
        for first in range(0, WORDS, _GROUP):
            group = references[first : first + _GROUP]
            xor = self._xor[: len(group), :size]
            counts = self._counts[: len(group), :size]
            np.bitwise_xor(group, query[first : first + _GROUP, None], out=xor)
            np.bitwise_count(xor, out=counts)
            for other in counts[1:]:
                np.add(counts[0], other, out=counts[0])
            pairs = self._counts[0].view("<u2")
            np.bitwise_and(pairs, 0xFF, out=self._part)
            np.add(even, self._part, out=even)
            np.right_shift(pairs, 8, out=self._part)
            np.add(odd, self._part, out=odd)


@dataclass(slots=True)
class _Found:
    """The nearest so far, and how near another must be to matter."""

    count: int
    limit: int = BITS
    distances: list[NDArray[np.int64]] = field(default_factory=list)
    places: list[NDArray[np.int64]] = field(default_factory=list)
    held: int = 0

    def take(self, even: Halves, odd: Halves, size: int, offset: int) -> None:
        """Look at one block of references that begins at ``offset``."""
        for parity, distances in enumerate((even, odd)):
            own = distances[: (size + 1 - parity) // 2]
            places = np.flatnonzero(own <= self.limit)
            if places.size:
                self.distances.append(own[places].astype(np.int64))
                self.places.append(places * 2 + parity + offset)
                self.held += places.size
        if self.held > max(_KEPT, 2 * self.count):
            self._let_go()

    def _let_go(self) -> None:
        """Keep the nearest ``count``; later ones that are as near come after them."""
        distances = np.concatenate(self.distances)
        places = np.concatenate(self.places)
        if len(distances) > self.count:
            near = np.flatnonzero(
                distances <= np.partition(distances, self.count - 1)[self.count - 1]
            )
            distances, places = distances[near], places[near]
        order = np.lexsort((places, distances))[: self.count]
        self.distances, self.places = [distances[order]], [places[order]]
        self.held = len(order)
        if self.held == self.count:
            # Whatever comes later has a higher place, so it must be nearer.
            self.limit = int(distances[order[-1]]) - 1

    def finish(self) -> tuple[Nearest, ...]:
        """Everything that was wanted, in order."""
        if not self.held:
            return ()
        self._let_go()
        return tuple(
            Nearest(int(place), int(distance))
            for place, distance in zip(self.places[0], self.distances[0], strict=True)
        )
