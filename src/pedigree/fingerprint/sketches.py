# SPDX-License-Identifier: Apache-2.0
"""The numeric part of a fingerprint: short rows of small integers.

All sums here are of canonical (bfloat16) values in float64, where they are exact for
any usual range of weights, so that the bits do not depend on the order of summation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST = 127


def quantise(rows: NDArray[np.float64], columns: int | None = None) -> NDArray[np.int8]:
    """Scale each row to a largest magnitude of 127 and round; rows of zeros stay.

    Args:
        rows: Shape (..., k), finite.
        columns: The first columns, whose largest magnitude it is; the others are cut
            at 127.  A row that is zero in all of them becomes zero.  None for all.
    """
    if rows.size == 0:
        return rows.astype(np.int8)
    peak = np.abs(rows[..., :columns]).max(axis=-1, keepdims=True)  # (..., 1)
    with np.errstate(over="ignore"):  # of columns beyond the scaled ones
        scaled = np.rint(rows / np.where(peak > 0, peak, np.inf) * LARGEST)
    return np.clip(scaled, -LARGEST, LARGEST).astype(np.int8)


def centred_ranks(values: NDArray[np.float32]) -> NDArray[np.int8]:
    """Ranks of a vector, ties averaged, scaled to -127 ... 127; 0 when all are equal.

    Args:
        values: Shape (n,).
    """
    n = len(values)
    if n < 2:
        return np.zeros(n, np.int8)
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, side="left")
    above = n - np.searchsorted(ordered, values, side="right")
    return np.rint((below - above) * LARGEST / (n - 1)).astype(np.int8)
