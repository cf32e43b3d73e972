# SPDX-License-Identifier: Apache-2.0
"""Which rows are kept, and how a row is made short.

Both are fixed functions of the spec's seed, of an axis or role, and of an index:
never of the layer, so that any layer can be compared with any other, and never of
another index, so that samples of axes of different length agree where both reach.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.roles import Role
from pedigree.fingerprint.spec import RUN

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Axis(IntEnum):
    """Axes that are sampled.  The numbers enter the hash: never reuse one."""

    NEURON = 1
    CHANNEL = 2
    TOKEN = 3
    HEAD = 5


def sample(seed: int, axis: Axis, size: int, count: int) -> NDArray[np.int64]:
    """The ``count`` indices below ``size`` with the smallest hashes, ascending.

    Bottom-k sampling: for two sizes, the smaller sample is a subset of the indices
    that the larger axis would sample among its first entries, so models with an
    extended vocabulary still share most sampled rows.

    Args:
        seed: Of the spec.
        axis: Keeps axes apart.
        size: Length of the axis, at least 0.
        count: Wanted rows.

    Returns:
        Shape (min(size, count),), ascending.
    """
    keys = _hash(seed, int(axis), np.arange(size, dtype=np.uint64))
    if size <= count:
        return np.arange(size, dtype=np.int64)
    chosen = np.argsort(keys, kind="stable")[:count]
    return np.sort(chosen).astype(np.int64)


@lru_cache(maxsize=256)
def order(seed: int, axis: Axis, size: int, count: int) -> NDArray[np.int64]:
    """The first ``count`` indices of a fixed order of an axis, in runs.

    Runs of :data:`RUN` consecutive indices, so that few ranged reads bring them,
    ordered by hash; the incomplete run at the end comes last.  A smaller count is a
    prefix of a larger one, and axes of two lengths agree on the runs both have.

    Args:
        seed: Of the spec.
        axis: Keeps axes apart.
        size: Length of the axis, at least 0.
        count: Wanted indices.

    Returns:
        Shape (min(size, count),), read-only.
    """
    whole = size // RUN
    keys = _hash(seed, 64 + int(axis), np.arange(whole, dtype=np.uint64))
    wanted = min(whole, -(-count // RUN))
    first = np.argsort(keys, kind="stable")[:wanted].astype(np.int64)
    runs = (first[:, None] * RUN + np.arange(RUN)).reshape(-1)
    rest = np.arange(whole * RUN, size, dtype=np.int64)
    result = np.concatenate([runs, rest])[:count]
    result.setflags(write=False)
    return result


@lru_cache(maxsize=32)
def sketch_matrix(seed: int, role: Role, size: int, width: int) -> NDArray[np.float64]:
    """The CountSketch of vectors of one role: one signed bucket for every index.

    Inner products are kept in expectation, with variance at most
    ``(|x|^2 |y|^2 + <x, y>^2) / width``.  Source: Charikar, Chen & Farach-Colton
    2004, doi:10.1016/S0304-3975(03)00400-6.

    Args:
        seed: Of the spec.
        role: Keeps roles apart.
        size: Length of the vectors.
        width: Length of the sketches.

    Returns:
        Shape (size, width), float64, one entry of +1 or -1 per row, read-only.
    """
    hashes = _hash(seed, 256 + int(role), np.arange(size, dtype=np.uint64))
    matrix = np.zeros((size, width))
    signs = 1.0 - 2.0 * (hashes & np.uint64(1)).astype(np.float64)
    buckets = ((hashes >> np.uint64(32)) % np.uint64(width)).astype(np.int64)
    matrix[np.arange(size), buckets] = signs
    matrix.setflags(write=False)
    return matrix


def _hash(seed: int, stream: int, index: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 of (seed, stream, index).

    Source: Steele, Lea & Flood 2014, doi:10.1145/2714064.2660195.
    """
    with np.errstate(over="ignore"):
        state = _mix(np.array([seed], np.uint64) + np.uint64(stream) * _GOLDEN)
        return _mix(state + (index + np.uint64(1)) * _GOLDEN)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
