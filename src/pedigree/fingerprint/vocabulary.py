# SPDX-License-Identifier: Apache-2.0
"""Which rows of two embeddings to compare: anchor tokens, by bytes or by row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError, quote
from pedigree.fingerprint.spec import VOCABULARY_MAX, FingerprintSpec
from pedigree.fingerprint.token_files import (
    GUESSED,
    IN_DOCUMENT,
    IN_WEIGHTS,
    reader_of,
    tokenizer_files,
)
from pedigree.fingerprint.token_spelling import TokenBytes
from pedigree.limits import DEFAULT, Limits
from pedigree.ranges import ModelSource
from pedigree.tensors.layout import StoredTokens
from pedigree.tensors.remarks import INFO, WARNING, Remark

FILE_MAX_BYTES = 64 << 20
"""Of a tokenizer; the largest published ones have 34 million."""
TOKEN_MAX_BYTES = 1024
"""Longer tokens are left out; published ones stay below 513."""
ANCHOR_MAX_BYTES = 3
"""Tokens this short are in most vocabularies and are well trained (arbitrary)."""
_RENAMED_SHARE = 100
"""Tokenizers that differ in at most one of so many ids are told as a note: whoever
tunes a model gives new names to special tokens in one file and forgets the other."""
_SEED = FingerprintSpec().seed


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """What the rows of an embedding stand for.

    Attributes:
        token_hashes: Shape (size,), uint64: hash of the bytes of each token id, equal
            for equal bytes in any tokenizer; 0 for ids without a token.
        lengths: Shape (size,), int32, bytes of each token.
        plain: Shape (size,), bool: whether all bytes are printable ASCII or spaces.
    """

    token_hashes: NDArray[np.uint64]
    lengths: NDArray[np.int32]
    plain: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return len(self.token_hashes)


def read_vocabulary(
    source: ModelSource,
    limits: Limits = DEFAULT,
    remarks: list[Remark] | None = None,
    stored: StoredTokens | None = None,
) -> Vocabulary | None:
    """Read the tokenizer of a model, running none of its code.

    Of several the first that can be understood counts, in the order of
    :mod:`pedigree.fingerprint.token_files`; that the others say the same is checked
    where somebody wants remarks.

    Args:
        source: The model.
        limits: Bounds.
        remarks: Filled with why a file could not be understood, and with files that
            give another meaning to the same ids.
        stored: Where a weight file keeps a vocabulary, or None.

    Returns:
        None without a tokenizer that can be understood.

    Raises:
        SourceError: The bytes could not be had.
    """
    sizes = {entry.path: entry.size for entry in source.files()}
    chosen: tuple[str, Vocabulary] | None = None
    failed: list[tuple[str, ArtifactError]] = []
    told: list[Remark] = []
    for path in tokenizer_files(sizes):
        if path in (IN_WEIGHTS, IN_DOCUMENT) and not _has(stored, path):
            continue
        if path == GUESSED and chosen is not None:
            continue  # that it reads otherwise could be a wrong guess
        shown = _shown(stored, path)
        try:
            found = _read(source, path, stored, limits)
        except ArtifactError as error:
            failed.append((_file(stored, path), error))
            continue
        if chosen is None:
            chosen = shown, found
        else:
            where = _file(stored, path)
            told.extend(_disagreement(where, shown, found, *chosen))
        if remarks is None:
            break
    if remarks is not None:
        by = "were not aligned by their bytes"
        if chosen is not None:
            by = f"were aligned by {quote(chosen[0])}"
        for path, why in failed:
            message = f"{why.message}; tokens {by}"
            remarks.append(Remark(str(why.reason), path, message))
        remarks.extend(told)
    return None if chosen is None else chosen[1]


def _has(stored: StoredTokens | None, path: str) -> bool:
    """Whether a weight file keeps a vocabulary of this kind."""
    if stored is None:
        return False
    return bool(stored.spelling if path == IN_WEIGHTS else stored.document)


def _file(stored: StoredTokens | None, path: str) -> str:
    """The file that a tokenizer is in."""
    return stored.path if stored and path in (IN_WEIGHTS, IN_DOCUMENT) else path


def _shown(stored: StoredTokens | None, path: str) -> str:
    """What people call a tokenizer."""
    inner = "#tokenizer.json" if path == IN_DOCUMENT else ""
    return _file(stored, path) + inner


def _read(
    source: ModelSource, path: str, stored: StoredTokens | None, limits: Limits
) -> Vocabulary:
    allowed = min(FILE_MAX_BYTES, limits.read_max_bytes)
    if path == IN_WEIGHTS and stored is not None:
        from pedigree.fingerprint.token_gguf import gguf_tokens  # as most have none

        return vocabulary_of(gguf_tokens(source.open(stored.path), stored, allowed))
    if path == IN_DOCUMENT and stored is not None:
        if isinstance(stored.document, bytes):
            return _understood(path, stored.document)
        begin, end = stored.document or (0, 0)
        file = source.open(stored.path)
    else:
        file = source.open(path)
        begin, end = 0, file.size
    if end - begin > allowed:
        raise ArtifactError(
            f"vocabulary is {end - begin} bytes, allowed are {allowed}",
            reason="LimitExceeded",
        )
    return _understood(path, file.read(begin, end - begin))


def _disagreement(
    path: str, shown: str, found: Vocabulary, first: str, chosen: Vocabulary
) -> Iterator[Remark]:
    """Told when two tokenizers of one model have different tokens under one id."""
    both = min(found.size, chosen.size)
    here, there = found.token_hashes[:both], chosen.token_hashes[:both]
    shared = (here != 0) & (there != 0)
    other = np.flatnonzero(shared & (here != there))
    if other.size:
        yield Remark(
            "TokenizersDiffer",
            path,
            f"tokenizers {quote(shown)} and {quote(first)} give different tokens to "
            f"{other.size} of {int(shared.sum())} ids that both have, the first is "
            f"{int(other[0])}; tokens were aligned by {quote(first)}",
            INFO if other.size * _RENAMED_SHARE <= shared.sum() else WARNING,
        )


_known: dict[tuple[str, bytes], Vocabulary] = {}
_KNOWN_MAX = 4


def _understood(path: str, text: bytes) -> Vocabulary:
    """The vocabulary of a file; that of relatives is mostly the same file."""
    key = (path, hashlib.sha256(text).digest())
    if key not in _known:
        found = vocabulary_of(reader_of(path)(text))
        while len(_known) >= _KNOWN_MAX:
            del _known[next(iter(_known))]
        _known[key] = found
    return _known[key]


def vocabulary_of(tokens: TokenBytes) -> Vocabulary:
    """Hash the bytes of every token."""
    size = int(tokens.ids.max(initial=-1)) + 1
    hashes = np.zeros(size, np.uint64)
    lengths = np.zeros(size, np.int32)
    plain = np.zeros(size, np.bool_)
    usable = (tokens.lengths > 0) & (tokens.lengths <= TOKEN_MAX_BYTES)
    usable &= _last_of_each(tokens.ids, size)
    data = tokens.data
    if not usable.all():
        data = data[np.repeat(usable, tokens.lengths)]
    ids, long = tokens.ids[usable], tokens.lengths[usable]
    hashes[ids], plain[ids] = hash_tokens(data, long)
    lengths[ids] = long
    return Vocabulary(hashes, lengths, plain)


def _last_of_each(ids: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """Shape (n,): whether no later entry has the same id."""
    last = np.full(size, -1, np.int64)
    np.maximum.at(last, ids, np.arange(len(ids)))
    keep = np.zeros(len(ids), np.bool_)
    keep[last[last >= 0]] = True
    return keep


def hash_tokens(
    data: NDArray[np.uint8], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """64-bit hash of each of many short byte strings, none of them empty.

    The sum over positions of a random number for the byte times a power of an odd
    number, mixed with the length; by chance two strings collide with probability near
    2**-64.  Its values are stored: never change them.

    Args:
        data: All strings behind each other.
        lengths: Shape (n,), from 1 to :data:`TOKEN_MAX_BYTES`.

    Returns:
        Hashes, never 0, and whether all bytes are printable ASCII or spaces; (n,) both.
    """
    if lengths.size == 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.bool_)
    starts = np.cumsum(lengths) - lengths
    place = np.arange(data.size) - np.repeat(starts, lengths)
    sums = np.add.reduceat(_BYTES[data] * _POWERS[place], starts)
    hashes = _mix(sums + lengths.astype(np.uint64) * _ODD)
    printable = np.logical_and.reduceat((data >= 0x20) & (data < 0x7F), starts)
    return np.maximum(hashes, np.uint64(1)), printable


def anchors_by_bytes(
    vocabulary: Vocabulary,
    count: int,
    *,
    rows: int = VOCABULARY_MAX,
    seed: int = _SEED,
) -> NDArray[np.int64]:
    """Token ids that two vocabularies are likely to share, in an order both agree on.

    Single plain characters come first, then plain tokens of at most
    :data:`ANCHOR_MAX_BYTES`, then all others; within each, by hash of the bytes.  So
    the anchors of a vocabulary that holds another are found in it, and a smaller count
    is a prefix of a larger one.  Between trained models and copies with a new
    vocabulary of the same size all 95 single characters were shared and 420 of 874
    tokens of two or three bytes, with mean cosines of their rows of 0.97 and 0.96.
    Single bytes that are no text on their own and control tokens are hardly trained,
    so they come late.

    Args:
        vocabulary: Of the model.
        count: Wanted anchors.
        rows: Of the embedding; ids beyond it are left out.
        seed: Of the spec.

    Returns:
        Shape (at most count,), int64.
    """
    hashes, lengths = vocabulary.token_hashes[:rows], vocabulary.lengths[:rows]
    short = vocabulary.plain[:rows] & (lengths <= ANCHOR_MAX_BYTES)
    found: list[NDArray[np.int64]] = []
    for group in (short & (lengths == 1), short & (lengths > 1), ~short):
        ids = np.flatnonzero(group & (hashes != 0))
        found.append(_distinct(hashes, ids, seed))
        if sum(map(len, found)) >= count:
            break
    return np.concatenate(found)[:count]


def _distinct(
    hashes: NDArray[np.uint64], ids: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """Ids by salted hash; of two tokens with the same bytes the first."""
    keys = _mix(hashes[ids] ^ _mix(np.array([seed], np.uint64)))
    _, first = np.unique(keys, return_index=True)
    return ids[first].astype(np.int64)


_ODD = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser; see :mod:`pedigree.fingerprint.sampling`."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


_BYTES = _mix(np.arange(1, 257, dtype=np.uint64) * _ODD)
"""Shape (256,): a random number for each byte."""
_POWERS = np.multiply.accumulate(
    np.full(TOKEN_MAX_BYTES, 0xD6E8FEB86659FD93, np.uint64)
)
"""Shape (TOKEN_MAX_BYTES,): powers of an odd number, modulo 2**64."""
