# SPDX-License-Identifier: Apache-2.0
"""How tokenizers write the bytes of a token, and the one form all of them come to.

Bytes are those of the text that the token adds: GPT-2's byte alphabet is undone,
U+2581 is a space, ``<0xNN>`` a byte, a WordPiece that begins a word gets a space.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError
from pedigree.fingerprint.spec import VOCABULARY_MAX

SPACE = "\u2581"
"""What SentencePiece writes for a space."""
TOKENS_MAX = 1 << 20
"""Tokens of a file that is read one by one; published ones have less than 300,000."""
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


def malformed(why: str) -> ArtifactError:
    """What to raise for a file that is no vocabulary."""
    return ArtifactError(
        f"vocabulary cannot be used: {why}", reason="MalformedTokenizer"
    )


def checked_ids(values: Iterable[int], count: int) -> NDArray[np.int64]:
    """Ids of ``count`` tokens, shape (count,).

    Raises:
        ArtifactError: One is none (``MalformedTokenizer``).
    """
    try:
        ids = np.fromiter(values, np.int64, count)
    except (OverflowError, TypeError, ValueError) as error:
        raise malformed("an id is not an integer") from error
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < VOCABULARY_MAX:
        raise malformed(f"an id is not from 0 to {VOCABULARY_MAX - 1}")
    return ids


def spelled(
    tokens: list[str], ids: NDArray[np.int64], spelling: Spelling
) -> TokenBytes:
    """Bytes of tokens that are written in one way.

    Args:
        tokens: As the file has them.
        ids: Shape (len(tokens),).
        spelling: How they are written.

    Raises:
        ArtifactError: There is none, or one is no text that has UTF-8
            (``MalformedTokenizer``).
    """
    if not tokens:
        raise malformed("it has no token")
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
        text = _SEPARATOR + _SEPARATOR.join(tokens).replace(SPACE, " ")
    data = np.frombuffer(text.encode(), np.uint8)
    borders = np.flatnonzero(data == 0)
    lengths = np.diff(np.append(borders, data.size)) - 1
    plain = TokenBytes(ids, lengths, data[data != 0])
    if spelling is Spelling.PIECES:
        return plain
    return joined([plain, listed(_single_bytes(tokens, ids))])


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
        text = [token.replace(SPACE, " ") for token in tokens]
    plain = listed(
        [
            (number, word.encode())
            for number, word in zip(ids.tolist(), text, strict=True)
        ]
    )
    if spelling is Spelling.PIECES:
        return plain
    return joined([plain, listed(_single_bytes(tokens, ids))])


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
        shown = SPACE if byte == 0x20 else chr(byte)
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
    return joined(
        [plain, listed([(int(ids[i]), tokens[i].encode()) for i in owners.tolist()])]
    )


def listed(tokens: list[tuple[int, bytes]]) -> TokenBytes:
    """Tokens that were spelled out before: each id with its bytes."""
    return TokenBytes(
        np.array([number for number, _ in tokens], np.int64),
        np.array([len(data) for _, data in tokens], np.int64),
        np.frombuffer(b"".join(data for _, data in tokens), np.uint8),
    )


def joined(parts: Sequence[TokenBytes]) -> TokenBytes:
    """All of them, in order: later parts win."""
    return TokenBytes(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.data for part in parts]),
    )
