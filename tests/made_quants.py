# SPDX-License-Identifier: Apache-2.0
"""Weights made into GGUF blocks, for tests that write such files.

Simple quantisers, one block at a time.  Q8_0, Q4_0 and MXFP4 round as llama.cpp does;
Q4_K and IQ4_NL take no search for the best scales, as llama.cpp would, and are a little
coarser.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import made_fp4

Values = NDArray[np.float32]
Bytes = NDArray[np.uint8]

NUMBERS = {"Q4_0": 2, "Q8_0": 8, "Q4_K": 12, "IQ4_NL": 20, "MXFP4": 39}
"""Number of each type in a GGUF file."""


def quantise(values: Values, name: str) -> bytes:
    """Blocks of a matrix, line after line.

    Args:
        values: Shape (rows, columns), finite, small enough for half-precision scales;
            columns a multiple of 32, or 256 for Q4_K.
        name: One of :data:`NUMBERS`.
    """
    width, pack = _QUANTISERS[name]
    rows, columns = values.shape
    if columns % width:
        raise ValueError(f"{columns} columns, wanted a multiple of {width}")
    blocks = np.ascontiguousarray(values, np.float32).reshape(-1, width)
    stored = pack(blocks)
    assert len(stored) == rows * columns // width
    return stored.tobytes()


def _half(scales: Values) -> Bytes:
    """Shape (n, 2), of shape (n,) or (n, 1)."""
    return scales.astype("<f2").reshape(-1, 1).view(np.uint8)


def _inverse(scales: Values) -> Values:
    """1 / scales, and 0 for 0."""
    found = np.zeros_like(scales)
    np.divide(np.float32(1), scales, out=found, where=scales != 0)
    return found


def _halves_as_bytes(numbers: Bytes) -> Bytes:
    """4-bit numbers, shape (..., 2, width), to bytes, shape (..., width)."""
    return numbers[..., 0, :] + numbers[..., 1, :] * np.uint8(16)


def _q8_0(blocks: Values) -> Bytes:
    scales = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)  # (n, 1)
    steps = blocks * _inverse(scales)
    numbers = np.copysign(np.floor(np.abs(steps) + np.float32(0.5)), steps)
    return np.hstack([_half(scales), numbers.astype(np.int8).view(np.uint8)])


def _q4_0(blocks: Values) -> Bytes:
    """The largest value becomes 0, which stands for -8; its opposite may be cut."""
    largest = np.abs(blocks).argmax(axis=1, keepdims=True)
    scales = np.take_along_axis(blocks, largest, axis=1) / np.float32(-8)  # (n, 1)
    steps = np.floor(blocks * _inverse(scales) + np.float32(8.5))
    numbers = steps.clip(0, 15).astype(np.uint8)
    return np.hstack([_half(scales), _halves_as_bytes(numbers.reshape(-1, 2, 16))])


def _not_below(scales: Values) -> Values:
    """The next half-precision number, so that small scales never overflow."""
    near = scales.astype(np.float16)
    above = np.nextafter(near, np.float16(np.inf))
    return np.where(near < scales, above, near).astype(np.float32)


def _sixths(wanted: Values) -> tuple[Values, Values]:
    """A scale, shape (n, 1), and 6-bit numbers, shape (n, 8), not below ``wanted``."""
    scale = _not_below(wanted.max(axis=1, keepdims=True) / np.float32(63))
    return scale, np.ceil(wanted * _inverse(scale)).clip(0, 63)


def _q4_k(blocks: Values) -> Bytes:
    groups = blocks.reshape(-1, 8, 32)
    lowest, highest = groups.min(axis=2), groups.max(axis=2)  # (n, 8)
    offset, offsets = _sixths(np.maximum(-lowest, 0))
    below = offset * offsets
    scale, scales = _sixths(np.maximum(highest + below, 0) / np.float32(15))
    steps = (groups + below[:, :, None]) * _inverse(scale * scales)[:, :, None]
    numbers = np.rint(steps).clip(0, 15).astype(np.uint8).reshape(-1, 4, 2, 32)
    data = _halves_as_bytes(numbers).reshape(-1, 128)
    small = _packed(scales.astype(np.uint8), offsets.astype(np.uint8))
    return np.hstack([_half(scale), _half(offset), small, data])


def _packed(scales: Bytes, offsets: Bytes) -> Bytes:
    """Twelve bytes of eight scales and eight offsets of 6 bits."""
    first = scales[:, :4] | scales[:, 4:] >> 4 << 6
    second = offsets[:, :4] | offsets[:, 4:] >> 4 << 6
    third = (scales[:, 4:] & 15) | (offsets[:, 4:] & 15) << 4
    return np.hstack([first, second, third])


LATTICE = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113],
    np.float32,
)
"""Numbers that the codes of IQ4_NL stand for (ggml-common.h, ``kvalues_iq4nl``)."""


def _iq4_nl(blocks: Values) -> Bytes:
    """The largest value becomes the lowest number, whatever its sign."""
    largest = np.abs(blocks).argmax(axis=1, keepdims=True)
    scales = np.take_along_axis(blocks, largest, axis=1) / LATTICE[0]  # (n, 1)
    steps = blocks * _inverse(scales)
    edges = (LATTICE[1:] + LATTICE[:-1]) / 2
    numbers = np.searchsorted(edges, steps).astype(np.uint8)
    return np.hstack([_half(scales), _halves_as_bytes(numbers.reshape(-1, 2, 16))])


def _mxfp4(blocks: Values) -> Bytes:
    numbers, powers = made_fp4.mx(blocks)
    return np.hstack([powers, _halves_as_bytes(numbers.reshape(-1, 2, 16))])


_QUANTISERS: dict[str, tuple[int, Callable[[Values], Bytes]]] = {
    "Q8_0": (32, _q8_0),
    "Q4_0": (32, _q4_0),
    "Q4_K": (256, _q4_k),
    "IQ4_NL": (32, _iq4_nl),
    "MXFP4": (32, _mxfp4),
}
"""By name: values of a block, and what makes blocks, shape (n, values), to bytes."""
