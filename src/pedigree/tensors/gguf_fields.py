# SPDX-License-Identifier: Apache-2.0
"""Bit fields of the blocks of GGUF files, and numbers made of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Stored = NDArray[np.uint8]
"""Bytes of some blocks or of a field of each, shape (n, bytes)."""


def half(stored: Stored, at: int) -> NDArray[np.float32]:
    """Shape (n, 1): the half-precision number at a byte of each block."""
    pair = np.ascontiguousarray(stored[:, at : at + 2])
    return pair.view("<f2").astype(np.float32)


def fields(stored: Stored, groups: int, *shifts: int) -> Stored:
    """Bit fields of bytes, unmasked, in the order in which values take them.

    Args:
        stored: Shape (n, groups * width).
        groups: How many stretches of bytes are gone through one after the other.
        shifts: Where fields begin in a byte: all bytes of a stretch give their first
            field, then all their second.

    Returns:
        Shape (n, groups * len(shifts) * width): bytes shifted, higher bits not cut.
    """
    stretches = stored.reshape(len(stored), groups, 1, -1)
    by = np.array(shifts, np.uint8)[:, None]
    found: Stored = np.right_shift(stretches, by)  # (n, groups, shifts, width)
    return found.reshape(len(stored), groups * len(shifts) * stretches.shape[-1])


def grouped(
    scales: NDArray[np.float32],
    numbers: NDArray[np.uint8] | NDArray[np.int8],
    offsets: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Shape (n, g, 256 / g): number * scale - offset of its group of values.

    Args:
        scales: Shape (n, g).
        numbers: Shape (n, 256).
        offsets: Shape (n, g), or None for none.
    """
    groups = numbers.reshape(*scales.shape, -1)
    values = groups.astype(np.float32)
    values *= scales[:, :, None]
    if offsets is not None:
        values -= offsets[:, :, None]
    return values
