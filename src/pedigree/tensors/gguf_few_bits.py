# SPDX-License-Identifier: Apache-2.0
"""Blocks of GGUF files with less than four bits for a value: IQ1, IQ2 and IQ3.

Four or eight values are one point of a table (:mod:`pedigree.tensors.gguf_grids`),
with a sign for each value or, in IQ1, a shift for some.  Points and signs of eight
values are eight bytes, so both are looked up and joined as one number of 64 bits.

Layouts: structures ``block_iq1_*``, ``block_iq2_*`` and ``block_iq3_*`` of
``ggml-common.h`` in ggml.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.tensors.gguf_fields import Stored, grouped, half
from pedigree.tensors.gguf_grids import grid

_Places = NDArray[np.integer[Any]]
_BYTE_SIGNS = np.where(
    np.arange(256)[:, None] >> np.arange(8) & 1, np.int8(-1), np.int8(0)
)
"""By byte: -1 for values that are minus, shape (256, 8)."""
_SEVEN = np.arange(128)
_SEVEN_SIGNS = _BYTE_SIGNS[_SEVEN | np.bitwise_count(_SEVEN) % 2 << 7]
"""By seven bits, shape (128, 8): the eighth makes the number of minus signs even."""


def _words(stored: Stored, kind: str) -> _Places:
    """Numbers of two or four bytes, shape (n, bytes / 2 or 4)."""
    found: _Places = np.ascontiguousarray(stored).view(kind)
    return found


def _fields(stored: _Places, step: int, count: int) -> _Places:
    """Bit fields of each number, not masked, shape (n, numbers * count)."""
    shifts = np.arange(count, dtype=stored.dtype) * stored.dtype.type(step)
    return (stored[:, :, None] >> shifts).reshape(len(stored), -1)


def _points(name: str, places: _Places) -> NDArray[np.int8]:
    """Values of the points at some places, shape (n, 256)."""
    points = grid(name)
    whole = points.view(f"u{points.shape[1]}")[:, 0]
    return whole[places].view(np.int8)


def _signed(
    numbers: NDArray[np.int8], signs: NDArray[np.int8], codes: _Places
) -> NDArray[np.int8]:
    """Numbers with the signs that a table has for each eight, shape (n, 256)."""
    minus = signs.view(np.uint64)[:, 0][codes]
    turned = (numbers.view(np.uint64) ^ minus).view(np.int8)
    turned -= minus.view(np.int8)
    return turned


def _scales(stored: Stored, factors: NDArray[Any]) -> NDArray[np.float32]:
    """Scales of groups of values, shape (n, groups): the block's times another."""
    found: NDArray[np.float32] = half(stored, 0) * factors.astype(np.float32)
    return found


def iq2_xxs(stored: Stored) -> NDArray[np.float32]:
    """Half d; eight times 4 places and a word of 4 x 7 signs and a 4-bit scale."""
    parts = stored[:, 2:].reshape(-1, 8, 8)
    numbers = _points("IQ2_XXS", parts[:, :, :4].reshape(-1, 32))
    words = _words(parts[:, :, 4:].reshape(-1, 32), "<u4")
    numbers = _signed(numbers, _SEVEN_SIGNS, _fields(words, 7, 4) & 127)
    return grouped(_scales(stored, (0.5 + (words >> 28)) / 4), numbers)


def iq2_xs(stored: Stored) -> NDArray[np.float32]:
    """Half d; 32 words of a 9-bit place and 7 signs; 8 bytes of two 4-bit scales."""
    words = _words(stored[:, 2:66], "<u2")
    numbers = _signed(_points("IQ2_XS", words & 511), _SEVEN_SIGNS, words >> 9)
    scales = _fields(stored[:, 66:], 4, 2) & 15
    return grouped(_scales(stored, (0.5 + scales) / 4), numbers)


def iq2_s(stored: Stored) -> NDArray[np.float32]:
    """Half d; 32 low bytes of places; 32 of signs; 8 of high bits; 8 of scales."""
    high = (_fields(stored[:, 66:74], 2, 4) & 3).astype(np.uint16)
    numbers = _points("IQ2_S", stored[:, 2:34] | high << 8)
    numbers = _signed(numbers, _BYTE_SIGNS, stored[:, 34:66])
    scales = _fields(stored[:, 74:], 4, 2) & 15
    return grouped(_scales(stored, (0.5 + scales) / 4), numbers)


def iq3_xxs(stored: Stored) -> NDArray[np.float32]:
    """Half d; 64 places; 8 words of 4 x 7 signs and a 4-bit scale."""
    words = _words(stored[:, 66:], "<u4")
    numbers = _points("IQ3_XXS", stored[:, 2:66])
    numbers = _signed(numbers, _SEVEN_SIGNS, _fields(words, 7, 4) & 127)
    return grouped(_scales(stored, (0.5 + (words >> 28)) / 2), numbers)


def iq3_s(stored: Stored) -> NDArray[np.float32]:
    """Half d; 64 low bytes of places; 8 of ninth bits; 32 of signs; 4 of scales."""
    bits = np.ascontiguousarray(stored[:, 66:74])
    ninth = np.unpackbits(bits, axis=1, bitorder="little").astype(np.uint16)
    numbers = _points("IQ3_S", stored[:, 2:66] | ninth << 8)
    numbers = _signed(numbers, _BYTE_SIGNS, stored[:, 74:106])
    scales = _fields(stored[:, 106:], 4, 2) & 15
    return grouped(_scales(stored, 1.0 + 2 * scales), numbers)


def _shifted(
    places: _Places, minus: _Places, scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Values of IQ1: points moved up or down by an eighth, in eighths.

    Args:
        places: Shape (n, 32).
        minus: Shape (n, 32), not 0 where the shift is down.
        scales: Shape (n, groups).
    """
    eighths = _points("IQ1_S", places).reshape(len(places), 32, 8) * np.int8(8)
    eighths += np.where(minus, np.int8(-1), np.int8(1))[:, :, None]
    return grouped(scales * np.float32(0.125), eighths.reshape(len(places), 256))


def iq1_s(stored: Stored) -> NDArray[np.float32]:
    """Half d; 32 low bytes of places; 8 words of 4 x 3 high bits, a scale, a shift."""
    words = _words(stored[:, 34:], "<u2")
    high = _fields(words, 3, 4) & 7
    minus = np.repeat(words >> 15, 4, axis=1)
    factors = 1.0 + 2 * (words >> 12 & 7)
    return _shifted(stored[:, 2:34] | high << 8, minus, _scales(stored, factors))


def iq1_m(stored: Stored) -> NDArray[np.float32]:
    """32 low bytes of places; 32 x 3 high bits and a shift; 4 words of 4 x 3 scales.

    The half-precision scale of the block is in the highest four bits of the words.
    """
    words = _words(stored[:, 48:], "<u2")
    nibbles = words >> 12 << np.array([0, 4, 8, 12], np.uint16)
    block = nibbles.sum(axis=1, dtype="<u2")
    factors = (1.0 + 2 * (_fields(words, 3, 4) & 7)).astype(np.float32)
    scales = block.view("<f2").astype(np.float32)[:, None] * factors
    high = _fields(stored[:, 32:48], 4, 2)
    places = stored[:, :32] | (high & 7).astype(np.uint16) << 8
    return _shifted(places, high & 8, scales)
