# SPDX-License-Identifier: Apache-2.0
"""The tokens of a vocabulary in a GGUF file, as the bytes they stand for.

Converters keep the spelling of the tokenizer they convert, but for two: tokens that
were added to a byte-level vocabulary are written as they are, and WordPieces that
begin a word have U+2581 where others have ``##``.

Source: ``gguf-py`` and the converter of llama.cpp.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import quote
from pedigree.fingerprint.token_spelling import (
    TOKENS_MAX,
    Spelling,
    TokenBytes,
    joined,
    listed,
    malformed,
    spelled,
)
from pedigree.ranges import RangeSource
from pedigree.tensors.gguf_tokens import read_tokens
from pedigree.tensors.layout import StoredTokens

_SPELLINGS = {
    "llama": Spelling.SPACES,
    "t5": Spelling.SPACES,
    "bert": Spelling.SPACES,
    "gpt2": Spelling.BYTES,
}
"""By the name of the tokenizer in the file."""
_CONTROL, _ADDED, _UNUSED = 3, 4, 5
"""Kinds of tokens (``enum llama_token_type``)."""
_PADDING = "[PAD{}]"
"""What stands for an id without a token."""


def gguf_tokens(file: RangeSource, stored: StoredTokens, max_bytes: int) -> TokenBytes:
    """Tokens of the vocabulary in a GGUF file.

    Args:
        file: The file.
        stored: Where they are.
        max_bytes: Allowed for all texts.

    Raises:
        ArtifactError: It cannot be understood (``MalformedTokenizer``), or see
            :func:`~pedigree.tensors.gguf_tokens.read_tokens`.
        SourceError: The bytes could not be had.
    """
    spelling = _SPELLINGS.get(stored.spelling)
    if spelling is None:
        raise malformed(
            f"its tokens are written as {quote(stored.spelling, 32)}, understood are "
            f"{', '.join(_SPELLINGS)}"
        )
    raw, kinds = read_tokens(file, stored, max_bytes=max_bytes, max_count=TOKENS_MAX)
    try:
        tokens = [token.decode() for token in raw]
    except UnicodeDecodeError as error:
        raise malformed("a token is not UTF-8") from error
    if not tokens:
        raise malformed("it has no token")
    ids = np.arange(len(tokens), dtype=np.int64)
    found = [spelled(tokens, ids, spelling)]
    if spelling is Spelling.BYTES:
        found.append(_as_they_are(raw, kinds))
    found.append(_without_padding(tokens, kinds))
    return joined(found)


def _as_they_are(raw: list[bytes], kinds: NDArray[np.int32]) -> TokenBytes:
    """Control and added tokens: no byte of them is written in another alphabet."""
    added = np.flatnonzero((kinds == _CONTROL) | (kinds == _ADDED)).tolist()
    return listed([(place, raw[place]) for place in added])


def _without_padding(tokens: list[str], kinds: NDArray[np.int32]) -> TokenBytes:
    """Takes out ids that only fill the vocabulary up to the embedding's height."""
    unused = np.flatnonzero(kinds == _UNUSED).tolist()
    return listed(
        [(place, b"") for place in unused if tokens[place] == _PADDING.format(place)]
    )
