# SPDX-License-Identifier: Apache-2.0
"""Storage types of weights, and their exact values as float32.

All 22 types of safetensors 0.8.  Every type of at most 16 bits, and F32, is decoded
without rounding; I32, U32, I64, U64 and F64 are rounded to the nearest float32.

Sub-byte types are read as a little-endian bit stream: value ``i`` of a ``b``-bit type
is bits ``b*i`` to ``b*(i+1)-1``, so of the two F4 values in a byte the low half is
first (as in ``torch.float4_e2m1fn_x2``) and four F6 values fill three bytes.

This module computes; it reads no files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError, quote


@dataclass(frozen=True, slots=True)
class Dtype:
    """One storage type.

    Attributes:
        name: As written in a header, such as ``BF16``.
        bits: Size of one value.
        comparable: Whether values become float32 here; complex ones do not.
    """

    name: str
    bits: int
    comparable: bool = True


DTYPES: dict[str, Dtype] = {
    dtype.name: dtype
    for dtype in (
        Dtype("BOOL", 8),
        Dtype("F4", 4),
        Dtype("F6_E2M3", 6),
        Dtype("F6_E3M2", 6),
        Dtype("U8", 8),
        Dtype("I8", 8),
        Dtype("F8_E5M2", 8),
        Dtype("F8_E4M3", 8),
        Dtype("F8_E8M0", 8),
        Dtype("F8_E4M3FNUZ", 8),
        Dtype("F8_E5M2FNUZ", 8),
        Dtype("I16", 16),
        Dtype("U16", 16),
        Dtype("F16", 16),
        Dtype("BF16", 16),
        Dtype("I32", 32),
        Dtype("U32", 32),
        Dtype("F32", 32),
        Dtype("C64", 64, comparable=False),
        Dtype("F64", 64),
        Dtype("I64", 64),
        Dtype("U64", 64),
    )
}
"""By name.  Source: safetensors 0.8.0, ``safetensors/src/tensor.rs``."""

_PLAIN = {
    "U8": "u1",
    "I8": "i1",
    "I16": "<i2",
    "U16": "<u2",
    "F16": "<f2",
    "I32": "<i4",
    "U32": "<u4",
    "F32": "<f4",
    "F64": "<f8",
    "I64": "<i8",
    "U64": "<u8",
}
_SMALL_FLOATS = {
    # F8_E4M3 is the OCP type without infinities, which ml_dtypes calls "fn".
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F6_E2M3": "float6_e2m3fn",
    "F6_E3M2": "float6_e3m2fn",
    "F4": "float4_e2m1fn",
}
"""Names in ml_dtypes, which is loaded only where one of these types is met."""


def decode(raw: bytes, dtype: str) -> NDArray[np.float32]:
    """Values of a stretch of stored weights.

    Args:
        raw: Whole values only; for sub-byte types whole bytes that hold a whole
            number of values.
        dtype: Name of the storage type.

    Returns:
        Shape (n,), float32, n = 8 * len(raw) / bits.  Writable, owned by the caller.
        May hold NaN and infinities: finiteness is the reader's check.

    Raises:
        ArtifactError: The type has no float32 meaning (``UnsupportedDtype``), or a
            BOOL is neither 0 nor 1 (``MalformedValue``).
    """
    if dtype == "BF16":
        wide = np.frombuffer(raw, "<u2").astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    if dtype in _PLAIN:
        # A too large F64 becomes an infinity and a signalling NaN a quiet one; both
        # are seen by the check that values are finite.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.frombuffer(raw, _PLAIN[dtype]).astype(np.float32)
    if dtype in _SMALL_FLOATS:
        return np.take(_values(dtype), _UNPACK[DTYPES[dtype].bits](raw))
    if dtype == "BOOL":
        return _decode_bool(raw)
    raise ArtifactError(
        f"weights of dtype {quote(dtype)} cannot be compared, wanted a real type",
        reason="UnsupportedDtype",
    )


def _decode_bool(raw: bytes) -> NDArray[np.float32]:
    stored = np.frombuffer(raw, np.uint8)
    if stored.size and int(stored.max()) > 1:
        raise ArtifactError(
            f"a BOOL holds the byte {int(stored.max())}, wanted 0 or 1",
            reason="MalformedValue",
        )
    return stored.astype(np.float32)


@lru_cache
def _values(dtype: str) -> NDArray[np.float32]:
    """Shape (2**bits,): the value of every bit pattern."""
    import ml_dtypes

    patterns = np.arange(1 << DTYPES[dtype].bits, dtype=np.uint8)
    kind = getattr(ml_dtypes, _SMALL_FLOATS[dtype])
    values: NDArray[np.float32] = patterns.view(kind).astype(np.float32)
    return values


def _whole(raw: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(raw, np.uint8)


def _nibbles(raw: bytes) -> NDArray[np.uint8]:
    stored = np.frombuffer(raw, np.uint8)
    pairs = np.stack([stored & 0x0F, stored >> 4], axis=1)  # (n, 2)
    return pairs.reshape(-1)


def _sixes(raw: bytes) -> NDArray[np.uint8]:
    triples = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.uint32)
    word = triples[:, 0] | triples[:, 1] << 8 | triples[:, 2] << 16  # (n,)
    shifts = np.array([0, 6, 12, 18], np.uint32)
    return ((word[:, None] >> shifts) & 0x3F).astype(np.uint8).reshape(-1)  # (4n,)


_UNPACK: dict[int, Callable[[bytes], NDArray[np.uint8]]] = {
    8: _whole,
    6: _sixes,
    4: _nibbles,
}
