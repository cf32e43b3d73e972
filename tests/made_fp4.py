# SPDX-License-Identifier: Apache-2.0
"""Packers of 4 bit floats: the values that are nearest, two in a byte.

The largest value of a block is made the largest number, 6, or a little less or more
where a scale is itself rounded.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

STEPS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
"""E2M1 without a sign, by code (OCP Microscaling Formats 1.0, table 5)."""
_EDGES = (STEPS[1:] + STEPS[:-1]) / 2


def codes(values: Values) -> NDArray[np.uint8]:
    """The nearest E2M1 number of each value; beyond 6 it is 6.

    No zero has a sign, as llama.cpp writes them.
    """
    sizes = np.searchsorted(_EDGES, np.abs(values)).astype(np.uint8)
    return np.where((values < 0) & (sizes > 0), sizes | np.uint8(8), sizes)


def neighbours(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two neighbours in a byte, the first in the low half."""
    return numbers[..., 0::2] + numbers[..., 1::2] * np.uint8(16)


def mx(values: Values) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Blocks of 32 columns as MXFP4.

    Args:
        values: Shape (..., columns), columns a multiple of 32.

    Returns:
        Codes, shape (..., columns / 32, 32), and powers of two with 127 added, shape
        (..., columns / 32): the floor of the power of the largest value, less 2, as
        the standard says.
    """
    blocks = values.reshape(*values.shape[:-1], -1, 32)
    most = np.abs(blocks).max(axis=-1)
    powers = np.floor(np.log2(np.where(most == 0, np.float32(2.0**-125), most))) - 2
    steps = blocks * np.exp2(-powers)[..., None]
    return codes(steps.astype(np.float32)), (powers + 127).astype(np.uint8)


def nv(
    values: Values,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Blocks of 16 columns as NVFP4.

    Args:
        values: Shape (rows, columns), columns a multiple of 16.

    Returns:
        Codes, shape (rows, columns); scales, which are E4M3 numbers, shape (rows,
        columns / 16); and the number, shape (1,), that scales are divided by.
    """
    blocks = values.reshape(len(values), -1, 16)
    most = np.abs(blocks).max(axis=-1)
    one = np.float32(448 * 6) / most.max()
    scales = (most / 6 * one).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    safe = np.where(scales == 0, np.float32(1), scales)
    steps = blocks * (one / safe)[..., None]
    return codes(steps).reshape(values.shape), scales, one.reshape(1)
