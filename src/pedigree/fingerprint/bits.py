# SPDX-License-Identifier: Apache-2.0
"""Canonical values as the high halves of float32: 16 bits for each.

The same map as :func:`~pedigree.fingerprint.canonical.canonical`, for stored bytes.
Nearly all bfloat16 values are canonical already, so three passes over 16-bit words that
look for the others take a tenth of the time of rounding everything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.canonical import canonical
from pedigree.tensors.dtypes import decode

Bits = NDArray[np.uint16]
_MAGIC = np.float32(0.75)
"""Spacing of float32 there is 2**-24."""
_CHUNK = 1 << 16
"""Values at once: they and their temporaries stay in the processor's cache."""
_USUAL_FROM = np.uint16(0x3700)
"""Bits of 2**-17, from which every bfloat16 is canonical."""
_NOT_FINITE = np.uint16(0x7F80)
_USUAL = np.uint16(0x7F80 - 0x3700)
"""Bits of infinity, less that."""


def canonical_bits(raw: bytes, dtype: str) -> tuple[Bits, bool]:
    """Canonical values of a stretch of stored weights.

    Args:
        raw: Whole values.
        dtype: Name of the storage type.

    Returns:
        Shape (n,), and whether all values are finite; if not, the values mean nothing.

    Raises:
        ArtifactError: Reasons of :func:`~pedigree.tensors.dtypes.decode`.
    """
    if dtype == "BF16":
        return _of_bfloat16(np.frombuffer(raw, "<u2"))
    values = np.frombuffer(raw, "<f4") if dtype == "F32" else decode(raw, dtype)
    return _of_float32(values)


def bits_of(values: NDArray[np.float32]) -> Bits:
    """The high halves of values, which are canonical already."""
    high = np.ascontiguousarray(values).view(np.uint32) >> np.uint32(16)
    return high.astype(np.uint16)


def values_of(bits: Bits) -> NDArray[np.float32]:
    """The values that bits stand for, float32, exact."""
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)


def _of_bfloat16(stored: Bits) -> tuple[Bits, bool]:
    result = stored.copy()
    place = np.empty(min(_CHUNK, stored.size), np.uint16)
    unusual = np.empty(place.size, np.bool_)
    places = []
    for begin in range(0, stored.size, _CHUNK):
        part = stored[begin : begin + _CHUNK]
        size = part.size
        # Without the sign, from zero: small ones wrap and are large.
        np.subtract(part, _USUAL_FROM, out=place[:size])
        np.bitwise_and(place[:size], np.uint16(0x7FFF), out=place[:size])
        np.greater_equal(place[:size], _USUAL, out=unusual[:size])
        if np.count_nonzero(unusual[:size]) > _CHUNK // 16:  # as of pruned weights
            whole = values_of(part)
            if not np.isfinite(whole).all():
                return result, False
            result[begin : begin + size] = bits_of(canonical(whole))
            continue
        places.append(unusual[:size].nonzero()[0] + begin)
    odd = np.concatenate(places) if places else np.zeros(0, np.int64)
    if not odd.size:
        return result, True
    found = stored[odd]
    if (found & np.uint16(0x7FFF)).max() >= _NOT_FINITE:
        return result, False
    # As in canonical(), of which all other steps change none of these.
    values = values_of(found)
    values += _MAGIC
    values -= _MAGIC
    values += np.float32(0.0)
    result[odd] = values.view(np.uint32) >> np.uint32(16)
    return result, True


def _of_float32(values: NDArray[np.float32]) -> tuple[Bits, bool]:
    finite = True
    result = np.empty(values.size, np.uint16)
    for begin in range(0, values.size, _CHUNK):
        part = values[begin : begin + _CHUNK]
        # No sum of finite values of weights overflows; those that do are looked at.
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.isfinite(np.dot(part, part)):
                finite &= bool(np.isfinite(part).all())
        if not finite:
            break
        wide = canonical(part).view(np.uint32)
        wide >>= np.uint32(16)
        result[begin : begin + _CHUNK] = wide
    return result, finite
