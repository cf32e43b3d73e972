# SPDX-License-Identifier: Apache-2.0
"""Numbers of a neuron that rescaling, permuting and rotating leave as they are.

For a neuron with gate row g, up row u (both times the norm's weight) and down column
d: ``up`` times c and ``down`` by c compute the same, so only their product counts; a
rotation of the residual stream keeps lengths and angles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -32768
"""Stored for what was not or could not be computed."""
COUNT = 6
"""``log|g|`` (``log|u|`` without gate), ``log|u||d|``, ``cos(u, d)``,
``cos(g, u) cos(g, d)``, ``|cos(g, u)|``, ``|cos(g, d)|``."""
LOG_SCALE = 1024
COS_SCALE = 16384
_TINY = 1e-30

Matrix = NDArray[np.float64]


def invariants(
    gate: Matrix | None, up: Matrix, down: Matrix | None
) -> NDArray[np.int16]:
    """Invariants of neurons.

    Args:
        gate: Shape (n, d), or None without a gate.
        up: Shape (n, d).
        down: Shape (n, d): columns of the down matrix; None if they were not read.

    Returns:
        Shape (n, 6), int16; logarithms times 1024, cosines times 16384.
    """

    def dot(a: Matrix, b: Matrix) -> Matrix:
        product: Matrix = np.einsum("ij,ij->i", a, b)
        return product

    return from_products(
        uu=dot(up, up),
        gg=None if gate is None else dot(gate, gate),
        gu=None if gate is None else dot(gate, up),
        dd=None if down is None else dot(down, down),
        ud=None if down is None else dot(up, down),
        gd=None if gate is None or down is None else dot(gate, down),
    )


def from_products(
    *,
    uu: Matrix,
    gg: Matrix | None = None,
    gu: Matrix | None = None,
    dd: Matrix | None = None,
    ud: Matrix | None = None,
    gd: Matrix | None = None,
) -> NDArray[np.int16]:
    """Invariants of neurons from the inner products of their rows.

    Args:
        uu: Shape (n,): squared lengths of up; likewise the others, None if unknown.
        gg: Of gate.
        gu: Of gate with up.
        dd: Of down.
        ud: Of up with down.
        gd: Of gate with down.
    """
    out = np.full((len(uu), COUNT), UNKNOWN, np.int16)
    u = _length(uu)
    g = None if gg is None else _length(gg)
    d = None if dd is None else _length(dd)
    out[:, 0] = _log(u if g is None else g)
    if d is not None:
        out[:, 1] = _log(u * d)
        if ud is not None:
            out[:, 2] = _cos(ud / (u * d))
    if g is None:
        return out
    cos_gu = None if gu is None else gu / (g * u)
    cos_gd = None if gd is None or d is None else gd / (g * d)
    if cos_gu is not None:
        out[:, 4] = _cos(np.abs(cos_gu))
    if cos_gd is not None:
        out[:, 5] = _cos(np.abs(cos_gd))
    if cos_gu is not None and cos_gd is not None:
        out[:, 3] = _cos(cos_gu * cos_gd)
    return out


def _length(squared: Matrix) -> Matrix:
    return np.maximum(np.sqrt(squared), _TINY)


def _log(value: Matrix) -> NDArray[np.int16]:
    scaled = np.rint(np.clip(np.log(value) * LOG_SCALE, -32000, 32000))
    result: NDArray[np.int16] = scaled.astype(np.int16)
    return result


def _cos(value: Matrix) -> NDArray[np.int16]:
    result: NDArray[np.int16] = np.rint(np.clip(value, -1, 1) * COS_SCALE).astype(
        np.int16
    )
    return result
