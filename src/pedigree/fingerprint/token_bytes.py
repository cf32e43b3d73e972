# SPDX-License-Identifier: Apache-2.0
"""The bytes that each token of a tokenizer stands for.

Reads ``tokenizer.json``, or ``vocab.json`` alone, and runs nothing.  The reader is the
fast one and takes the last of two equal keys, unlike
:mod:`pedigree.tensors.strictjson`: a vocabulary only says which rows of two embeddings
to compare, and the tests of rows hold for any choice that does not look at the
weights, so a file with two meanings can cost evidence and cannot make any.  Size and
number of values are bounded before any object is made.

Bytes are those of the text that the token adds: GPT-2's byte alphabet is undone,
U+2581 is a space, ``<0xNN>`` a byte, a WordPiece that begins a word gets a space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pedigree.errors import ArtifactError
from pedigree.fingerprint.spec import VOCABULARY_MAX

VALUES_MAX = 2_000_000
"""Values of one file; the largest published vocabularies hold about 500,000."""
_MERGES = b'"merges"'
_BEFORE = re.compile(rb"[,{]\s*\Z")
_AFTER = re.compile(rb"\s*:\s*\[")
_SPACES_MAX = 256
_TAIL = re.compile(rb"\]\s*\}\s*\}\s*\Z")
_TAIL_BYTES = 4096
_SPACE = "\u2581"
_SEPARATOR = "\0"


class Spelling(Enum):
    """How a tokenizer writes the bytes of a token."""

    BYTES = "bytes"
    """GPT-2's alphabet: one printable character for each byte."""
    SPACES = "spaces"
    """SentencePiece: text with U+2581 for spaces, and ``<0xNN>`` for single bytes."""
    PIECES = "pieces"
    """WordPiece: ``##`` before what continues a word."""


@dataclass(frozen=True, slots=True)
class TokenBytes:
    """Tokens of a vocabulary; a later entry of the same id replaces an earlier one.

    An entry without bytes takes the id out.

    Attributes:
        ids: Shape (n,), int64.
        lengths: Shape (n,), int64, bytes of each token.
        data: All bytes, behind each other.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    data: NDArray[np.uint8]


def tokenizer_tokens(text: bytes) -> TokenBytes:
    """Tokens of a ``tokenizer.json``, added ones included.

    Raises:
        ArtifactError: It is not one (``MalformedTokenizer``).
    """
    document = _document(text)
    model = document.get("model")
    if not isinstance(model, dict):
        raise _malformed("it has no model")
    tokens, ids = _vocabulary(model.get("vocab"))
    spelling = _spelling(document, model, tokens)
    added = list(_added(document.get("added_tokens"), spelling))
    return _joined([_plain_tokens(tokens, ids, spelling), _listed(added)])


def vocabulary_tokens(text: bytes) -> TokenBytes:
    """Tokens of a ``vocab.json``.

    Raises:
        ArtifactError: It is not one (``MalformedTokenizer``).
    """
    tokens, ids = _vocabulary(_parse(text))
    return _plain_tokens(tokens, ids, _guess(tokens, pieces=True))


def _malformed(why: str) -> ArtifactError:
    return ArtifactError(
        f"vocabulary cannot be used: {why}", reason="MalformedTokenizer"
    )


def _document(text: bytes) -> dict[str, Any]:
    """A tokenizer's JSON, without its merges where they can be cut off.

    Merges are more than half of most files and are not needed.  They are cut off when
    they close the file, as they do in what the tokenizers library writes.
    """
    cut = _merges(text)
    if cut >= 0:
        kept = text[:cut].rstrip()
        try:
            document = _parse(kept.removesuffix(b",") + b"}}")
        except ArtifactError:
            document = None  # they do not close the file after all
        if isinstance(document, dict) and "vocab" in (document.get("model") or {}):
            return document
    document = _parse(text)
    if not isinstance(document, dict):
        raise _malformed("it is no map")
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


def _parse(text: bytes) -> Any:
    values = text.count(b",") + text.count(b"[") + text.count(b"{")  # at least as many
    if values > VALUES_MAX:
        raise _malformed(f"it has up to {values} values, allowed are {VALUES_MAX}")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _malformed(f"it is not JSON: {error.msg}") from error


def _vocabulary(vocab: object) -> tuple[list[str], NDArray[np.int64]]:
    """Tokens and their ids, from a map of ids or a list of ``[token, score]``."""
    if isinstance(vocab, dict):
        if set(map(type, vocab.values())) != {int}:
            raise _malformed("an id is not an integer, or there is none")
        tokens = list(vocab)
        ids = _checked_ids(vocab.values(), len(vocab))
    elif isinstance(vocab, list):
        if not all(isinstance(v, list) and v and type(v[0]) is str for v in vocab):
            raise _malformed("an entry is not a token with its score")
        tokens = [entry[0] for entry in vocab]
        ids = _checked_ids(range(len(vocab)), len(vocab))
    else:
        raise _malformed("it has no vocabulary")
    return tokens, ids


def _checked_ids(values: Iterable[int], count: int) -> NDArray[np.int64]:
    try:
        ids = np.fromiter(values, np.int64, count)
    except (OverflowError, TypeError, ValueError) as error:
        raise _malformed("an id is not an integer") from error
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < VOCABULARY_MAX:
        raise _malformed(f"an id is not from 0 to {VOCABULARY_MAX - 1}")
    return ids


def _added(entries: object, spelling: Spelling) -> Iterator[tuple[int, bytes]]:
    if entries is None:
        return
    if not isinstance(entries, list):
        raise _malformed("its added tokens are no list")
    for entry in entries:
        number = entry.get("id") if isinstance(entry, dict) else None
        content = entry.get("content") if isinstance(entry, dict) else None
        if type(number) is not int or not isinstance(content, str):
            raise _malformed("an added token has no id or no content")
        if not 0 <= number < VOCABULARY_MAX:
            raise _malformed(f"an id is not from 0 to {VOCABULARY_MAX - 1}")
        if spelling is Spelling.SPACES:
            content = content.replace(_SPACE, " ")
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
        Spelling.SPACES: text.count(_SPACE),
        Spelling.BYTES: text.count(_SEPARATOR + "\u0120"),
        Spelling.PIECES: pieces * text.count(_SEPARATOR + "##"),
    }
    return max(marks, key=lambda spelling: marks[spelling])


def _plain_tokens(
    tokens: list[str], ids: NDArray[np.int64], spelling: Spelling
) -> TokenBytes:
    if spelling is Spelling.BYTES:
        return _from_alphabet(tokens, ids)
    if any(_SEPARATOR in token for token in tokens):
        return _one_by_one(tokens, ids, spelling)
    if spelling is Spelling.PIECES:
        begin = _SEPARATOR + " "
        text = begin + begin.join(tokens)
        text = text.replace(begin + "##", _SEPARATOR)
        text = text.replace(begin + "[", _SEPARATOR + "[")  # [CLS] and its like
    else:
        text = _SEPARATOR + _SEPARATOR.join(tokens).replace(_SPACE, " ")
    data = np.frombuffer(text.encode(), np.uint8)
    borders = np.flatnonzero(data == 0)
    lengths = np.diff(np.append(borders, data.size)) - 1
    plain = TokenBytes(ids, lengths, data[data != 0])
    if spelling is Spelling.PIECES:
        return plain
    return _joined([plain, _listed(_single_bytes(tokens, ids))])


def _one_by_one(
    tokens: list[str], ids: NDArray[np.int64], spelling: Spelling
) -> TokenBytes:
    """As the fast way, for a vocabulary that has the separator in a token."""
    if spelling is Spelling.PIECES:
        text = [
            token[2:]
            if token.startswith("##")
            else token
            if token.startswith("[")
            else " " + token
            for token in tokens
        ]
    else:
        text = [token.replace(_SPACE, " ") for token in tokens]
    plain = _listed(
        [
            (number, word.encode())
            for number, word in zip(ids.tolist(), text, strict=True)
        ]
    )
    if spelling is Spelling.PIECES:
        return plain
    return _joined([plain, _listed(_single_bytes(tokens, ids))])


def _single_bytes(tokens: list[str], ids: NDArray[np.int64]) -> list[tuple[int, bytes]]:
    """``<0x00>`` to ``<0xFF>``; nothing where the vocabulary has the character too.

    The byte is then never used, and its row is hardly trained.
    """
    wanted = {f"<0x{byte:02X}>": byte for byte in range(256)}
    characters = {token for token in tokens if len(token) == 1}
    found = []
    for place, token in enumerate(tokens):
        if len(token) != 6 or token not in wanted:
            continue
        byte = wanted[token]
        shown = _SPACE if byte == 0x20 else chr(byte)
        spare = byte < 0x80 and shown in characters
        found.append((int(ids[place]), b"" if spare else bytes([byte])))
    return found


def _alphabet() -> NDArray[np.int16]:
    """Shape (324,): the byte of each character of GPT-2's alphabet, -1 for others.

    Source: ``bytes_to_unicode`` of GPT-2's encoder: printable Latin-1 stands for
    itself, the other 68 bytes for the characters from U+0100 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    table = np.full(0x100 + len(others), -1, np.int16)
    table[printable] = printable
    table[0x100:] = others
    return table


def _from_alphabet(tokens: list[str], ids: NDArray[np.int64]) -> TokenBytes:
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    points = np.frombuffer("".join(tokens).encode("utf-32-le"), "<u4")
    table = _alphabet()
    inside = points < table.size
    found = np.where(inside, table[np.where(inside, points, 0)], np.int16(-1))
    plain = TokenBytes(ids, lengths, found.astype(np.uint8))
    foreign = np.flatnonzero(found < 0)
    if foreign.size == 0:
        return plain
    # Added tokens are written as they are, and some files list them here too.
    owners = np.unique(np.searchsorted(np.cumsum(lengths), foreign, side="right"))
    return _joined(
        [plain, _listed([(int(ids[i]), tokens[i].encode()) for i in owners.tolist()])]
    )


def _listed(tokens: list[tuple[int, bytes]]) -> TokenBytes:
    return TokenBytes(
        np.array([number for number, _ in tokens], np.int64),
        np.array([len(data) for _, data in tokens], np.int64),
        np.frombuffer(b"".join(data for _, data in tokens), np.uint8),
    )


def _joined(parts: Sequence[TokenBytes]) -> TokenBytes:
    return TokenBytes(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.data for part in parts]),
    )
