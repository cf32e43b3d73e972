# SPDX-License-Identifier: Apache-2.0
"""The coarse scan against counting bits one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pedigree.fingerprint.codes import NAMES
from pedigree.registry import coarse
from pedigree.registry.coarse import Nearest, nearest, query_words, score

Words = NDArray[np.uint64]


def _table(random: np.random.Generator, size: int, flips: int) -> dict[str, Words]:
    """Codes that differ from zero in few bits if ``flips``, so that many tie."""
    tables = {}
    for name in NAMES:
        words = random.integers(0, 2**64, (16, size), np.uint64)
        for _ in range(flips):
            words &= random.integers(0, 2**64, (16, size), np.uint64)
        tables[name] = words
    return tables


def _brute(
    tables: list[dict[str, Words]], query: dict[str, Words], count: int
) -> list[tuple[int, int]]:
    """(distance, place) of the nearest, by Python's own integers."""
    found = []
    place = 0
    for table in tables:
        for column in range(table["e"].shape[1]):
            distances = [
                sum(
                    int(a ^ b).bit_count()
                    for a, b in zip(table[name][:, column], query[name], strict=True)
                )
                for name in query
            ]
            found.append((min(distances), place))
            place += 1
    return sorted(found)[:count]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 37), min_size=1, max_size=4),
    count=st.integers(1, 50),
    flips=st.sampled_from([0, 4, 8]),
    names=st.sets(st.sampled_from(NAMES), min_size=1),
    seed=st.integers(0, 2**32),
)
def test_the_scan_finds_what_counting_every_bit_finds(
    sizes: list[int], count: int, flips: int, names: set[str], seed: int
) -> None:
    random = np.random.default_rng(seed)
    tables = [_table(random, size, flips) for size in sizes]
    query = {
        name: random.integers(0, 2**64, 16, np.uint64)
        for name in NAMES
        if name in names
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coarse, "BLOCK", 16)  # several blocks of a small table
        patch.setattr(coarse, "_KEPT", 8)
        found = nearest(tables, query, count)
    assert [(n.distance, n.index) for n in found] == _brute(tables, query, count)


def test_the_scan_is_exact_over_more_than_one_real_block() -> None:
    random = np.random.default_rng(5)
    size = coarse.BLOCK + 4001
    table = _table(random, size, 0)
    query = {name: random.integers(0, 2**64, 16, np.uint64) for name in NAMES}
    distances = np.min(
        [
            np.bitwise_count(table[name] ^ query[name][:, None]).sum(axis=0)
            for name in NAMES
        ],
        axis=0,
    )
    order = np.lexsort((np.arange(size), distances))[:200]
    found = nearest([table], query, 200)
    assert [n.index for n in found] == order.tolist()
    assert [n.distance for n in found] == distances[order].tolist()


def test_the_largest_possible_distance_does_not_overflow() -> None:
    ones = np.full((16, 3), 2**64 - 1, np.uint64)
    found = nearest([{"e": ones}], {"e": np.zeros(16, np.uint64)}, 3)
    assert found == tuple(Nearest(place, 1024) for place in range(3))


def test_equally_near_references_come_in_order_of_place() -> None:
    same = np.zeros((16, 10_000), np.uint64)
    found = nearest([{"e": same}, {"e": same}], {"e": same[:, 0]}, 5)
    assert [n.index for n in found] == [0, 1, 2, 3, 4]


def test_a_code_of_zeros_is_not_searched_for() -> None:
    empty, full = np.zeros(128, np.uint8), np.arange(128, dtype=np.uint8)
    assert set(query_words({"e": empty, "r": full, "v": empty})) == {"r"}
    assert nearest([{"e": np.zeros((16, 4), np.uint64)}], {}, 3) == ()


def test_the_score_is_zero_for_half_the_bits_and_32_for_none() -> None:
    assert [score(512), score(0), score(1024)] == [0.0, 32.0, -32.0]
