# SPDX-License-Identifier: Apache-2.0
"""Pieces that several reads share are read once, and are forgotten in time."""

from __future__ import annotations

from collections.abc import Sequence

from pedigree.tensors.held import HeldPieces
from pedigree.tensors.layout import Extent


class _Counted:
    """A file of known bytes that counts what is read of it."""

    path = "a"
    size = 1000

    def __init__(self) -> None:
        self.bytes_read = 0
        self.calls = 0

    def read(self, offset: int, length: int) -> bytes:
        self.bytes_read += length
        return bytes((offset + i) % 251 for i in range(length))

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.calls += 1
        return [self.read(*each) for each in ranges]


def test_pieces_come_in_the_order_asked_and_are_read_once_in_one_call() -> None:
    file, held = _Counted(), HeldPieces(100)
    asked = [Extent("a", 50, 10), Extent("a", 0, 20), Extent("a", 50, 10)]
    pieces = held.read({"a": file}, asked)
    assert pieces == [file.read(50, 10), file.read(0, 20), file.read(50, 10)]
    assert file.calls == 1
    before = file.bytes_read
    assert held.read({"a": file}, asked[1:]) == pieces[1:]
    assert file.bytes_read == before


def test_the_piece_used_longest_ago_is_forgotten_first() -> None:
    file, held = _Counted(), HeldPieces(100)
    for offset in (0, 60, 0, 120):
        held.read({"a": file}, [Extent("a", offset, 40)])
    assert file.bytes_read == 120
    held.read({"a": file}, [Extent("a", 0, 40)])
    assert file.bytes_read == 120
    held.read({"a": file}, [Extent("a", 60, 40)])
    assert file.bytes_read == 160


def test_a_piece_larger_than_all_that_may_be_held_is_read_again() -> None:
    file, held = _Counted(), HeldPieces(10)
    for _ in range(2):
        assert held.read({"a": file}, [Extent("a", 3, 11)]) == [bytes(range(3, 14))]
    assert file.bytes_read == 22
