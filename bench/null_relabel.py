# SPDX-License-Identifier: Apache-2.0
"""How far an inflation factor of a few models may be from 1 by chance, exactly.

Cells of one pair of models share a permutation, and pairs share models, so cells are
not independent tests and no textbook interval fits.  But the null hypothesis says what
may be permuted: the residual channels of each model, and the neurons of each of its
blocks.  Drawing all these permutations anew gives the whole set of cells once more
under the null, with every dependence in place, and so the exact distribution of the
factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from bench.null_models import TESTS, Pair
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
CHI2_MEDIAN = 0.4549364


@dataclass(frozen=True, eq=False)
class _Centred:
    """A pair with rows centred over the axis, and the deviation of each cell."""

    pair: Pair
    a: Matrix
    b: Matrix
    deviation: Matrix


def scores(pair: Pair) -> Matrix:
    """Z of every cell of a pair, shape (blocks a, blocks b)."""
    centred = _centre(pair)
    return _traces(centred, centred.a, centred.b)


def relabelled(
    pairs: Sequence[Pair], draws: int, random: np.random.Generator
) -> Matrix:
    """Z of all cells under the null, over and over.

    Args:
        pairs: All of one test.
        draws: How often.
        random: Source of the permutations.

    Returns:
        Shape (draws, cells of all pairs).
    """
    shared = TESTS[pairs[0].test][0].shared
    prepared = [_centre(pair) for pair in pairs]
    result = []
    for _ in range(draws):
        orders = _Orders(shared, random)
        cells = [
            _traces(x, orders.moved(x.pair.a, x.a), orders.moved(x.pair.b, x.b))
            for x in prepared
        ]
        result.append(np.concatenate([z.reshape(-1) for z in cells]))
    return np.array(result)


class _Orders:
    """One permutation for each model, or for each of its blocks."""

    def __init__(self, shared: bool, random: np.random.Generator) -> None:
        self._shared, self._random = shared, random
        self._drawn: dict[tuple[str, int], NDArray[np.intp]] = {}

    def moved(self, name: str, rows: Matrix) -> Matrix:
        """The rows of a model, (blocks, n, f), in their new order."""
        moved = np.empty_like(rows)
        for k, block in enumerate(rows):
            key = (name, -1 if self._shared else k)
            if key not in self._drawn:
                self._drawn[key] = self._random.permutation(len(block))
            moved[k] = block[self._drawn[key]]
        return moved


def inflation(z: Matrix) -> Matrix:
    """``median(z^2)`` over its value for a normal z, along the last axis."""
    factor: Matrix = np.median(z * z, axis=-1) / CHI2_MEDIAN
    return factor


def _centre(pair: Pair) -> _Centred:
    first, second = (
        x.astype(np.float64) - x.mean(axis=1, keepdims=True, dtype=np.float64)
        for x in pair.rows
    )
    grams = [
        np.matmul(x.transpose(0, 2, 1), x).reshape(len(x), -1) for x in (first, second)
    ]
    squares = grams[0] @ grams[1].T
    deviation = np.sqrt(np.maximum(squares, 1e-300) / (first.shape[1] - 1))
    return _Centred(pair, first, second, deviation)


def _traces(of: _Centred, a: Matrix, b: Matrix) -> Matrix:
    z: Matrix = a.reshape(len(a), -1) @ b.reshape(len(b), -1).T / of.deviation
    return z
