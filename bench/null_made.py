# SPDX-License-Identifier: Apache-2.0
"""Descriptions of two models made to be nasty for a permutation test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Maker = Callable[[np.random.Generator], tuple[Matrix, Matrix]]


def _heavy(random: np.random.Generator, n: int, df: float) -> tuple[Matrix, Matrix]:
    a, b = random.standard_t(df, (2, n, 96))
    return a, b


def _outliers(random: np.random.Generator) -> tuple[Matrix, Matrix]:
    """Three rows of both models are twelve times as large, and share a direction."""
    a, b = random.standard_t(4, (2, 64, 96))
    a[:3] *= 12
    b[:3] *= 12
    return a + 2 * a[:1] / 12, b + 2 * b[:1] / 12


def _low_rank(random: np.random.Generator) -> tuple[Matrix, Matrix]:
    factor = random.normal(size=(2, 96))
    a, b = random.exponential(size=(2, 64, 2)) @ factor
    return a, b


def _twins(random: np.random.Generator) -> tuple[Matrix, Matrix]:
    """Half of the rows of both models are copies of each other, in pairs."""
    a, b = random.normal(size=(2, 32, 96))
    return np.repeat(a, 2, axis=0), np.repeat(b, 2, axis=0)


def _one_row(random: np.random.Generator) -> tuple[Matrix, Matrix]:
    """All of the similarity is in one row of each: T has two values."""
    a, b = random.normal(0, 1e-3, (2, 64, 96))
    a[0] += 1
    b[0] += 1
    return a, b


MADE: dict[str, Maker] = {
    "normal, 64 rows": lambda r: (r.normal(size=(64, 96)), r.normal(size=(64, 96))),
    "Student t3, 64 rows": lambda r: _heavy(r, 64, 3),
    "Student t2, 16 rows": lambda r: _heavy(r, 16, 2),
    "outlier rows, common mean": _outliers,
    "rank 2, exponential": _low_rank,
    "one row holds all": _one_row,
    "every row twice": _twins,
}
