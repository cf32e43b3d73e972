# SPDX-License-Identifier: Apache-2.0
"""Anchor tokens: embedding rows that neurons are projected on.

A token is known by its bytes, so that models with different vocabularies share most
anchors, or by its row, for models without a tokenizer.  The projection of a neuron on
the embedding of a token does not change when the residual stream is rotated.

Anchors are centred, rounded to 13-bit integers and divided by their length after the
projection.  So every sum is of products of an 8-bit by a 13-bit number: exact in
float64, and the same in any order, for rows whose values span less than 2**20.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.bits import Bits, values_of
from pedigree.fingerprint.slots import Part, Slot
from pedigree.fingerprint.vocabulary import Vocabulary, anchors_by_bytes

LARGEST = 4095
"""Of an anchor's integers."""


@dataclass(frozen=True, eq=False)
class Anchors:
    """Anchors, ready to project on.

    Attributes:
        matrix: Shape (d, k): one column per anchor, integers.
        length: Shape (k,): Euclidean length of each column, 1 for columns of zeros.
        fast: The first columns, which scale the others too.
    """

    matrix: NDArray[np.float64]
    length: NDArray[np.float64]
    fast: int

    @property
    def count(self) -> int:
        """Number of anchors."""
        return len(self.length) if self.matrix.size else 0

    def project(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Inner products of rows with unit anchors.

        Args:
            rows: Shape (n, d).

        Returns:
            Shape (n, k).
        """
        product: NDArray[np.float64] = (rows @ self.matrix) / self.length
        return product


def choose_by_bytes(
    vocabulary: Vocabulary | None, height: int, count: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Rows of the anchors that are known by their bytes, and their 32-bit names.

    Args:
        vocabulary: Of the model, or None.
        height: Rows of the embedding.
        count: Wanted anchors.
        seed: Of the spec.

    Returns:
        Shapes (k,) and (k,), k at most ``count``.
    """
    if vocabulary is None:
        return np.zeros(0, np.int64), np.zeros(0, np.uint32)
    at = anchors_by_bytes(vocabulary, count, rows=height, seed=seed)
    names = vocabulary.token_hashes[at] & np.uint64(0xFFFFFFFF)
    return at, names.astype(np.uint32)


def takes_off_mean(slots: Iterable[Slot]) -> bool:
    """Whether a model's norms take off the mean over channels, told by their biases.

    What reads such a norm may have any mean over channels without a change of function.
    """
    return any(s.role.is_norm and s.part is Part.BIAS and s.layer >= 0 for s in slots)


def anchors_of(rows: Bits, fast: int, *, centred: bool = False) -> Anchors:
    """Centre, scale and round embedding rows.

    Args:
        rows: Shape (k, d), canonical bits of the anchors' rows.
        fast: Anchors of the fast profile: what scales must not depend on others.
        centred: Whether to take off the mean over channels too, so that projections do
            not depend on that of what is projected.
    """
    values = values_of(rows).astype(np.float64)  # (k, d)
    if not len(values):
        return Anchors(values.T, np.ones(0), 0)
    # A sum of canonical values is exact, so the mean is the same on every machine.
    mean = values[:fast].sum(axis=0) / len(values[:fast])
    if centred:
        width = values.shape[1]
        own = values.sum(axis=1, keepdims=True) / width
        values -= own - values[:fast].sum() / (width * len(values[:fast]))
    values -= mean
    peak = np.abs(values).max(axis=1, keepdims=True)
    matrix = np.rint(values / np.where(peak > 0, peak, 1.0) * LARGEST)
    length = np.sqrt((matrix * matrix).sum(axis=1))
    return Anchors(
        np.ascontiguousarray(matrix.T),
        np.where(length > 0, length, 1.0),
        min(fast, len(values)),
    )
