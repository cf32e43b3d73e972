# SPDX-License-Identifier: Apache-2.0
"""First tokens of short texts, against what the tokenizers library says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pedigree.lineage.context.encoding import Encoder, UnknownPart
from pedigree.lineage.context.pieces import split_first
from pedigree.lineage.context.vocabulary import Vocabulary

RECORDED = json.loads(
    (Path(__file__).parents[2] / "data/context/tokenizers.json").read_text()
)


def vocabulary(document: dict[str, Any]) -> Vocabulary:
    model = document["model"]
    vocab = model["vocab"]
    if isinstance(vocab, list):
        vocab = {piece: index for index, (piece, _) in enumerate(vocab)}
    added = {item["content"]: item["id"] for item in document["added_tokens"]}
    merges = tuple(" ".join(merge) for merge in model.get("merges", ()))
    return Vocabulary("", {**vocab, **added}, merges, {}, added, document)


@pytest.mark.parametrize("kind", RECORDED)
def test_the_first_token_is_that_of_the_library(kind: str) -> None:
    encoder = Encoder(vocabulary(RECORDED[kind]["tokenizer"]))
    first = RECORDED[kind]["first"]
    assert {text: encoder.first_token(text) for text in first} == first


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("normalizer", {"type": "Unheard"}),
        ("normalizer", {"type": "Prepend", "prepend": "x" * 100}),
        ("pre_tokenizer", {"type": "Unheard"}),
        ("pre_tokenizer", {"type": "Split", "pattern": {"String": "t"}}),
        ("pre_tokenizer", []),
    ],
)
def test_a_part_that_is_not_understood_is_refused(part: str, value: Any) -> None:
    document = {**RECORDED["digits"]["tokenizer"], part: value}
    with pytest.raises(UnknownPart):
        Encoder(vocabulary(document)).first_token("the")


@pytest.mark.parametrize("model", [{"type": "Unheard"}, {"end_of_word_suffix": "</w>"}])
def test_a_model_that_is_not_understood_is_refused(model: dict[str, str]) -> None:
    document = RECORDED["digits"]["tokenizer"]
    document = {**document, "model": {**document["model"], **model}}
    with pytest.raises(UnknownPart):
        Encoder(vocabulary(document))


@pytest.mark.parametrize(
    "pattern",
    [
        "(a*)*b",
        "(?:a{1,100}){1,100}",
        "(a)\\1",
        "[[a]",
        "(",
        "a*" * 30,
        "a" * 2000,
    ],
)
def test_a_pattern_that_could_run_long_is_refused(pattern: str) -> None:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    with pytest.raises(UnknownPart):
        split_first(split, "that")
