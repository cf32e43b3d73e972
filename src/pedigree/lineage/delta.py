# SPDX-License-Identifier: Apache-2.0
"""DELTA: what kind of change leads from A to B, read from single weights.

Definition
    On the raw samples of matrices whose indices agree, with W the weights of A and
    ``Delta`` those of B less those of A:

    * *relative change*: ``|Delta| / |W|`` over all matrices of the layers;
    * *numerical rank*: of each sample of Delta (s x s), how many singular values it
      takes until the rest is no more than the rounding of both models to bfloat16
      explains.  A sample of a matrix of rank r has rank at most r, so a rank well below
      s in most matrices means a low-rank update; a full update leaves s;
    * *zeros*, and weights that are equal bit by bit.
Cost
    One singular value decomposition of s x s per matrix.
No p-value
    It types an edge that the tests have shown; it does not show one.
Source
    Hu et al. 2022 for low-rank updates; thresholds measured, see ``docs/lineage.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.roles import Role
from pedigree.lineage.paired import Pair

BODY = frozenset(
    {Role.Q, Role.K, Role.V, Role.QKV, Role.O, Role.GATE, Role.UP, Role.DOWN}
)
"""Matrices of the layers; tables of tokens change for their own reasons."""
FAR = 0.4
"""Relative change from which on fine-tuning is called continued pretraining.  A
convention: fine-tunes of the measured families moved by 0.05 to 0.2, continued
pretraining as long as the pretraining by 0.5 to 0.7."""
ROUNDING = 1.2
"""A rest up to this many times the expected rounding is rounding."""
LOW_RANK_SHARE = 0.5
"""A rank up to this share of the sample's size is low."""
LOW_RANK_GAP = 4.0
"""Ratio of the last singular value that counts to the first that does not: in a merged
adapter the update ends at once, in fine-tuning it fades into the rounding."""
MATRICES_MIN, MATRICES_MAX = 3, 64
"""Changed matrices wanted, and decomposed at most, spread evenly."""


@dataclass(frozen=True, slots=True)
class Delta:
    """How B differs from A.

    Attributes:
        matrices: Of the layers, that were compared.
        relative: ``|Delta| / |W|`` over them; 0 without any.
        kept_relative: The same over weights that are zero in neither.
        cosine: Of all their weights.
        equal: Share of equal weights.
        zeros_a: Share of zeros in A.
        zeros_b: Share of zeros in B.
        changed: Matrices with any difference, at most :data:`MATRICES_MAX` of them.
        rank: Median numerical rank of the differences of changed matrices.
        low_rank: Changed matrices whose difference has a low rank that ends in a gap.
        sample: Rows and columns of a sample.
    """

    matrices: int
    relative: float
    kept_relative: float
    cosine: float
    equal: float
    zeros_a: float
    zeros_b: float
    changed: int
    rank: float
    low_rank: int
    sample: int

    @property
    def is_low_rank(self) -> bool:
        """Whether most differences have a low rank."""
        return self.low_rank >= max(MATRICES_MIN, 0.8 * self.changed)


def measure(pairs: Sequence[Pair]) -> Delta | None:
    """Compare weight by weight; None without matrices of layers.

    Args:
        pairs: From ``paired.pairs``.
    """
    body = [pair for pair in pairs if pair.role in BODY]
    if not body:
        return None
    a = np.concatenate([pair.a.ravel() for pair in body]).astype(np.float64)
    b = np.concatenate([pair.b.ravel() for pair in body]).astype(np.float64)
    size_a, size_b = float(np.sqrt(a @ a)), float(np.sqrt(b @ b))
    kept = (a != 0) & (b != 0)
    kept_size = float(np.sqrt((a[kept] ** 2).sum()))
    kept_change = float(np.sqrt(((b - a)[kept] ** 2).sum()))
    changed = [pair for pair in body if np.any(pair.a != pair.b)]
    changed = changed[:: max(1, -(-len(changed) // MATRICES_MAX))]
    ranks = [numerical_rank(pair) for pair in changed]
    low = [
        rank <= LOW_RANK_SHARE * min(pair.a.shape) and gap >= LOW_RANK_GAP
        for pair, (rank, gap) in zip(changed, ranks, strict=True)
    ]
    return Delta(
        matrices=len(body),
        relative=float(np.sqrt(((b - a) ** 2).sum())) / size_a if size_a else 0.0,
        kept_relative=kept_change / kept_size if kept_size else 0.0,
        cosine=float(a @ b) / (size_a * size_b) if size_a and size_b else 0.0,
        equal=float((a == b).mean()),
        zeros_a=float((a == 0).mean()),
        zeros_b=float((b == 0).mean()),
        changed=len(changed),
        rank=_median([rank for rank, _ in ranks]),
        low_rank=sum(low),
        sample=min(min(pair.a.shape) for pair in body),
    )


def _median(ranks: list[int]) -> float:
    """The middle one; numpy's takes longer to load than all else here."""
    ordered = sorted(ranks) or [0]
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def numerical_rank(pair: Pair) -> tuple[int, float]:
    """Rank of a difference above rounding, and the gap of singular values there.

    Returns:
        The least r for which the singular values after the first r are explained by
        rounding; and singular value r over r + 1 (infinite if that is 0).
    """
    difference = pair.b.astype(np.float64) - pair.a.astype(np.float64)
    values = np.linalg.svd(difference, compute_uv=False)
    noise = (_step(pair.a) ** 2 + _step(pair.b) ** 2).sum() / 12
    rest = np.cumsum((values**2)[::-1])[::-1]
    above = np.append(rest, 0.0) > ROUNDING**2 * noise
    rank = int(np.argmin(above))  # the first that is not above
    if rank == 0 or rank == len(values):
        return rank, 1.0
    following = float(values[rank])
    return rank, float(values[rank - 1]) / following if following else np.inf


def _step(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Spacing of bfloat16 around each value; 0 at 0."""
    size = np.abs(values.astype(np.float64))
    exponent = np.floor(np.log2(np.maximum(size, 2.0**-126)))
    return np.where(size > 0, np.exp2(exponent - 7), 0.0)
