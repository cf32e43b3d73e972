# SPDX-License-Identifier: Apache-2.0
"""The vocabulary in a GGUF file: where it is, and its texts as they are stored.

The header's reader passes over arrays, since most are of no use and all are long.  The
texts of the tokens are read here, once, and only when somebody asks for them.  A file
may also have a whole ``tokenizer.json``, as one text.

Source: keys ``tokenizer.ggml.*`` and ``tokenizer.huggingface.json`` of ``docs/gguf.md``
of the ggml project.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError, quote
from pedigree.ranges import RangeSource
from pedigree.tensors.gguf_header import GgufHeader
from pedigree.tensors.layout import StoredTokens

_STRING, _INT32 = 8, 5
_LENGTH_BYTES = 8
_KIND_BYTES = 4


def stored_tokens(header: GgufHeader, path: str) -> StoredTokens | None:
    """Where the vocabulary is that a file's header tells of; None without one."""
    spelling = header.scalars.get("tokenizer.ggml.model")
    tokens = header.arrays.get("tokenizer.ggml.tokens")
    document = _document(header)
    if not isinstance(spelling, str) or tokens is None or tokens.kind != _STRING:
        if document is None:
            return None
        return StoredTokens(path, "", 0, 0, 0, None, document)
    kinds = header.arrays.get("tokenizer.ggml.token_type")
    fits = kinds is not None and (kinds.kind, kinds.length) == (_INT32, tokens.length)
    return StoredTokens(
        path,
        spelling,
        tokens.length,
        tokens.begin,
        tokens.end,
        kinds.begin if kinds is not None and fits else None,
        document,
    )


def _document(header: GgufHeader) -> bytes | tuple[int, int] | None:
    """A tokenizer's JSON: itself if it is short, else where it is."""
    key = "tokenizer.huggingface.json"
    short, long = header.scalars.get(key), header.arrays.get(key)
    if isinstance(short, str):
        return short.encode()
    # What the header passed over for its length stands there as an array of one text.
    if long is None or (long.kind, long.length) != (_STRING, 1):
        return None
    return long.begin + _LENGTH_BYTES, long.end


def read_tokens(
    file: RangeSource, stored: StoredTokens, *, max_bytes: int, max_count: int
) -> tuple[list[bytes], NDArray[np.int32]]:
    """Texts of a vocabulary and their kinds.

    Args:
        file: The file that it is in.
        stored: Where, from its header.
        max_bytes: Allowed for all texts with their lengths.
        max_count: Allowed tokens.

    Returns:
        Texts in the order of their ids, and shape (stored.count,): their kinds, 0 where
        the file tells none.

    Raises:
        ArtifactError: Too long (``LimitExceeded``), or not what the header's reader saw
            (``MalformedGguf``).
        SourceError: The bytes could not be had.
    """
    size = stored.end - stored.begin
    if size > max_bytes or stored.count > max_count:
        raise ArtifactError(
            f"vocabulary in {quote(stored.path)} has {stored.count} tokens in {size} "
            f"bytes, allowed are {max_count} in {max_bytes}",
            reason="LimitExceeded",
            path=stored.path,
        )
    raw = file.read(stored.begin, size)
    texts: list[bytes] = []
    at = 0
    for _ in range(stored.count):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(raw[at:begin], "little")
        if at > size:
            break
        texts.append(raw[begin:at])
    if at != size or len(texts) != stored.count:
        raise ArtifactError(
            f"vocabulary in {quote(stored.path)} is not the one that its header told "
            "of; the file changed while it was read",
            reason="MalformedGguf",
            path=stored.path,
        )
    if stored.kinds is None:
        return texts, np.zeros(stored.count, np.int32)
    kinds = file.read(stored.kinds, stored.count * _KIND_BYTES)
    return texts, np.frombuffer(kinds, "<i4").astype(np.int32)
