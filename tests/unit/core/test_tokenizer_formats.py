# SPDX-License-Identifier: Apache-2.0
"""One vocabulary has one meaning in whatever format a model stores it."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import made_gguf
import made_models
import made_tokenizers as made
from pedigree.errors import ArtifactError
from pedigree.fingerprint import token_sentencepiece
from pedigree.fingerprint.token_files import reader_of
from pedigree.fingerprint.token_ranks import (
    SPECIALS_MAX,
    tekken_tokens,
    tiktoken_tokens,
)
from pedigree.fingerprint.token_sentencepiece import (
    PIECE_FIELDS_MAX,
    sentencepiece_tokens,
)
from pedigree.fingerprint.token_spelling import TokenBytes
from pedigree.fingerprint.vocabulary import (
    FILE_MAX_BYTES,
    Vocabulary,
    hash_tokens,
    read_vocabulary,
)
from pedigree.limits import DEFAULT, Limits
from pedigree.tensors.gguf_header import ArrayRange, GgufHeader
from pedigree.tensors.gguf_tokens import read_tokens, stored_tokens
from pedigree.tensors.layout import StoredTokens
from pedigree.tensors.remarks import Remark

PIECES: dict[str, list[str]] = json.loads((made.DATA / "pieces.json").read_text())
UNIGRAM = (made.DATA / "unigram.model").read_bytes()
BYTE_TOKENS = made.byte_tokens()


def _read(folder: Path, remarks: list[Remark] | None = None) -> Vocabulary | None:
    source = made_models.source(folder)
    stored = None
    if (folder / "model.gguf").exists():
        stored = made_models.checkpoint(folder).tokens
    return read_vocabulary(source, DEFAULT, remarks, stored)


def _written(folder: Path, name: str, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return folder


def _hashes(vocabulary: Vocabulary | None) -> list[int]:
    assert vocabulary is not None
    return [int(value) for value in vocabulary.token_hashes]


def _hash(data: bytes) -> int:
    if not data:
        return 0
    found, _ = hash_tokens(np.frombuffer(data, np.uint8), np.array([len(data)]))
    return int(found[0])


def _by_id(tokens: TokenBytes) -> dict[int, bytes]:
    ends = np.cumsum(tokens.lengths)
    return {
        number: tokens.data[end - length : end].tobytes()
        for number, length, end in zip(
            tokens.ids.tolist(), tokens.lengths.tolist(), ends.tolist(), strict=True
        )
    }


def test_a_byte_level_vocabulary_is_the_same_in_four_formats(tmp_path: Path) -> None:
    tokens = BYTE_TOKENS
    folders = [
        _written(tmp_path / "a", "tokenizer.json", made.byte_level_json(tokens)),
        _written(tmp_path / "b", "tokenizer.model", made.ranks(tokens)),
        _written(tmp_path / "c", "qwen.tiktoken", made.ranks(tokens)),
        _written(tmp_path / "d", "tiktoken.model", made.ranks(tokens)),
        _written(tmp_path / "e", "tekken.json", made.tekken(tokens, [], 0)),
        made.gguf_file(tmp_path / "f", "gpt2", list(map(made.spelled, tokens))),
    ]
    wanted = [_hash(token) for token in tokens]
    for folder in folders:
        assert _hashes(_read(folder)) == wanted, folder.name


def test_special_tokens_are_the_same_in_every_format_that_has_them(
    tmp_path: Path,
) -> None:
    tokens, specials = BYTE_TOKENS, ("<|\u0120end|>", "<|\u0120pad|>")
    texts = [*map(made.spelled, tokens), *specials]
    kinds = [1] * len(tokens) + [3, 4]
    folders = [
        _written(
            tmp_path / "a", "tokenizer.json", made.byte_level_json(tokens, specials)
        ),
        made.gguf_file(tmp_path / "b", "gpt2", texts, kinds),
    ]
    wanted = [_hash(token) for token in (*tokens, *map(str.encode, specials))]
    for folder in folders:
        assert _hashes(_read(folder)) == wanted, folder.name


def test_a_tekken_keeps_room_for_special_tokens_before_all_others(
    tmp_path: Path,
) -> None:
    tokens, names = BYTE_TOKENS, ("<unk>", "<s>")
    data = made.tekken(tokens, names, 5, default_vocab_size=5 + 300)
    found = _hashes(_read(_written(tmp_path, "tekken.json", data)))
    special = [b"<unk>", b"<s>", *(b"<SPECIAL_%d>" % place for place in (2, 3, 4))]
    assert found == [_hash(token) for token in (*special, *tokens[:300])]
    old = _written(tmp_path / "old", "tekken.json", made.tekken(tokens, None, 5))
    assert _hashes(_read(old))[:6] == [0] * 5 + [_hash(tokens[0])]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_model_that_sentencepiece_wrote_has_the_tokens_that_it_tells(
    kind: str, tmp_path: Path
) -> None:
    pieces = PIECES[kind]
    model = (made.DATA / f"{kind}.model").read_bytes()
    if kind == "unigram":
        vocab = [[text, -1.0] for text in pieces]
        same = made.tokenizer_json(vocab, "Unigram", "Metaspace")
    else:
        numbered = {text: number for number, text in enumerate(pieces)}
        same = made.tokenizer_json(numbered, "BPE", "ByteFallback")
    folders = [
        _written(tmp_path / "a", "tokenizer.model", model),
        _written(tmp_path / "b", "spiece.model", model),
        _written(tmp_path / "c", "tokenizer.json", same),
        made.gguf_file(tmp_path / "d", "llama", pieces, [1] * len(pieces)),
    ]
    found = [_hashes(_read(folder)) for folder in folders]
    assert found == [found[0]] * 4
    plain = {number: text for number, text in enumerate(pieces) if text[:3] != "<0x"}
    assert len(pieces) - len(plain) == 256
    for number, text in plain.items():
        assert found[0][number] == _hash(text.replace("\u2581", " ").encode())
    for byte in (0x0A, 0x80, 0xFF):
        assert found[0][pieces.index(f"<0x{byte:02X}>")] == _hash(bytes([byte]))


def test_wordpieces_in_gguf_begin_with_a_space(tmp_path: Path) -> None:
    words = {"[CLS]": 0, "play": 1, "##ing": 2}
    texts = ["[CLS]", "\u2581play", "ing"]
    json_text = made.tokenizer_json(words, "WordPiece", "WordPiece")
    a = _read(_written(tmp_path / "a", "tokenizer.json", json_text))
    b = _read(made.gguf_file(tmp_path / "b", "bert", texts))
    assert _hashes(a) == _hashes(b) == [_hash(w) for w in (b"[CLS]", b" play", b"ing")]


def test_padding_of_a_gguf_vocabulary_is_no_token(tmp_path: Path) -> None:
    texts = ["a", "[PAD1]", "[PAD1]", "[PAD3]"]
    found = _hashes(_read(made.gguf_file(tmp_path, "gpt2", texts, [1, 5, 5, 1])))
    assert found == [_hash(b"a"), 0, _hash(b"[PAD1]"), _hash(b"[PAD3]")]


def test_a_model_finds_its_base_by_bytes_whatever_its_tokenizer_is_stored_as(
    tmp_path: Path,
) -> None:
    tokens = BYTE_TOKENS
    weights = made_models.llama(1, tokens=len(tokens))
    names = []
    for place, (name, data) in enumerate({
        "tokenizer.json": made.byte_level_json(tokens),
        "tokenizer.model": made.ranks(tokens),
        "tekken.json": made.tekken(tokens, [], 0),
    }.items()):  # fmt: skip
        folder = made_models.write(tmp_path / str(place), weights)
        part = made_models.fingerprint(_written(folder, name, data)).part
        found = part("anchor.bytes")
        assert found is not None
        names.append(found.tolist())
    converted = dict(made_gguf.converted(weights, 1, 1))
    folder = made.gguf_file(
        tmp_path / "g", "gpt2", list(map(made.spelled, tokens)), tensors=converted
    )
    found = made_models.fingerprint(folder).part("anchor.bytes")
    assert found is not None
    assert names == [found.tolist()] * 3
    assert len(names[0]) > 100


def test_the_file_that_says_most_counts_first(tmp_path: Path) -> None:
    order = {
        "tokenizer.json": made.byte_level_json([b"one"]),
        "vocab.json": json.dumps({"two": 0}).encode(),
        "model.gguf": b"",
        "tokenizer.model": made.ranks([b"four"]),
        "spiece.model": made.piece("five"),
        "tekken.json": made.tekken([b"six"], [], 0),
        "tiktoken.model": made.ranks([b"seven"]),
        "a.tiktoken": made.ranks([b"eight"]),
    }
    _written(tmp_path, "notes.txt", b"so that the folder is never empty")
    for name, data in order.items():
        if name != "model.gguf":
            _written(tmp_path, name, data)
    made.gguf_file(tmp_path, "gpt2", ["three"])
    words = [b"one", b"two", b"three", b"four", b"five", b"six", b"seven", b"eight"]
    for name, word in zip(order, words, strict=True):
        assert _hashes(_read(tmp_path)) == [_hash(word)]
        (tmp_path / name).unlink()
    assert _read(tmp_path) is None


def test_of_two_files_of_ranks_none_is_chosen(tmp_path: Path) -> None:
    _written(tmp_path, "a.tiktoken", made.ranks([b"a"]))
    _written(tmp_path, "b.tiktoken", made.ranks([b"b"]))
    assert _read(tmp_path) is None


def test_two_tokenizers_that_say_the_same_are_not_remarked_on(tmp_path: Path) -> None:
    remarks: list[Remark] = []
    _written(
        tmp_path, "tokenizer.json", made.byte_level_json(BYTE_TOKENS, made.SPECIALS)
    )
    _written(tmp_path, "tokenizer.model", made.ranks(BYTE_TOKENS))
    assert _read(tmp_path, remarks) is not None
    assert remarks == []


def test_an_id_that_one_tokenizer_leaves_out_is_no_disagreement(
    tmp_path: Path,
) -> None:
    remarks: list[Remark] = []
    tokens = [b"<s>", b"</s>", *BYTE_TOKENS]
    _written(tmp_path, "tokenizer.json", made.byte_level_json(tokens))
    _written(tmp_path, "tekken.json", made.tekken(BYTE_TOKENS, None, 2))
    assert _hashes(_read(tmp_path, remarks))[0] == _hash(b"<s>")
    assert remarks == []


def test_a_tokenizer_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    folder = _written(tmp_path, "tokenizer.model", made.ranks([b"a"]))
    remarks: list[Remark] = []
    source = made_models.source(folder)
    assert read_vocabulary(source, Limits(read_max_bytes=6), remarks) is None
    assert [r.reason for r in remarks] == ["LimitExceeded"]
    assert read_vocabulary(source, Limits(read_max_bytes=7)) is not None


@pytest.mark.parametrize(("renamed", "severity"), [(5, "Info"), (6, "Warning")])
def test_two_tokenizers_that_disagree_are_remarked_on(
    renamed: int, severity: str, tmp_path: Path
) -> None:
    assert len(BYTE_TOKENS) == 556
    other = [*BYTE_TOKENS[:-renamed], *(b"new%d" % i for i in range(renamed))]
    remarks: list[Remark] = []
    _written(tmp_path, "tokenizer.json", made.byte_level_json(BYTE_TOKENS))
    _written(tmp_path, "tekken.json", made.tekken(other, [], 0))
    assert _hashes(_read(tmp_path, remarks))[-1] == _hash(BYTE_TOKENS[-1])
    (remark,) = remarks
    assert (remark.reason, remark.path) == ("TokenizersDiffer", "tekken.json")
    assert remark.severity == severity
    assert f"{renamed} of 556 ids" in remark.message
    assert f"the first is {556 - renamed}" in remark.message


def test_a_vocabulary_of_a_guessed_spelling_is_not_held_against_one_that_says_it(
    tmp_path: Path,
) -> None:
    tokens = [b"\xc3\xa9", b"ab"]  # no mark of a spelling
    remarks: list[Remark] = []
    _written(tmp_path, "tokenizer.json", made.byte_level_json(tokens))
    vocab = {made.spelled(token): number for number, token in enumerate(tokens)}
    _written(tmp_path, "vocab.json", json.dumps(vocab).encode())
    assert _hashes(_read(tmp_path, remarks)) == [_hash(token) for token in tokens]
    assert remarks == []


def test_a_weight_file_s_own_vocabulary_is_checked_too(tmp_path: Path) -> None:
    remarks: list[Remark] = []
    _written(tmp_path, "tokenizer.json", made.byte_level_json([b"a", b"b"]))
    made.gguf_file(tmp_path, "gpt2", ["b", "a"])
    assert _hashes(_read(tmp_path, remarks)) == [_hash(b"a"), _hash(b"b")]
    assert [(r.reason, r.path) for r in remarks] == [("TokenizersDiffer", "model.gguf")]


DOCUMENT = "tokenizer.huggingface.json"


def _with_document(
    folder: Path, document: bytes, keys: Mapping[str, object] | None = None
) -> Path:
    weights = {"token_embd.weight": np.zeros((4, 4), np.float32)}
    said = {**(keys or {}), DOCUMENT: document.decode()}
    return _written(folder, "model.gguf", made_gguf.file_bytes(weights, said))


@pytest.mark.parametrize("count", [3, 20_000], ids=["short", "long"])
def test_a_tokenizer_s_json_in_gguf_is_read_where_there_is_no_other(
    count: int, tmp_path: Path
) -> None:
    tokens = [b"%x" % number for number in range(count)]
    document = made.byte_level_json(tokens)
    assert (len(document) > 1 << 16) == (count > 3)
    remarks: list[Remark] = []
    found = _hashes(_read(_with_document(tmp_path, document), remarks))
    assert found == [_hash(token) for token in tokens]
    assert remarks == []


def test_a_tokenizer_s_json_in_gguf_is_held_against_the_file_s_own_tokens(
    tmp_path: Path,
) -> None:
    keys = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["a", "b", "c"]}
    remarks: list[Remark] = []
    same = made.byte_level_json([b"a", b"b", b"c"])
    _read(_with_document(tmp_path / "same", same, keys), remarks)
    assert remarks == []
    other = made.byte_level_json([b"b", b"a", b"c"])
    found = _read(_with_document(tmp_path / "other", other, keys), remarks)
    assert _hashes(found) == [_hash(b"a"), _hash(b"b"), _hash(b"c")]
    ((path, message),) = [(each.path, each.message) for each in remarks]
    assert path == "model.gguf"
    assert "'model.gguf#tokenizer.json' and 'model.gguf' give different" in message


def test_a_tokenizer_s_json_in_gguf_counts_where_the_tokens_are_not_understood(
    tmp_path: Path,
) -> None:
    keys = {"tokenizer.ggml.model": "rwkv", "tokenizer.ggml.tokens": ["x"]}
    document = made.byte_level_json([b"a"])
    remarks: list[Remark] = []
    assert _hashes(_read(_with_document(tmp_path, document, keys), remarks)) == [
        _hash(b"a")
    ]
    ((path, message),) = [(each.path, each.message) for each in remarks]
    assert path == "model.gguf"
    assert "aligned by 'model.gguf#tokenizer.json'" in message


@pytest.mark.parametrize("document", [b"{", b"", b"[]"])
def test_a_broken_json_in_gguf_is_a_remark_and_no_vocabulary(
    document: bytes, tmp_path: Path
) -> None:
    remarks: list[Remark] = []
    assert _read(_with_document(tmp_path, document), remarks) is None
    assert [each.path for each in remarks] == ["model.gguf"] * bool(document)


def test_a_tokenizer_s_json_in_gguf_that_is_too_long_is_not_read(
    tmp_path: Path,
) -> None:
    document = made.byte_level_json([b"%x" % number for number in range(20_000)])
    folder = _with_document(tmp_path, document)
    stored = made_models.checkpoint(folder).tokens
    remarks: list[Remark] = []
    limits = Limits(read_max_bytes=len(document) - 1)
    assert read_vocabulary(made_models.source(folder), limits, remarks, stored) is None
    assert [each.reason for each in remarks] == ["LimitExceeded"]


def test_a_list_under_the_key_of_a_tokenizer_s_json_is_passed_over() -> None:
    for places in (ArrayRange(8, 2, 0, 40), ArrayRange(0, 1, 0, 1)):
        header = GgufHeader(3, {}, {DOCUMENT: places}, (), 64)
        assert stored_tokens(header, "m.gguf") is None


def test_a_tokenizer_that_is_broken_leaves_the_word_to_the_next(tmp_path: Path) -> None:
    remarks: list[Remark] = []
    _written(tmp_path, "tokenizer.json", b"{")
    _written(tmp_path, "tokenizer.model", made.ranks([b"a"]))
    assert _hashes(_read(tmp_path, remarks)) == [_hash(b"a")]
    assert [(r.reason, r.path) for r in remarks] == [
        ("MalformedTokenizer", "tokenizer.json")
    ]
    assert "aligned by 'tokenizer.model'" in remarks[0].message


def _id(number: int) -> dict[str, object]:
    return {"rank": number, "token_bytes": "YQ=="}


def _tekken(**more: object) -> bytes:
    config = {"default_vocab_size": 1, "default_num_special_tokens": 0}
    document = {"config": config, "vocab": [_id(0)], "special_tokens": []}
    return json.dumps({**document, **more}).encode()


def _sized(size: int, room: int, **more: object) -> bytes:
    config = {"default_vocab_size": size, "default_num_special_tokens": room}
    return _tekken(config=config, **more)


BAD = [
    ("spiece.model", b""),
    ("spiece.model", b"\x0a"),
    ("spiece.model", b"\x0a\x05\x0a\x01"),
    ("spiece.model", made.field(1, b"\x0a\x05a")),
    ("spiece.model", made.field(1, b"\x15\0\0\0\0")),
    ("spiece.model", made.piece(b"\xff")),
    ("spiece.model", made.piece("a")[:-2]),
    ("spiece.model", b"\x0a\x80\x0a\x79" + b"a" * 121 + b"\x15" + bytes(4)),
    ("spiece.model", made.field(1, made.field(2, b"a") + b"\x15" + bytes(4))),
    ("spiece.model", made.piece("a")[:-1] + b"\x80"),
    ("spiece.model", b"\x03"),
    ("spiece.model", b"\x06"),
    ("spiece.model", b"\x02\x00"),
    ("spiece.model", made.piece("a") + b"\x02\x00"),
    ("spiece.model", made.piece("a") + b"\x0b"),
    ("spiece.model", made.piece("a") + b"\xff" * 11),
    ("spiece.model", made.piece("a") + b"\x8a" + b"\x80" * 10 + b"\0\x03\x0a\x01b"),
    ("spiece.model", made.piece("a") + b"\x0a" + b"\x80" * 9 + b"\x01"),
    ("spiece.model", made.piece("a") + b"\x0a" + made.varint(2**63)),
    ("spiece.model", made.field(1, made.field(1, b"a") * (PIECE_FIELDS_MAX + 1))),
    ("spiece.model", made.field(2, b"a trainer and no pieces")),
    ("tokenizer.model", b""),
    ("tokenizer.model", b"\x0a\x7fa"),
    ("tokenizer.model", b"YQ== 0\nYQ==\n"),
    ("tokenizer.model", b"YQ== 0\nYQ== -1\n"),
    ("tokenizer.model", b"YQ== 0\nYg== 0\n"),
    ("tokenizer.model", b"YQ== 0 1\n"),
    ("tokenizer.model", b"YQ= 0\n"),
    ("tokenizer.model", b"Y*== 0\n"),
    ("tokenizer.model", b"YQ== 99999999\n"),
    ("tokenizer.model", b"YQ== 99999999999999999999999999\n"),
    ("tokenizer.model", b"YQ== 1" + b"0" * 5000 + b"\n"),
    ("tekken.json", b"[]"),
    ("tekken.json", b"{}"),
    ("tekken.json", b"{"),
    ("tekken.json", _tekken(vocab=[3])),
    ("tekken.json", _tekken(vocab=[{"rank": 0}])),
    ("tekken.json", _tekken(vocab=[{"rank": True, "token_bytes": ""}])),
    ("tekken.json", _sized(2, 0, vocab=[_id(0), {"rank": True, "token_bytes": ""}])),
    ("tekken.json", _tekken(vocab=[{"rank": -1, "token_bytes": "YQ=="}])),
    ("tekken.json", _tekken(vocab=[{"rank": 0, "token_bytes": "\u00e9"}])),
    ("tekken.json", _tekken(vocab=[_id(0), _id(0)])),
    ("tekken.json", _tekken(vocab=[])),
    ("tekken.json", _tekken(special_tokens=3)),
    ("tekken.json", _tekken(special_tokens=[3])),
    ("tekken.json", _tekken(special_tokens=[{"rank": 0, "token_str": "a"}])),
    ("tekken.json", _tekken(config={})),
    ("tekken.json", _sized(9, 9**9)),
    ("tekken.json", _sized(SPECIALS_MAX + 2, SPECIALS_MAX + 1)),
    ("tekken.json", _sized(2**30, 0)),
    ("tekken.json", _sized(7, 5)),
    ("tekken.json", _sized(4, 5)),
    ("tekken.json", _sized(6, 5, special_tokens=[{"rank": 9, "token_str": "a"}])),
]


@pytest.mark.parametrize(("name", "data"), BAD)
def test_a_malformed_vocabulary_is_a_remark_and_no_vocabulary(
    name: str, data: bytes, tmp_path: Path
) -> None:
    remarks: list[Remark] = []
    assert _read(_written(tmp_path, name, data), remarks) is None
    assert [(r.reason, r.path) for r in remarks] == [("MalformedTokenizer", name)]
    assert "not aligned" in remarks[0].message


def test_a_small_file_cannot_take_long() -> None:
    most = 2**20
    began = time.process_time()
    for name, data in {
        "spiece.model": b"\x08\x00" * (most + 2000),
        "tiktoken.model": b"\n" * (most + 1),
    }.items():
        with pytest.raises(ArtifactError, match="has more than"):
            reader_of(name)(data)
    assert time.process_time() - began < 10


def test_a_vocabulary_in_gguf_that_is_too_long_is_not_read() -> None:
    stored = StoredTokens("m.gguf", "gpt2", 1, 0, FILE_MAX_BYTES + 1, None)
    file = made_models.source(made.DATA).open("bpe.model")
    with pytest.raises(ArtifactError) as caught:
        read_tokens(file, stored, max_bytes=FILE_MAX_BYTES, max_count=9)
    assert caught.value.reason == "LimitExceeded"
    many = StoredTokens("m.gguf", "gpt2", 10, 0, 80, None)
    with pytest.raises(ArtifactError) as caught:
        read_tokens(file, many, max_bytes=FILE_MAX_BYTES, max_count=9)
    assert caught.value.reason == "LimitExceeded"


def _header(tokens: ArrayRange, kinds: ArrayRange) -> GgufHeader:
    arrays = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds}
    return GgufHeader(3, {"tokenizer.ggml.model": "gpt2"}, arrays, (), 0)


def test_a_vocabulary_in_gguf_has_texts_and_a_kind_for_each_or_none() -> None:
    texts, kinds = ArrayRange(8, 3, 40, 90), ArrayRange(5, 3, 200, 212)
    found = stored_tokens(_header(texts, kinds), "m.gguf")
    assert found == StoredTokens("m.gguf", "gpt2", 3, 40, 90, 200)
    for wrong in (ArrayRange(5, 2, 200, 208), ArrayRange(4, 3, 200, 212)):
        found = stored_tokens(_header(texts, wrong), "m.gguf")
        assert found is not None
        assert found.kinds is None
    assert stored_tokens(_header(ArrayRange(5, 3, 40, 52), kinds), "m.gguf") is None


class _Changed:
    path = "m.gguf"

    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def read_many(self, ranges: object) -> list[bytes]:
        raise NotImplementedError


@pytest.mark.parametrize("length", [0, 2, 4, 2**63])
def test_a_gguf_that_changed_since_its_header_was_read_is_refused(length: int) -> None:
    data = struct.pack("<Q", length) + b"abc"
    stored = StoredTokens("m.gguf", "gpt2", 1, 0, len(data), None)
    with pytest.raises(ArtifactError) as caught:
        read_tokens(_Changed(data), stored, max_bytes=99, max_count=9)
    assert caught.value.reason == "MalformedGguf"


@pytest.mark.parametrize(
    ("spelling", "texts", "reason"),
    [
        ("rwkv", ["a"], "MalformedTokenizer"),
        ("gpt2", [b"\xff"], "MalformedTokenizer"),
        ("gpt2", [], "MalformedTokenizer"),
    ],
)
def test_a_vocabulary_in_gguf_that_is_not_understood_is_a_remark(
    spelling: str, texts: list[str | bytes], reason: str, tmp_path: Path
) -> None:
    remarks: list[Remark] = []
    keys = {"tokenizer.ggml.model": spelling, "tokenizer.ggml.tokens": texts}
    weights = {"t": np.ones((2, 32), np.float32)}
    folder = _written(tmp_path, "model.gguf", made_gguf.file_bytes(weights, keys))
    assert _read(folder, remarks) is None
    assert [(r.reason, r.path) for r in remarks] == [(reason, "model.gguf")]


READERS: list[tuple[Callable[[bytes], TokenBytes], bytes]] = [
    (sentencepiece_tokens, UNIGRAM[:400]),
    (tiktoken_tokens, made.ranks(BYTE_TOKENS[:40])),
    (tekken_tokens, _tekken()),
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(READERS), st.binary(max_size=80), st.integers(0, 400))
def test_any_bytes_give_tokens_or_an_error_of_ours(
    case: tuple[Callable[[bytes], TokenBytes], bytes], noise: bytes, at: int
) -> None:
    reader, valid = case
    for data in (noise, valid[:at] + noise + valid[at + len(noise) :]):
        try:
            found = reader(data)
        except ArtifactError:
            continue
        assert found.lengths.sum() == found.data.size
        assert len(found.ids) == len(found.lengths)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=12), st.integers(0, 400), st.integers(0, 6))
def test_the_fast_way_through_pieces_gives_what_the_rules_of_protobuf_give(
    noise: bytes, at: int, over: int
) -> None:
    data = UNIGRAM[:at] + noise + UNIGRAM[at + over : 400]
    with pytest.MonkeyPatch.context() as patch:
        found = [_or_nothing(data)]
        patch.setattr(token_sentencepiece, "_usual_end", lambda *_: 0)
        found.append(_or_nothing(data))
    assert found[0] == found[1]


def _or_nothing(data: bytes) -> dict[int, bytes] | None:
    try:
        return _by_id(sentencepiece_tokens(data))
    except ArtifactError:
        return None


def test_pieces_in_any_order_of_fields_and_of_any_length_are_read() -> None:
    long, score = b"x" * 200, b"\x15" + struct.pack("<f", -1.5)
    data = b"".join(
        [
            made.piece(long),
            made.field(1, score + made.field(1, b"b")),
            made.field(1, made.field(1, b"first") + made.field(1, b"c")),
            made.field(1, made.field(1, b"d") + score + b"\x18\x81\x00"),
            made.field(2, made.field(1, b"a trainer") + score),
            made.field(1, made.field(1, b"e")),
            b"\x51" + bytes(8),
            made.piece(b""),
        ]
    )
    tokens = [long, b"b", b"c", b"d", b"e", b""]
    assert _by_id(sentencepiece_tokens(data)) == dict(enumerate(tokens))


@given(st.lists(st.binary(min_size=1, max_size=8), min_size=1, unique=True))
def test_ranks_come_back_as_they_were_written(tokens: list[bytes]) -> None:
    assert _by_id(tiktoken_tokens(made.ranks(tokens))) == dict(enumerate(tokens))
    assert base64.b64encode(tokens[0]) in made.ranks(tokens)
