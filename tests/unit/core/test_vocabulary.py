# SPDX-License-Identifier: Apache-2.0
"""Tokens of every tokenizer come to the bytes they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedigree.fingerprint.token_bytes import VALUES_MAX
from pedigree.fingerprint.vocabulary import (
    TOKEN_MAX_BYTES,
    Vocabulary,
    anchors_by_bytes,
    hash_tokens,
    read_vocabulary,
)
from pedigree.limits import DEFAULT
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source
from pedigree.tensors.remarks import Remark

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
BYTE_LEVEL = {"type": "ByteLevel"}


def _read(folder: Path, remarks: list[Remark] | None = None) -> Vocabulary | None:
    source = open_source(parse(f"file://{folder}"), SourceSettings())
    return read_vocabulary(source, DEFAULT, remarks)


def _written(folder: Path, text: str | bytes, name: str = "tokenizer.json") -> Path:
    folder.mkdir(exist_ok=True)
    data = text.encode() if isinstance(text, str) else text
    (folder / name).write_bytes(data)
    return folder


def _tokenizer(vocab: object, kind: str = "BPE", **more: Any) -> str:
    model = {"type": kind, "vocab": vocab, "merges": more.pop("merges", [])}
    return json.dumps({"added_tokens": [], **more, "model": model})


def _hash(data: bytes) -> int:
    found, _ = hash_tokens(np.frombuffer(data, np.uint8), np.array([len(data)]))
    return int(found[0])


def _hashes(vocabulary: Vocabulary | None) -> list[int]:
    assert vocabulary is not None
    return [int(value) for value in vocabulary.token_hashes]


def test_gpt2_s_byte_alphabet_is_undone(tmp_path: Path) -> None:
    vocab = {"a": 0, "\u0120the": 1, "\u010a": 2, "\u00c3\u00a9": 3, "\u0141": 4}
    text = _tokenizer(vocab, decoder=BYTE_LEVEL)
    wanted = [b"a", b" the", b"\n", "\u00e9".encode(), b"\x9f"]
    # U+0141 is the 66th of the characters for bytes that are not printable.
    wanted[4] = bytes([[b for b in range(256) if _hidden(b)][0x41]])
    assert _hashes(_read(_written(tmp_path, text))) == [_hash(w) for w in wanted]


def _hidden(byte: int) -> bool:
    return byte <= 0x20 or 0x7F <= byte <= 0xA0 or byte == 0xAD


def test_sentencepiece_spaces_and_bytes_are_undone(tmp_path: Path) -> None:
    vocab = {"<unk>": 0, "<0x0A>": 1, "\u2581the": 2, "the": 3, "\u00e9": 4}
    text = _tokenizer(vocab, decoder={"type": "ByteFallback"})
    wanted = [b"<unk>", b"\n", b" the", b"the", "\u00e9".encode()]
    assert _hashes(_read(_written(tmp_path, text))) == [_hash(w) for w in wanted]


def test_a_byte_that_is_a_character_of_its_own_has_no_token(tmp_path: Path) -> None:
    vocab = {"<0x61>": 0, "<0x62>": 1, "<0x20>": 2, "<0xE9>": 3, "a": 4, "\u2581": 5}
    text = _tokenizer(vocab, decoder={"type": "ByteFallback"})
    wanted = [b"", b"b", b"", b"\xe9", b"a", b" "]
    found = _hashes(_read(_written(tmp_path, text)))
    assert found == [_hash(w) if w else 0 for w in wanted]


def test_a_unigram_list_is_numbered_by_place(tmp_path: Path) -> None:
    text = _tokenizer([["\u2581a", -1.5], ["b", -2], ["\u2581", -3.0]], "Unigram")
    wanted = [_hash(w) for w in (b" a", b"b", b" ")]
    assert _hashes(_read(_written(tmp_path, text))) == wanted


def test_wordpieces_that_begin_a_word_get_its_space(tmp_path: Path) -> None:
    text = _tokenizer({"[CLS]": 0, "play": 1, "##ing": 2, "#": 3}, "WordPiece")
    wanted = [_hash(w) for w in (b"[CLS]", b" play", b"ing", b" #")]
    assert _hashes(_read(_written(tmp_path, text))) == wanted


def test_one_word_has_one_hash_in_every_tokenizer(tmp_path: Path) -> None:
    found = set()
    for folder, text in {
        "a": _tokenizer({"\u0120cat": 0}, decoder=BYTE_LEVEL),
        "b": _tokenizer({"\u2581cat": 0}, decoder={"type": "Metaspace"}),
        "c": _tokenizer([["\u2581cat", 0.0]], "Unigram"),
        "d": _tokenizer({"cat": 0}, "WordPiece"),
    }.items():
        found.update(_hashes(_read(_written(tmp_path / folder, text))))
    assert found == {_hash(b" cat")}


def test_added_tokens_count_and_replace_what_the_vocabulary_says(
    tmp_path: Path,
) -> None:
    added = [{"id": 1, "content": "<|end of text|>"}, {"id": 4, "content": "\u0120"}]
    text = _tokenizer({"a": 0, "b": 1}, decoder=BYTE_LEVEL, added_tokens=added)
    found = _hashes(_read(_written(tmp_path, text)))
    wanted = [b"a", b"<|end of text|>", b"", b"", "\u0120".encode()]
    assert found == [_hash(w) if w else 0 for w in wanted]


@pytest.mark.parametrize(
    ("tokens", "wanted"),
    [
        (["\u0120a", "b"], [b" a", b"b"]),
        (["\u2581a", "b"], [b" a", b"b"]),
        (["a", "##b"], [b" a", b"b"]),
    ],
)
def test_a_bare_vocabulary_is_understood_by_its_marks(
    tokens: list[str], wanted: list[bytes], tmp_path: Path
) -> None:
    text = json.dumps({token: number for number, token in enumerate(tokens)})
    found = _read(_written(tmp_path, text, "vocab.json"))
    assert _hashes(found) == [_hash(w) for w in wanted]


@pytest.mark.parametrize("kind", ["BPE", "WordPiece"])
def test_a_token_that_holds_a_nul_does_not_shift_the_others(
    kind: str, tmp_path: Path
) -> None:
    text = _tokenizer({"a": 0, "x\u0000y": 1, "##b": 2}, kind)
    found = _hashes(_read(_written(tmp_path, text)))
    space = " " if kind == "WordPiece" else ""
    assert found[0] == _hash(f"{space}a".encode())
    assert found[1] == _hash(f"{space}x\0y".encode())
    assert found[2] == _hash(b"b" if space else b"##b")


MERGES = ["a b", '"merges": [', "]}}"]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("merges", [MERGES, [["a", "b"]], []])
def test_merges_do_not_matter_wherever_they_are(
    merges: list[Any], indent: int | None, tmp_path: Path
) -> None:
    vocab = {"a": 0, ',"merges": [': 1, '\\","merges":[': 2}
    model = {"type": "BPE", "vocab": vocab}
    orders = [
        {"added_tokens": [], "model": {**model, "merges": merges}},
        {"model": {**model, "merges": merges}, "added_tokens": []},
        {"model": {"merges": merges, **model}},
        {"model": model},
    ]
    found = [
        _hashes(_read(_written(tmp_path / str(i), json.dumps(order, indent=indent))))
        for i, order in enumerate(orders)
    ]
    assert found == [[_hash(t.encode()) for t in vocab]] * len(orders)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"model": 3}',
        b'{"model": {"vocab": null}}',
        b'{"model": {"vocab": {}}}',
        b'{"model": {"vocab": {"a": -1}}}',
        b'{"model": {"vocab": {"a": 1.0}}}',
        b'{"model": {"vocab": {"a": true}}}',
        b'{"model": {"vocab": {"a": 99999999}}}',
        b'{"model": {"vocab": {"a": 99999999999999999999999}}}',
        b'{"model": {"vocab": {"\\ud800": 1}}}',
        b'{"model": {"vocab": [3]}}',
        b'{"model": {"vocab": [[]]}}',
        b'{"model": {"vocab": [[3, 0.0]]}}',
        b'{"model": {"vocab": {"a": 0}}, "added_tokens": 3}',
        b'{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": "1"}]}',
        b'{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": -1, "content": ""}]}',
        b"[" * 5000,
        b'{"model": {"merges": [' + b"[" * 5000 + b"]}}",
    ],
)
def test_a_malformed_tokenizer_is_a_remark(text: bytes, tmp_path: Path) -> None:
    remarks: list[Remark] = []
    assert _read(_written(tmp_path, text), remarks) is None
    assert [(r.reason, r.path) for r in remarks] == [
        ("MalformedTokenizer", "tokenizer.json")
    ]


def test_a_file_of_millions_of_values_is_not_even_parsed(tmp_path: Path) -> None:
    remarks: list[Remark] = []
    text = b"[" + b"0," * (VALUES_MAX + 1) + b"0]"
    assert _read(_written(tmp_path, text), remarks) is None
    assert "allowed are" in remarks[0].message


def test_a_model_without_tokenizer_has_no_vocabulary(tmp_path: Path) -> None:
    remarks: list[Remark] = []
    assert _read(_written(tmp_path, b"{}", "config.json"), remarks) is None
    assert remarks == []


def test_empty_and_endless_tokens_are_left_out(tmp_path: Path) -> None:
    vocab = {"": 0, "x" * (TOKEN_MAX_BYTES + 1): 1, "x" * TOKEN_MAX_BYTES: 2, "y": 3}
    found = _hashes(_read(_written(tmp_path, _tokenizer(vocab, decoder=BYTE_LEVEL))))
    assert found == [0, 0, _hash(b"x" * TOKEN_MAX_BYTES), _hash(b"y")]


def test_token_hashes_are_stored_and_never_change() -> None:
    assert [_hash(w) for w in (b"a", b" the", bytes(3))] == GOLDEN_HASHES


GOLDEN_HASHES = [4367257305523335512, 17492073528873504828, 5753743198051716796]


@given(st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=30))
def test_hashes_depend_on_each_token_alone(tokens: list[bytes]) -> None:
    data = np.frombuffer(b"".join(tokens), np.uint8)
    found, plain = hash_tokens(data, np.array([len(t) for t in tokens]))
    assert found.tolist() == [_hash(t) for t in tokens]
    assert len(set(found.tolist())) == len(set(tokens))
    assert plain.tolist() == [all(0x20 <= b < 0x7F for b in t) for t in tokens]


def test_examples_have_one_hash_for_each_token() -> None:
    for name in ("llama-a", "gpt2-a"):
        vocabulary = _read(EXAMPLES / name)
        assert vocabulary is not None
        assert vocabulary.size == 2048
        assert len(np.unique(vocabulary.token_hashes)) == 2048


def _words(words: list[bytes], place: list[int]) -> Vocabulary:
    size = max(place) + 1
    hashes, lengths = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    plain = np.zeros(size, np.bool_)
    for word, row in zip(words, place, strict=True):
        found, printable = hash_tokens(
            np.frombuffer(word, np.uint8), np.array([len(word)])
        )
        hashes[row], lengths[row], plain[row] = found[0], len(word), printable[0]
    return Vocabulary(hashes, lengths, plain)


def test_anchors_agree_between_vocabularies_of_other_order_and_size() -> None:
    random = np.random.default_rng(5)
    words = sorted({bytes(w) for w in random.integers(97, 107, (600, 3), np.uint8)})
    more = [*words, *(b"longer" + w for w in words)]
    here = _words(words, random.permutation(len(words)).tolist())
    there = _words(more, random.permutation(len(more)).tolist())
    a = here.token_hashes[anchors_by_bytes(here, 64)]
    b = there.token_hashes[anchors_by_bytes(there, 64)]
    assert a.tolist() == b.tolist()
    assert len(set(a.tolist())) == 64
    assert a[:16].tolist() == here.token_hashes[anchors_by_bytes(here, 16)].tolist()


def test_single_characters_then_short_plain_tokens_are_anchors_before_others() -> None:
    words = [b"longword", b"\xff", b"ab", b"\n", b" c", b"abcd", b"z", b"{"]
    vocabulary = _words(words, list(range(8)))
    anchors = anchors_by_bytes(vocabulary, 10).tolist()
    assert set(anchors[:2]) == {6, 7}
    assert set(anchors[2:4]) == {2, 4}
    assert sorted(anchors) == list(range(8))


def test_two_tokens_of_the_same_bytes_are_one_anchor_and_rows_bound_it() -> None:
    vocabulary = _words([b"a", b"a", b"b", b"c"], [0, 1, 2, 9])
    assert sorted(anchors_by_bytes(vocabulary, 9).tolist()) == [0, 2, 9]
    assert sorted(anchors_by_bytes(vocabulary, 9, rows=5).tolist()) == [0, 2]
