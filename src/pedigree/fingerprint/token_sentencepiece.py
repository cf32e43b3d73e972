# SPDX-License-Identifier: Apache-2.0
"""The tokens of a SentencePiece model, read from its protobuf bytes alone.

A piece is numbered by its place.  Its type is passed over: what a control token or a
byte is, its text shows, and ``tokenizer.json`` tells no more.

Source: ``sentencepiece_model.proto`` of SentencePiece (message ``ModelProto``, field 1
``pieces``, of which field 1 is the text) and the wire format of protocol buffers.
"""

from __future__ import annotations

import re

import numpy as np

from pedigree.errors import ArtifactError
from pedigree.fingerprint.token_spelling import (
    TOKENS_MAX,
    Spelling,
    TokenBytes,
    malformed,
    spelled,
)

FIELDS_MAX = TOKENS_MAX + 1024
"""Fields of a file: its pieces and a few settings (guess with room)."""
PIECE_FIELDS_MAX = 16
"""Fields of a piece; it has three."""
_VARINT_MAX_BYTES = 10
_VARINT, _EIGHT_BYTES, _COUNTED, _FOUR_BYTES = 0, 1, 2, 5
_FIRST_FIELD = 1 << 3 | _COUNTED
"""Tag of field 1 where it is counted bytes."""
_SCORE_AND_TYPE = re.compile(rb"\x15.{4}(?:\x18[\x00-\x7f])?", re.DOTALL)


def sentencepiece_tokens(text: bytes) -> TokenBytes:
    """Tokens of a ``tokenizer.model`` of SentencePiece.

    Raises:
        ArtifactError: It is not one (``MalformedTokenizer``).
    """
    pieces: list[str] = []
    at, fields = 0, 0
    while at < len(text):
        fields += 1
        if fields > FIELDS_MAX:
            raise malformed(f"it has more than {FIELDS_MAX} fields")
        end = _usual_end(text, at)
        if end:
            pieces.append(_decoded(text[at + 4 : at + 4 + text[at + 3]]))
        else:
            tag, begin, end = _field(text, at, len(text))
            if tag == _FIRST_FIELD:
                pieces.append(_piece(text, begin, end))
        at = end
    if not 0 < len(pieces) <= TOKENS_MAX:
        raise malformed(f"it has {len(pieces)} pieces, wanted from 1 to {TOKENS_MAX}")
    ids = np.arange(len(pieces), dtype=np.int64)
    return spelled(pieces, ids, Spelling.SPACES)


def _usual_end(text: bytes, at: int) -> int:
    """Where a piece as SentencePiece writes it ends; 0 if another field is at a byte.

    That is a text, a score and maybe a type, in at most 127 bytes, as nearly all are;
    to read these by the rules of any protobuf takes five times as long.
    """
    head = text[at : at + 4]
    if len(head) < 4 or head[0] != _FIRST_FIELD or head[2] != _FIRST_FIELD:
        return 0
    end = at + 2 + head[1]
    rest = at + 4 + head[3]
    if head[1] > 0x7F or end > len(text):
        return 0
    return end if _SCORE_AND_TYPE.fullmatch(text, rest, end) else 0


def _piece(text: bytes, at: int, end: int) -> str:
    """Text of the piece in some bytes; the last one counts, as in any protobuf."""
    found: bytes | None = None
    fields = 0
    while at < end:
        fields += 1
        if fields > PIECE_FIELDS_MAX:
            raise malformed(f"a piece has more than {PIECE_FIELDS_MAX} fields")
        tag, begin, after = _field(text, at, end)
        if tag == _FIRST_FIELD:
            found = text[begin:after]
        at = after
    if found is None:
        raise malformed("a piece has no text")
    return _decoded(found)


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise malformed("a piece is not UTF-8") from error


def _field(text: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Tag of the field at a byte, and where its content begins and ends."""
    tag, begin = _number(text, at, end)
    if tag >> 3 == 0:
        raise malformed("it is no protobuf: a field has the number 0")
    kind = tag & 7
    if kind == _COUNTED:
        length, begin = _number(text, begin, end)
    elif kind == _VARINT:
        length = _number(text, begin, end)[1] - begin
    elif kind == _FOUR_BYTES:
        length = 4
    elif kind == _EIGHT_BYTES:
        length = 8
    else:
        raise malformed(f"it is no protobuf: a field has the wire type {kind}")
    if length > end - begin:
        raise _cut()
    return tag, begin, begin + length


def _number(text: bytes, at: int, end: int) -> tuple[int, int]:
    """A varint of the wire format, and where it ends."""
    value = 0
    for place in range(min(_VARINT_MAX_BYTES, end - at)):
        byte = text[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise _cut()


def _cut() -> ArtifactError:
    return malformed("it is no protobuf, or was cut off")
