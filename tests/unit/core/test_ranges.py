# SPDX-License-Identifier: Apache-2.0
"""Joining of ranges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pedigree.ranges import coalesce, read_spans

_DATA = bytes(range(256)) * 4
_RANGES = st.lists(st.tuples(st.integers(0, 900), st.integers(0, 100)), max_size=20)


@given(_RANGES, st.integers(0, 64), st.integers(1, 300))
def test_joined_reads_give_what_single_reads_give(
    ranges: list[tuple[int, int]], gap: int, most: int
) -> None:
    def read(offset: int, length: int) -> bytes:
        return _DATA[offset : offset + length]

    found = read_spans(read, ranges, gap_bytes=gap, span_max_bytes=most)
    assert found == [_DATA[offset : offset + length] for offset, length in ranges]


@given(_RANGES, st.integers(0, 64), st.integers(1, 300))
def test_spans_stay_within_their_limit(
    ranges: list[tuple[int, int]], gap: int, most: int
) -> None:
    for span in coalesce(ranges, gap_bytes=gap, span_max_bytes=most):
        longest = max(length for _, _, length in span.members)
        assert span.length <= max(most, longest)


def test_near_ranges_are_one_read_and_far_ones_are_two() -> None:
    spans = coalesce([(0, 10), (15, 10), (500, 10)], gap_bytes=8, span_max_bytes=100)
    assert [(span.offset, span.length) for span in spans] == [(0, 25), (500, 10)]
