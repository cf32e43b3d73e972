# SPDX-License-Identifier: Apache-2.0
"""The tokens of a tokenizer that is JSON, as the bytes they stand for.

Reads ``tokenizer.json``, or ``vocab.json`` alone, and runs nothing.  The reader is the
fast one and takes the last of two equal keys, unlike
:mod:`pedigree.tensors.strictjson`: a vocabulary only says which rows of two embeddings
to compare, and the tests of rows hold for any choice that does not look at the
weights, so a file with two meanings can cost evidence and cannot make any.  Size and
number of values are bounded before any object is made.

What spellings mean says :mod:`pedigree.fingerprint.token_spelling`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pedigree.errors import ArtifactError
from pedigree.fingerprint.spec import VOCABULARY_MAX
from pedigree.fingerprint.token_spelling import (
    SPACE,
    Spelling,
    TokenBytes,
    checked_ids,
    joined,
    listed,
    malformed,
    spelled,
)

VALUES_MAX = 2_000_000
"""Values of one file; the largest published vocabularies hold about 500,000."""
_MERGES = b'"merges"'
_BEFORE = re.compile(rb"[,{]\s*\Z")
_AFTER = re.compile(rb"\s*:\s*\[")
_SPACES_MAX = 256
_TAIL = re.compile(rb"\]\s*\}\s*\}\s*\Z")
_TAIL_BYTES = 4096
_SEPARATOR = "\0"


def tokenizer_tokens(text: bytes) -> TokenBytes:
    """Tokens of a ``tokenizer.json``, added ones included.

    Raises:
        ArtifactError: It is not one (``MalformedTokenizer``).
    """
    document = _document(text)
    model = document.get("model")
    if not isinstance(model, dict):
        raise malformed("it has no model")
    tokens, ids = _vocabulary(model.get("vocab"))
    spelling = _spelling(document, model, tokens)
    added = list(_added(document.get("added_tokens"), spelling))
    return joined([spelled(tokens, ids, spelling), listed(added)])


def vocabulary_tokens(text: bytes) -> TokenBytes:
    """Tokens of a ``vocab.json``.

    Raises:
        ArtifactError: It is not one (``MalformedTokenizer``).
    """
    tokens, ids = _vocabulary(parse_document(text))
    return spelled(tokens, ids, _guess(tokens, pieces=True))


def _document(text: bytes) -> dict[str, Any]:
    """A tokenizer's JSON, without its merges where they can be cut off.

    Merges are more than half of most files and are not needed.  They are cut off when
    they close the file, as they do in what the tokenizers library writes.
    """
    cut = _merges(text)
    if cut >= 0:
        kept = text[:cut].rstrip()
        try:
            document = parse_document(kept.removesuffix(b",") + b"}}")
        except ArtifactError:
            document = None  # they do not close the file after all
        if isinstance(document, dict) and "vocab" in (document.get("model") or {}):
            return document
    document = parse_document(text)
    if not isinstance(document, dict):
        raise malformed("it is no map")
    return document


def _merges(text: bytes) -> int:
    """Where the list of merges that closes the file begins with its name, or -1.

    Between a brace or comma and a colon there is a name, never a part of a string, as
    a quote inside of a string follows a backslash.
    """
    place = text.find(_MERGES)
    while place >= 0:
        end = place + len(_MERGES)
        before = text[max(0, place - _SPACES_MAX) : place]
        if _BEFORE.search(before) and _AFTER.match(text, end):
            tail = max(end, len(text) - _TAIL_BYTES)
            return place if _TAIL.search(text, tail) else -1
        place = text.find(_MERGES, end)
    return -1


def parse_document(text: bytes) -> Any:
    """A document of at most :data:`VALUES_MAX` values.

    Raises:
        ArtifactError: It is none (``MalformedTokenizer``).
    """
    values = text.count(b",") + text.count(b"[") + text.count(b"{")  # at least as many
    if values > VALUES_MAX:
        raise malformed(f"it has up to {values} values, allowed are {VALUES_MAX}")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise malformed(f"it is not JSON: {error.msg}") from error


def _vocabulary(vocab: object) -> tuple[list[str], NDArray[np.int64]]:
    """Tokens and their ids, from a map of ids or a list of ``[token, score]``."""
    if isinstance(vocab, dict):
        if set(map(type, vocab.values())) != {int}:
            raise malformed("an id is not an integer, or there is none")
        tokens = list(vocab)
        ids = checked_ids(vocab.values(), len(vocab))
    elif isinstance(vocab, list):
        if not all(isinstance(v, list) and v and type(v[0]) is str for v in vocab):
            raise malformed("an entry is not a token with its score")
        tokens = [entry[0] for entry in vocab]
        ids = checked_ids(range(len(vocab)), len(vocab))
    else:
        raise malformed("it has no vocabulary")
    return tokens, ids


def _added(entries: object, spelling: Spelling) -> Iterator[tuple[int, bytes]]:
    if entries is None:
        return
    if not isinstance(entries, list):
        raise malformed("its added tokens are no list")
    for entry in entries:
        number = entry.get("id") if isinstance(entry, dict) else None
        content = entry.get("content") if isinstance(entry, dict) else None
        if type(number) is not int or not isinstance(content, str):
            raise malformed("an added token has no id or no content")
        if not 0 <= number < VOCABULARY_MAX:
            raise malformed(f"an id is not from 0 to {VOCABULARY_MAX - 1}")
        if spelling is Spelling.SPACES:
            content = content.replace(SPACE, " ")
        yield number, content.encode()


def _spelling(
    document: Mapping[str, Any], model: Mapping[str, Any], tokens: Sequence[str]
) -> Spelling:
    if model.get("type") == "WordPiece":
        return Spelling.PIECES
    kinds = set(_kinds([document.get(k) for k in ("decoder", "pre_tokenizer")]))
    if "ByteLevel" in kinds:
        return Spelling.BYTES
    if model.get("type") == "Unigram" or kinds & {"Metaspace", "ByteFallback"}:
        return Spelling.SPACES
    return _guess(tokens, pieces=model.get("type") is None)


def _kinds(pending: list[Any]) -> Iterator[str]:
    """Every ``type`` in some parts of a tokenizer."""
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("type"), str):
                yield item["type"]
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _guess(tokens: Sequence[str], *, pieces: bool) -> Spelling:
    """The spelling whose mark is seen most; WordPiece only if it may be that."""
    text = _SEPARATOR + _SEPARATOR.join(tokens)
    marks = {
        Spelling.SPACES: text.count(SPACE),
        Spelling.BYTES: text.count(_SEPARATOR + "\u0120"),
        Spelling.PIECES: pieces * text.count(_SEPARATOR + "##"),
    }
    return max(marks, key=lambda spelling: marks[spelling])
