# SPDX-License-Identifier: Apache-2.0
"""Least squares over convex combinations: weights of at least 0 that sum to 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


def convex_weights(gram: Matrix, linear: Vector) -> Vector:
    """Minimise ``w'Gw - 2 b'w`` with w at least 0 and summing to 1.

    Active set: start from all columns, drop the most negative weight until none is,
    then let a dropped one back in while that lowers the sum of squares.

    Args:
        gram: G, shape (k, k), of the columns.
        linear: b, shape (k,), of the columns with the target.

    Returns:
        Shape (k,).
    """
    k = len(linear)
    free = np.ones(k, bool)
    weights = np.zeros(k)
    for _ in range(4 * k + 4):
        weights = _on_plane(gram, linear, free)
        if weights.min() < -1e-9:
            free[int(np.argmin(weights))] = False
            continue
        gradient = gram @ weights - linear
        level = float(gradient[free].mean())
        slack = np.where(free, np.inf, gradient - level)
        back = int(np.argmin(slack))
        if free.all() or slack[back] >= -1e-9 * max(1.0, abs(level)):
            break
        free[back] = True
        if _on_plane(gram, linear, free)[back] <= 0:
            break
    weights = np.maximum(np.where(free, weights, 0.0), 0.0)
    total = float(weights.sum())
    return weights / total if total > 0 else np.full(k, 1.0 / k)


def standard_errors(gram: Matrix, weights: Vector, residual: float, n: int) -> Vector:
    """Standard errors of the weights that are not 0; infinite for the others.

    Args:
        gram: As above.
        weights: The solution.
        residual: Sum of squares left.
        n: Observations.
    """
    used = np.flatnonzero(weights > 0)
    errors = np.full(len(weights), np.inf)
    if len(used) < 2 or n <= len(used):
        return errors
    first, others = used[0], used[1:]
    # Columns less the first one: the constraint is then gone.
    reduced = (
        gram[np.ix_(others, others)]
        - gram[others, first][:, None]
        - gram[first, others][None, :]
        + gram[first, first]
    )
    covariance = np.linalg.pinv(reduced) * (residual / (n - len(others)))
    errors[others] = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    errors[first] = np.sqrt(max(float(covariance.sum()), 0.0))
    return errors


def _on_plane(gram: Matrix, linear: Vector, free: NDArray[np.bool_]) -> Vector:
    """The minimum on the plane of sum 1, over the free weights."""
    used = np.flatnonzero(free)
    k = len(used)
    system = np.zeros((k + 1, k + 1))
    system[:k, :k] = gram[np.ix_(used, used)]
    system[:k, :k] += np.eye(k) * 1e-12 * max(float(np.trace(system[:k, :k])), 1e-300)
    system[:k, k] = system[k, :k] = 1.0
    solved = np.linalg.lstsq(system, np.append(linear[used], 1.0), rcond=None)[0]
    weights = np.zeros(len(linear))
    weights[used] = solved[:k]
    return weights
