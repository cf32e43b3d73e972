# SPDX-License-Identifier: Apache-2.0
"""What is read ahead is what would have been read, in fewer calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import made_models as made
from pedigree.fingerprint.codec import encode
from pedigree.fingerprint.source import fingerprint_source
from pedigree.fingerprint.spec import Profile
from pedigree.ranges import RangeSource, WrappedRange, WrappedSource
from pedigree.refs import ModelRef, parse
from pedigree.tensors.ahead import AheadRange

_CONTENT = bytes(i * i % 251 for i in range(500))
_RANGE = st.integers(0, 499).flatmap(
    lambda begin: st.tuples(st.just(begin), st.integers(0, 500 - begin))
)


class _Bytes:
    path = "a"
    size = len(_CONTENT)

    def __init__(self) -> None:
        self.calls = 0

    def read(self, offset: int, length: int) -> bytes:
        self.calls += 1
        return _CONTENT[offset : offset + length]

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.calls += 1
        return [_CONTENT[offset : offset + length] for offset, length in ranges]


@given(st.lists(_RANGE), st.lists(_RANGE))
def test_reading_ahead_changes_no_byte(
    before: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    file = AheadRange(_Bytes())
    file.take(before)
    wanted = [_CONTENT[offset : offset + length] for offset, length in asked]
    assert file.read_many(asked) == wanted
    assert [file.read(*each) for each in asked] == wanted


@given(st.lists(_RANGE, min_size=1))
def test_what_was_read_ahead_is_not_read_again(ranges: list[tuple[int, int]]) -> None:
    inner = _Bytes()
    file = AheadRange(inner)
    file.take(ranges)
    file.read_many(ranges)
    assert inner.calls == 1


class _CountedRange(WrappedRange):
    def __init__(self, file: RangeSource, calls: list[int]) -> None:
        super().__init__(file)
        self._calls = calls

    def read(self, offset: int, length: int) -> bytes:
        self._calls.append(length)
        return self._file.read(offset, length)

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if ranges:
            self._calls.append(sum(length for _, length in ranges))
        return self._file.read_many(ranges)


class _Counted(WrappedSource):
    """A source that is far away, and counts what is asked of it."""

    calls: list[int]

    @property
    def ref(self) -> ModelRef:
        return parse("hf://made/model")

    def open(self, path: str) -> RangeSource:
        return _CountedRange(self._source.open(path), self.calls)


def test_a_sampled_model_is_read_in_a_few_calls_whatever_its_depth(
    tmp_path: Path,
) -> None:
    calls = {}
    for layers in (2, 12):
        folder = tmp_path / str(layers)
        made.write(folder, made.llama(seed=1, layers=layers))
        source = _Counted(made.source(folder))
        source.calls = []
        found = fingerprint_source(source, profile=Profile.FAST)
        plain = fingerprint_source(made.source(folder), profile=Profile.FAST)
        assert encode(found) == encode(plain)
        calls[layers] = len(source.calls)
    assert calls[12] <= calls[2] + 2, calls
