# SPDX-License-Identifier: Apache-2.0
"""The tokens of files that list each token's bytes in base64: tiktoken and tekken.

A tiktoken file has lines of base64, a space and the token's id; special tokens are in
the code beside it, which is not run, so they are missing here.  ``tekken.json`` numbers
its special tokens first and all others behind the room that is kept for them.

Source: ``load_tiktoken_bpe`` of tiktoken; ``Tekkenizer`` of mistral-common.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any

from pedigree.fingerprint.token_bytes import parse_document
from pedigree.fingerprint.token_spelling import (
    TOKENS_MAX,
    TokenBytes,
    listed,
    malformed,
)

SPECIALS_MAX = 1 << 16
"""Special tokens that a tekken keeps room for; published ones have 1000."""
_FILLER = "<SPECIAL_{}>"
"""Name of the special tokens that a tekken keeps room for and does not name."""


def tiktoken_tokens(text: bytes) -> TokenBytes:
    """Tokens of a file of ranks.

    Raises:
        ArtifactError: It is not one (``MalformedTokenizer``).
    """
    if text.count(b"\n") > TOKENS_MAX:
        raise malformed(f"it has more than {TOKENS_MAX} lines")
    found: list[tuple[int, bytes]] = []
    for line in text.splitlines():
        if not line:
            continue
        data, _, rank = line.partition(b" ")
        if not rank.isdigit() or len(rank) > 9:
            raise malformed("a line is not base64, a space and a rank")
        found.append((_checked_id(int(rank)), _decoded(data)))
    return _distinct(found)


def tekken_tokens(text: bytes) -> TokenBytes:
    """Tokens of a ``tekken.json``.

    Raises:
        ArtifactError: It is not one (``MalformedTokenizer``).
    """
    document = parse_document(text)
    if not isinstance(document, dict):
        raise malformed("it is no map")
    config, vocab = document.get("config"), document.get("vocab")
    if not isinstance(config, dict) or not isinstance(vocab, list):
        raise malformed("it has no configuration or no vocabulary")
    room = _count(config, "default_num_special_tokens", SPECIALS_MAX)
    size = _count(config, "default_vocab_size", TOKENS_MAX)
    if not room <= size <= room + len(vocab):
        raise malformed(
            f"it has {len(vocab)} tokens and room for {room} special ones, but a "
            f"vocabulary of {size}"
        )
    found = _specials(document.get("special_tokens"), room)
    for entry in vocab:
        if not isinstance(entry, dict):
            raise malformed("an entry is not a map")
        rank, data = entry.get("rank"), entry.get("token_bytes")
        if type(rank) is not int or not isinstance(data, str):
            raise malformed("an entry has no rank or no bytes")
        number = _checked_id(room + _checked_id(rank))
        if number < size:  # the file lists more than models use
            found.append((number, _decoded(data.encode())))
    return _distinct(found)


def _specials(entries: object, room: int) -> list[tuple[int, bytes]]:
    """Special tokens by id; files of old versions leave them to the library."""
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise malformed("its special tokens are no list")
    names = {place: _FILLER.format(place) for place in range(len(entries), room)}
    for entry in entries:
        rank = entry.get("rank") if isinstance(entry, dict) else None
        name = entry.get("token_str") if isinstance(entry, dict) else None
        if type(rank) is not int or not isinstance(name, str):
            raise malformed("a special token has no rank or no text")
        if not 0 <= rank < room:
            raise malformed(f"a special token is not from 0 to {room - 1}")
        names[rank] = name
    return [(number, name.encode()) for number, name in names.items()]


def _count(config: Mapping[str, Any], key: str, most: int) -> int:
    value = config.get(key)
    if type(value) is not int or not 0 <= value <= most:
        raise malformed(f"its {key} is not from 0 to {most}")
    return value


def _checked_id(value: int) -> int:
    if not 0 <= value < TOKENS_MAX:
        raise malformed(f"an id is not from 0 to {TOKENS_MAX - 1}")
    return value


def _decoded(data: bytes) -> bytes:
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError as error:
        raise malformed("a token is not base64") from error


def _distinct(tokens: list[tuple[int, bytes]]) -> TokenBytes:
    """The tokens, each id once: both formats number a token by its own entry."""
    if not tokens:
        raise malformed("it has no token")
    if len({number for number, _ in tokens}) != len(tokens):
        raise malformed("two tokens have one id")
    return listed(tokens)
