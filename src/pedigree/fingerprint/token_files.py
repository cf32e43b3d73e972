# SPDX-License-Identifier: Apache-2.0
"""Which files of a model hold its tokenizer, and who reads each.

Where there are several, the first in this order counts: the one that says most comes
first.  ``tokenizer.json`` tells special tokens and how text is spelled, ``vocab.json``
leaves the spelling to be guessed, files of ranks leave special tokens to code that
is not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pedigree.fingerprint.token_bytes import tokenizer_tokens, vocabulary_tokens
from pedigree.fingerprint.token_spelling import TokenBytes

Reader = Callable[[bytes], TokenBytes]
"""Tokens in the bytes of a file, or ``ArtifactError``."""

IN_WEIGHTS = ""
"""Stands among paths for the vocabulary that a weight file keeps."""
IN_DOCUMENT = "#"
"""Stands among paths for the ``tokenizer.json`` that a weight file keeps."""
GUESSED = "vocab.json"
"""The file that does not say how its tokens are spelled."""
_PROTOBUF = b"\n"
"""First byte of a SentencePiece model: its first field is a piece.  A file of ranks,
which has the same name with some models, begins with base64."""
_RANKS = ".tiktoken"


# Readers of what few models have are loaded when a model has it.


def _sentencepiece(text: bytes) -> TokenBytes:
    from pedigree.fingerprint.token_sentencepiece import sentencepiece_tokens

    return sentencepiece_tokens(text)


def _ranks(text: bytes) -> TokenBytes:
    from pedigree.fingerprint.token_ranks import tiktoken_tokens

    return tiktoken_tokens(text)


def _tekken(text: bytes) -> TokenBytes:
    from pedigree.fingerprint.token_ranks import tekken_tokens

    return tekken_tokens(text)


def _pieces_or_ranks(text: bytes) -> TokenBytes:
    return _sentencepiece(text) if text[:1] == _PROTOBUF else _ranks(text)


_READERS: dict[str, Reader | None] = {
    "tokenizer.json": tokenizer_tokens,
    GUESSED: vocabulary_tokens,
    IN_WEIGHTS: None,
    IN_DOCUMENT: tokenizer_tokens,
    "tokenizer.model": _pieces_or_ranks,
    "spiece.model": _sentencepiece,
    "tekken.json": _tekken,
    "tiktoken.model": _ranks,
}


def reader_of(path: str) -> Reader:
    """Who reads a file that :func:`tokenizer_files` named; not for `IN_WEIGHTS`."""
    return _READERS.get(path) or _ranks


def tokenizer_files(sizes: Mapping[str, int]) -> Iterator[str]:
    """Paths of tokenizers in the order in which they count.

    With :data:`IN_WEIGHTS` and :data:`IN_DOCUMENT` among them.

    Args:
        sizes: Bytes of the files of a model, by path.
    """
    for path in _READERS:
        if path in (IN_WEIGHTS, IN_DOCUMENT) or path in sizes:
            yield path
    ranks = [path for path in sizes if path.endswith(_RANKS) and "/" not in path]
    if len(ranks) == 1:  # of several, code that is not run would choose
        yield ranks[0]
