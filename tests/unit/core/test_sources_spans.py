# SPDX-License-Identifier: Apache-2.0
"""Files over a network: bounds, joined and simultaneous requests, counters."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from pedigree.digests import sha256
from pedigree.errors import ArtifactError
from pedigree.ranges import FileEntry
from pedigree.sources.spans import GAP_BYTES, SPAN_MAX_BYTES, FarFile, Meter

SIZE = 3 * SPAN_MAX_BYTES
BODY = bytes(range(251)) * 4


class _Place:
    """Answers ranges of zeros, or of a body, and notes them."""

    def __init__(self, body: bytes | None = None) -> None:
        self.body = body
        self.asked: list[tuple[int, int]] = []

    def fetch(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        if self.body is not None:
            return self.body[offset : offset + length]
        return bytes(length)

    def file(self, **more: object) -> FarFile:
        size = SIZE if self.body is None else len(self.body)
        given = {"connections": 1, **more}
        return FarFile(FileEntry("a", size), self.fetch, **given)  # type: ignore[arg-type]


class _Kept:
    """A cache of bytes that are set by hand."""

    def __init__(self, size: int) -> None:
        self.data: list[int | None] = [None] * size

    def missing(self, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        places = sorted(
            {
                at
                for offset, length in ranges
                for at in range(offset, offset + length)
                if self.data[at] is None
            }
        )
        found: list[tuple[int, int]] = []
        for at in places:
            if found and sum(found[-1]) == at:
                found[-1] = (found[-1][0], found[-1][1] + 1)
            else:
                found.append((at, 1))
        return found

    def read(self, offset: int, length: int) -> bytes | None:
        held = [
            each for each in self.data[offset : offset + length] if each is not None
        ]
        return bytes(held) if len(held) == length else None

    def forget(self) -> None:
        self.data = [None] * len(self.data)

    def put(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = list(data)


@pytest.mark.parametrize("wrong", [(-1, 2), (0, -1), (SIZE - 1, 2), (SIZE + 1, 0)])
def test_what_lies_outside_a_file_is_not_asked_for(wrong: tuple[int, int]) -> None:
    place = _Place()
    for call in (
        lambda: place.file().read(*wrong),
        lambda: place.file().read_many([(0, 1), wrong]),
    ):
        with pytest.raises(ValueError, match=f"it has {SIZE}"):
            call()
    assert place.asked == []


def test_near_ranges_are_joined_and_far_ones_are_not() -> None:
    place = _Place()
    near, far = 10 + GAP_BYTES, 30 + 3 * GAP_BYTES
    found = place.file().read_many([(far, 7), (0, 10), (near, 5), (3, 0)])
    assert [len(each) for each in found] == [7, 10, 5, 0]
    assert place.asked == [(0, near + 5), (far, 7)]


def test_an_empty_range_asks_for_nothing() -> None:
    place = _Place()
    assert place.file().read(SIZE, 0) == b""
    assert place.file().read_many([]) == []
    assert place.asked == []


def test_requests_are_made_at_once_up_to_the_number_of_connections() -> None:
    together = threading.Barrier(3, timeout=10)

    def fetch(offset: int, length: int) -> bytes:
        del offset
        together.wait()  # breaks unless three ask at the same time
        return bytes(length)

    file = FarFile(FileEntry("a", SIZE), fetch, connections=3)
    step = 4 * GAP_BYTES
    found = file.read_many([(place * step, 4) for place in range(6)])
    assert found == [bytes(4)] * 6


def test_a_whole_of_another_digest_is_refused_however_it_is_read() -> None:
    place = _Place(BODY)
    right = place.file(digest=sha256(BODY))
    assert right.read(0, len(BODY)) == BODY
    assert b"".join([right.read(0, 500), right.read(500, 504)]) == BODY
    with pytest.raises(ArtifactError, match="has the digest") as caught:
        place.file(digest=sha256(b"other")).read(0, len(BODY))
    assert caught.value.reason == "DigestMismatch"
    in_parts = place.file(digest=sha256(b"other"))
    in_parts.read(0, 500)
    with pytest.raises(ArtifactError, match="has the digest"):
        in_parts.read(500, len(BODY) - 500)


def test_only_bytes_that_are_not_kept_are_asked_for() -> None:
    place, kept = _Place(BODY), _Kept(len(BODY))
    kept.put(100, BODY[100:150])
    kept.put(300, BODY[300:400])
    file = place.file()
    file.keep(kept)
    wanted = [(90, 70), (200, 10), (310, 20), (350, 200)]
    found = file.read_many(wanted)
    assert found == [BODY[begin : begin + length] for begin, length in wanted]
    asked = [at for begin, length in place.asked for at in range(begin, begin + length)]
    assert len(asked) == len(set(asked))
    assert not set(asked) & {*range(100, 150), *range(300, 400)}
    place.asked.clear()
    assert file.read_many(wanted) == found
    assert place.asked == []


def test_a_hole_that_nobody_asked_for_is_not_filled() -> None:
    place, kept = _Place(BODY), _Kept(len(BODY))
    kept.put(50, BODY[50:60])
    file = place.file()
    file.keep(kept)
    file.read_many([(0, 10), (100, 10)])
    assert place.asked == [(0, 10), (100, 10)]


def test_what_the_cache_could_not_keep_is_asked_for_once() -> None:
    class Full(_Kept):
        def put(self, offset: int, data: bytes) -> None:
            del offset, data

    place = _Place(BODY)
    file = place.file()
    file.keep(Full(len(BODY)))
    assert file.read_many([(0, 10), (2, 20)]) == [BODY[:10], BODY[2:22]]
    assert place.asked == [(0, 22)]


def test_kept_bytes_of_another_digest_are_refused() -> None:
    place, kept = _Place(BODY), _Kept(len(BODY))
    kept.put(0, b"x" * len(BODY))
    file = place.file(digest=sha256(BODY))
    file.keep(kept)
    with pytest.raises(ArtifactError, match="has the digest"):
        file.read(0, len(BODY))
    assert file.read(0, len(BODY)) == BODY  # the next try asks the place itself


def test_counts_of_many_threads_are_whole() -> None:
    meter = Meter()

    def count(_: int) -> None:
        for _ in range(2000):
            meter.asked()
            meter.received(3)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert (meter.requests, meter.bytes_read) == (16_000, 48_000)


@pytest.mark.parametrize("cached", [False, True])
def test_bytes_between_asked_ones_are_not_held(cached: bool) -> None:
    class Counting(_Kept):
        """A cache that holds nothing in memory."""

        def missing(self, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
            return sorted(ranges)

        def put(self, offset: int, data: bytes) -> None:
            del offset, data

    file = _Place().file()
    if cached:
        file.keep(Counting(0))
    wanted = [(begin, 100) for begin in range(0, SIZE - 100, GAP_BYTES // 2)]
    tracemalloc.start()
    try:
        found = file.read_many(wanted)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [bytes(100)] * len(wanted)
    assert peak < 2 * SPAN_MAX_BYTES
