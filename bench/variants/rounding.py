# SPDX-License-Identifier: Apache-2.0
"""Rounding of weights to few bits and back, as quantisers do."""

from __future__ import annotations

import numpy as np
from bench.variants.network import Array
from numpy.typing import NDArray


def integers(values: Array, bits: int, group: int | None) -> Array:
    """Round to symmetric integers of ``bits`` bits, with a scale for each group.

    Args:
        values: (rows, columns).
        bits: 2 to 8.
        group: Neighbours in a row that share a scale; None for whole rows.  A last
            group may be shorter.
    """
    rows, columns = values.shape
    size = columns if group is None else group
    missing = -columns % size
    padded = np.pad(values, ((0, 0), (0, missing))).reshape(rows, -1, size)
    top = 2 ** (bits - 1) - 1
    scale = np.abs(padded).max(axis=2, keepdims=True) / top
    safe = np.where(scale == 0, 1, scale)
    rounded = np.clip(np.rint(padded / safe), -top - 1, top) * safe
    flat = rounded.reshape(rows, -1)[:, :columns]
    return np.ascontiguousarray(flat, np.float32)


def _e4m3_values() -> NDArray[np.float32]:
    """The 256 values of OCP FP8 E4M3 (Micikevicius et al. 2022); two are NaN."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    small = mantissa / 8 * 2.0**-6
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7.0)
    value = np.where(exponent == 0, small, normal)
    value[(code & 127) == 127] = np.nan
    return np.where(code < 128, value, -value).astype(np.float32)


_E4M3 = _e4m3_values()
_POSITIVE = _E4M3[:127]
"""0 to 448, in order of their codes."""


def decode_e4m3(codes: NDArray[np.uint8]) -> Array:
    """Values of fp8 codes."""
    return _E4M3[codes]


def encode_e4m3(values: Array) -> NDArray[np.uint8]:
    """Codes of the nearest fp8 values; beyond 448 the largest."""
    size = np.abs(values)
    middles = (_POSITIVE[1:] + _POSITIVE[:-1]) / 2
    code = np.searchsorted(middles, size).astype(np.uint8)
    return code | np.where(np.signbit(values), 128, 0).astype(np.uint8)


def fp8(values: Array) -> Array:
    """Round to fp8 E4M3 with one scale for the tensor, and back."""
    scale = np.float32(max(float(np.abs(values).max()), 1e-12) / 448)
    return decode_e4m3(encode_e4m3(values / scale)) * scale
