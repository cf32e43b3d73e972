# SPDX-License-Identifier: Apache-2.0
"""Coarse codes: three times 1024 bits, to find the few worth comparing among millions.

Each bit is the sign of a projection of the fingerprint's arrays on fixed signs, so two
vectors at an angle of t differ in a share t / pi of their bits (Goemans & Williamson
1995; Charikar 2002, doi:10.1145/509907.509965), and two unrelated ones in half of them.
A code decides nothing: it only says which references are looked at first.

=====  ==========================  ==============================================
code   made of                     survives
=====  ==========================  ==============================================
``e``  anchor rows of the          changed vocabularies (tokens are told apart by
       embedding                   their bytes), changed layers
``r``  sampled rows of o, down,    dropped, doubled and reordered layers (rows are
       gate and up, summed over    summed over layers), upcycled experts, new
       layers                      vocabularies
``v``  ranks of norm vectors and   scaled matrices; the neurons' part also survives
       invariants of neurons       a rotation of the residual stream
=====  ==========================  ==============================================

A code is cut into equal fields, one for each array.  The field of an array that is not
there is filled from the next one that is, with other signs: two models without gates
must not agree on the bits that a gate would have had.  A code without any array is all
zeros and is never searched for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pedigree.fingerprint.model import Fingerprint

BITS = 1024
BYTES = BITS // 8
NAMES = ("e", "r", "v")
ANCHORS = 48
"""Anchor tokens that are used: those that every profile with an embedding keeps."""
UNKNOWN = -32768
"""Value of an invariant that is not known."""
_SEED = np.uint64(0x636F646573)  # the ASCII text "codes"
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_COLUMNS = 1 << 20
"""Added to the number of a column, so that rows and columns have other signs."""

Bits = NDArray[np.uint8]
Matrix = NDArray[np.float64]
Keys = NDArray[np.uint64]
_Field = tuple[Matrix, Keys]
"""A matrix of integers (rows, columns), and what tells its columns apart."""


def codes(fingerprint: Fingerprint) -> dict[str, Bits]:
    """The coarse codes of a fingerprint, computed from its other arrays.

    Returns:
        ``e``, ``r`` and ``v``: shape (128,), bit ``b`` is bit ``b % 8`` of byte
        ``b // 8``.
    """
    return codes_of(fingerprint.parts)


def codes_of(parts: Mapping[str, NDArray[Any]]) -> dict[str, Bits]:
    """As :func:`codes`, before there is a fingerprint.

    Args:
        parts: Arrays by name; ``docs/format.md`` says which there are.
    """
    return {
        "e": _code(_embedding(parts)),
        "r": _code(_rows(parts)),
        "v": _code(_vectors(parts)),
    }


def stored_codes(fingerprint: Fingerprint) -> dict[str, Bits]:
    """The codes that a fingerprint holds, or else what they would be."""
    held = {name: fingerprint.part(f"code.{name}") for name in NAMES}
    if all(code is not None and code.shape == (BYTES,) for code in held.values()):
        return {name: np.asarray(code, np.uint8) for name, code in held.items()}
    return codes(fingerprint)


def _code(fields: list[_Field | None]) -> Bits:
    """Fields of equal length, one for each array; absent ones filled by the next."""
    length = BITS // len(fields)
    bits = np.zeros(BITS, np.uint8)
    if not any(fields):
        return np.packbits(bits, bitorder="little")
    for number in range(len(fields)):
        around = fields[number:] + fields[:number]
        matrix, keys = next(field for field in around if field is not None)
        begin = number * length
        bits[begin : begin + length] = _project(matrix, keys, begin, length)
    return np.packbits(bits, bitorder="little")


def _project(matrix: Matrix, keys: Keys, begin: int, length: int) -> Bits:
    """Signs of the projections on ``outer(rows, columns)`` of fixed signs.

    Every number is an integer below 2**53, so the sums are exact in any order.

    Args:
        matrix: Shape (r, c).
        keys: Shape (c,).
        begin: First bit of the code.
        length: Bits wanted.
    """
    rows = _row_signs(len(matrix), begin, length)  # (r, length)
    columns = _signs(keys + np.uint64(_COLUMNS), begin, length)  # (c, length)
    sums = np.einsum("rb,rb->b", rows, matrix @ columns)
    signs: Bits = (sums > 0).astype(np.uint8)
    return signs


@lru_cache(maxsize=32)
def _row_signs(count: int, begin: int, length: int) -> Matrix:
    return _signs(np.arange(count, dtype=np.uint64), begin, length)


def _signs(keys: Keys, begin: int, length: int) -> Matrix:
    """Shape (len(keys), length): +1 or -1, the bits of SplitMix64 of key and word.

    Source: Steele, Lea & Flood 2014, doi:10.1145/2714064.2660195.
    """
    with np.errstate(over="ignore"):
        words = np.arange(begin // 64, (begin + length) // 64, dtype=np.uint64)
        z = (_SEED + keys[:, None] * _GOLDEN) ^ (words + np.uint64(1)) * _GOLDEN
        for _ in range(2):
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
    flat = np.ascontiguousarray(z, "<u8").view(np.uint8)
    return np.unpackbits(flat, axis=1, bitorder="little").astype(np.float64) * 2.0 - 1.0


def _numbered(matrix: NDArray[Any]) -> _Field | None:
    """A field whose columns are told apart by their number; None if all is zero."""
    values = np.asarray(matrix, np.float64)
    if not values.any():
        return None
    return values, np.arange(values.shape[1], dtype=np.uint64)


def _embedding(parts: Mapping[str, NDArray[Any]]) -> list[_Field | None]:
    """Anchors by bytes, and anchors by row for models without a tokenizer."""
    by_index = _first(parts, "embedding.index", "v1.embedding")
    index = None if by_index is None else _numbered(_centred(by_index[:, :ANCHORS]))
    by_bytes, anchors = parts.get("embedding.bytes"), parts.get("anchor.bytes")
    if by_bytes is None or anchors is None or not by_bytes.any():
        return [None, index]
    values = _centred(by_bytes[:, :ANCHORS])
    keys = anchors[: values.shape[1]].astype(np.uint64)
    # Above the numbers of columns: a token is never mistaken for a number.
    return [(values, keys + np.uint64(1 << 32)), index]


def _centred(values: NDArray[Any]) -> Matrix:
    """Rows times their length, less their sum: centred, and still integers."""
    wide = values.astype(np.float64)
    result: Matrix = wide * wide.shape[1] - wide.sum(axis=1, keepdims=True)
    return result


def _rows(parts: Mapping[str, NDArray[Any]]) -> list[_Field | None]:
    arrays = [
        parts.get(name)
        for name in ("channel.o", "channel.down", "neuron.gate", "neuron.up")
    ]
    if all(array is None for array in arrays):
        channels, neurons = parts.get("v1.channels"), parts.get("v1.neurons")
        arrays = [
            None if array is None else array[:, :, place]
            for array, place in (
                (channels, 0),
                (channels, 2),
                (neurons, 0),
                (neurons, 1),
            )
        ]
    return [_summed(array) for array in arrays]


def _summed(array: NDArray[Any] | None) -> _Field | None:
    """(blocks, rows, features) summed over the blocks."""
    if array is None or array.size == 0:
        return None
    return _numbered(array.astype(np.int64).sum(axis=0))


def _vectors(parts: Mapping[str, NDArray[Any]]) -> list[_Field | None]:
    final = _first(parts, "norm.final", "v1.norm_final")
    ranks = _first(parts, "norm.ranks", "v1.norms")
    scalars = parts.get("neuron.scalars")
    return [
        None if final is None else _numbered(final[:, None]),
        None if ranks is None else _summed(ranks[:, 0, :, None]),
        None if ranks is None else _summed(ranks[:, 1, :, None]),
        None if scalars is None else _summed(_ranked(scalars)),
    ]


def _ranked(scalars: NDArray[Any]) -> NDArray[np.int64]:
    """Centred ranks over the neurons of each block; 0 where unknown.

    Args:
        scalars: Shape (blocks, neurons, scalars).
    """
    known = scalars != UNKNOWN
    a, b = scalars[:, :, None, :], scalars[:, None, :, :]
    both = known[:, :, None, :] & known[:, None, :, :]
    result: NDArray[np.int64] = (((a > b) & both).sum(axis=2, dtype=np.int64)) - (
        (a < b) & both
    ).sum(axis=2, dtype=np.int64)
    return result


def _first(parts: Mapping[str, NDArray[Any]], *names: str) -> NDArray[Any] | None:
    """The first of some arrays that holds anything."""
    found = (parts.get(name) for name in names)
    return next((x for x in found if x is not None and x.size), None)
