# SPDX-License-Identifier: Apache-2.0
"""Short texts beside the weights that are built to take long or to grow."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from pedigree.errors import ArtifactError
from pedigree.examine.claims.card import card_declarations
from pedigree.examine.claims.packages import kitfile_declarations
from pedigree.lineage.context.encoding import normalised
from pedigree.lineage.context.pieces import UnknownPart, split_first
from pedigree.tensors.strictjson import load


@pytest.mark.parametrize("read", [card_declarations, kitfile_declarations])
@pytest.mark.parametrize("opener", ["[", "{a: "])
def test_brackets_in_brackets_on_one_line_are_refused_before_they_are_read(
    read: Callable[[bytes], list[Any]], opener: str
) -> None:
    row = f"a: {opener * 250}\n"
    text = f"---\n{row * 80}---\n".encode()
    began = time.process_time()
    with pytest.raises(ArtifactError, match="RecursionError"):
        read(text)
    assert time.process_time() - began < 0.5


def test_many_brackets_beside_each_other_are_usual() -> None:
    row = "tags: [" + "[a, {b: c}], " * 40 + "x]\nlicense: mit\n"
    found = card_declarations(f"---\n{row}---\n".encode())
    assert [item.value for item in found] == ["mit"]


def test_a_normaliser_that_doubles_a_text_again_and_again_is_given_up() -> None:
    double = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    with pytest.raises(UnknownPart, match="longer and longer"):
        normalised({"type": "Sequence", "normalizers": [double] * 64}, "a")
    wide = {"type": "Replace", "pattern": {"String": ""}, "content": "b" * 10_000_000}
    with pytest.raises(UnknownPart, match="longer and longer"):
        normalised({"type": "Sequence", "normalizers": [wide, wide]}, "aaaa")


@pytest.mark.parametrize("parts", [2, True, {"a": 1}, "ab"])
def test_parts_that_are_no_list_are_not_understood(parts: object) -> None:
    with pytest.raises(UnknownPart):
        normalised({"type": "Sequence", "normalizers": parts}, "a")
    with pytest.raises(UnknownPart):
        split_first({"type": "Sequence", "pretokenizers": parts}, "a")


@pytest.mark.parametrize(
    "text",
    [
        r'{"a":["\ud800"]}',
        r'["\ud800"]',
        r'"\udfff"',
        r'{"a":[{"b":"\ud83d"}]}',
        r'[["x"],["\uD83D\u0041"]]',
    ],
)
def test_half_a_character_is_refused_wherever_it_stands(text: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        load(text.encode(), what="text", path="m")
    assert caught.value.reason == "MalformedName"


def test_a_character_of_two_halves_is_one() -> None:
    text = json.dumps({"😀": ["😀", "\\ud800"]})
    assert "\\ud83d" in text
    assert load(text.encode(), what="text", path="m") == {"😀": ["😀", "\\ud800"]}
