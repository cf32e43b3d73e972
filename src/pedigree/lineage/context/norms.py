# SPDX-License-Identifier: Apache-2.0
"""NLF: how alike are the norm vectors of two models?

Definition
    All norm vectors joined, cosine of the two.  Where their lengths differ, or a model
    has norms of several lengths, mean, deviation, largest and smallest value of each
    vector instead.
What it misses
    All values are positive and the mean is not taken off, so independent models have
    0.97 to 0.995.  Our GAMMA test looks at the same vectors, with a null.
Source
    The kit's ``weight_signals.py``; the order of tensors is in
    :mod:`pedigree.lineage.context.order`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.lineage.context.model import (
    Absent,
    ContextSignal,
    Floats,
    NotShown,
    cosine,
    missing,
    shown,
)
from pedigree.lineage.context.order import is_sampled, kit_order
from pedigree.tensors.checkpoint import Checkpoint

_WORDS = ("layernorm", "rmsnorm", "post_attention", "ln_", "norm")
"""Parts of a tensor's name by which the kit knows a norm."""
_VALUES_LEAST = 64
_STATISTICS = 4
"""Mean, deviation, largest, smallest."""


@dataclass(frozen=True, slots=True)
class Norms:
    """Norm vectors of one model.

    Attributes:
        vectors: In the kit's order, float32; empty if only their statistics are kept.
        kept: Statistics of vectors that are not there, four each, or None.
    """

    vectors: tuple[NDArray[np.float32], ...]
    kept: Floats | None = None

    @property
    def is_even(self) -> bool:
        """Whether all have one length."""
        return len({len(vector) for vector in self.vectors}) == 1

    @property
    def joined(self) -> Floats:
        """All values, one vector after the other."""
        return np.concatenate(self.vectors).astype(np.float64)

    @property
    def statistics(self) -> Floats:
        """Shape (4 times the number of vectors,)."""
        if self.kept is not None:
            return self.kept
        found = [(v.mean(), v.std(), v.max(), v.min()) for v in self.vectors]
        return np.array(found, np.float64).reshape(-1)


def read_norms(checkpoint: Checkpoint) -> Norms | Absent:
    """Read the norm vectors.

    Raises:
        ArtifactError: A tensor is refused.
        SourceError: The bytes could not be had.
    """
    found = [
        info
        for info in kit_order(checkpoint)
        if any(word in info.name.lower() for word in _WORDS)
        and len(info.shape) == 1
        and info.count >= _VALUES_LEAST
    ]
    if is_sampled(checkpoint):
        found.sort(key=lambda info: info.name)
    if not found:
        return Absent(NotShown.NO_NORMS, "no norm vector of 64 or more values")
    return Norms(tuple(checkpoint.read(info.name) for info in found))


def nlf(a: Norms, b: Norms) -> ContextSignal:
    """Compare the norm vectors of two models."""
    if a.is_even and b.is_even:
        left, right = a.joined, b.joined
        if len(left) == len(right):
            return shown("NLF", cosine(left, right), f"{len(left)} values")
    left, right = a.statistics, b.statistics
    count = min(len(left), len(right))
    if count < _STATISTICS:
        return missing("NLF", Absent(NotShown.TOO_LITTLE, "no vector in common"))
    detail = f"statistics of {count // _STATISTICS} vectors"
    return shown("NLF", cosine(left[:count], right[:count]), detail)
