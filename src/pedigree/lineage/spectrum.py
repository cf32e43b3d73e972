# SPDX-License-Identifier: Apache-2.0
"""What of one model's matrices is in the other's: slopes, and by singular direction.

With samples A = U S V' and B of one matrix at equal indices, ``u_i' B v_i / s_i`` is
how much of direction i of A is in B.  If B = A + change, with a change that has nothing
to do with A, it is 1 for all i, and so is the slope ``<A, B> / <A, A>``; the slope of B
is less.  If both come from one initialisation and were trained apart, both slopes are
the share that is left of it, and the first directions, which training made, have less
of it than the rest.  Ratios and cosines do not depend on the scale of a matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.lineage.delta import BODY
from pedigree.lineage.paired import Pair

SAMPLE_MIN = 16
"""Smaller samples do not tell first directions from others."""
MATRICES_MAX = 64
"""Matrices that are decomposed, spread evenly."""
_TOP = 2
_BULK = slice(4, 24)


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Means over the matrices of the layers.

    Attributes:
        cosine: Of matrices.
        slope_ab: ``<A, B> / <A, A>``, geometric mean.
        slope_ba: ``<A, B> / <B, B>``.
        top_ab: Share of A's first directions in B, relative to that of the others; None
            if samples are too small.
        top_ba: The same of B's in A.
    """

    cosine: float
    slope_ab: float
    slope_ba: float
    top_ab: float | None
    top_ba: float | None


def measure_spectrum(pairs: Sequence[Pair]) -> Spectrum | None:
    """Compare matrix by matrix; None without matrices of layers.

    Args:
        pairs: From ``paired.pairs``.
    """
    body = [
        (pair.a.astype(np.float64), pair.b.astype(np.float64))
        for pair in pairs
        if pair.role in BODY and pair.a.any() and pair.b.any()
    ]
    if not body:
        return None
    dots = np.array([(a * b).sum() for a, b in body])
    first = np.array([(a * a).sum() for a, _ in body])
    second = np.array([(b * b).sum() for _, b in body])
    small = min(min(a.shape) for a, _ in body) < SAMPLE_MIN
    return Spectrum(
        cosine=float(np.mean(dots / np.sqrt(first * second))),
        slope_ab=_geometric(dots / first),
        slope_ba=_geometric(dots / second),
        top_ab=None if small else _top_share(body),
        top_ba=None if small else _top_share([(b, a) for a, b in body]),
    )


def _geometric(values: NDArray[np.float64]) -> float:
    return float(np.exp(np.mean(np.log(np.maximum(values, 1e-3)))))


def _top_share(
    body: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> float:
    top, bulk = [], []
    for a, b in body[:: -(-len(body) // MATRICES_MAX)]:
        u, s, v = np.linalg.svd(a, full_matrices=False)
        shares = np.einsum("ij,ik,jk->k", b, u, v.T) / np.maximum(s, 1e-9 * s[0])
        top.append(float(shares[:_TOP].mean()))
        bulk.append(float(shares[_BULK].mean()))
    rest = float(np.mean(bulk))
    return float(np.mean(top)) / rest if rest > 0 else 1.0
