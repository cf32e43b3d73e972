# SPDX-License-Identifier: Apache-2.0
"""Do weights lie on a coarse lattice, as quantised and decoded ones do?

Definition
    A stretch of 16 consecutive weights of a row (one scale covers it: groups are at
    least 32 long and aligned) lies on a lattice if all are whole multiples k of one
    step, |k| at most 15 for 4 bits, within rounding to bfloat16; or if they have at
    most the 16 values of NF4 times one scale; or, for 8-bit floating point, if whole
    rows use at most 8 mantissas.  Whole rows are tried for 8 bits, |k| at most 127.
    A matrix lies on a lattice if nine tenths of its stretches do, and a model if two
    thirds of its matrices do.
No p-value
    A random stretch of 16 bfloat16 values passes the 4-bit test with probability below
    1e-9; no trained matrix of the measured models does.
Source
    Dettmers et al. 2023, appendix E, for the NF4 levels; OCP 8-bit floating point 1.0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.spec import RUN
from pedigree.lineage.delta import BODY
from pedigree.lineage.paired import Values, samples

INTEGER_4, INTEGER_8, FLOAT_8, NORMAL_4 = "4-bit or coarser", "8-bit", "fp8", "nf4"
"""What lattices are called.  The first test takes fewer bits than four as well."""
MATRICES_SHARE = 2 / 3
MATRICES_MAX = 28
"""Matrices that are looked at, spread evenly: quantised are all or almost all."""
_STRETCHES_SHARE = 0.9
_ROWS_8_SHARE = 0.75
_FLOAT_8_MANTISSAS = 8
_CHANCE_LOG10 = -6.0
"""A stretch passes only if a random one would so rarely, for each step tried."""
_ROWS_8 = 8
"""Rows tried for 8 bits, which takes most of the time."""
_NF4 = np.array(
    [
        -1.0,
        -0.6961928,
        -0.5250731,
        -0.3949175,
        -0.2844414,
        -0.1847734,
        -0.0910500,
        0.0,
        0.0795803,
        0.1609302,
        0.2461123,
        0.3379152,
        0.4407098,
        0.5626170,
        0.7229568,
        1.0,
    ]
)


def lattice_of(model: Fingerprint) -> str:
    """The lattice that most matrices of the layers lie on, or empty."""
    body = [x for slot, (_, x) in sorted(samples(model).items()) if slot.role in BODY]
    body = body[:: -(-len(body) // MATRICES_MAX)] if body else []
    found: list[str] = []
    for values in body:
        found.append(matrix_lattice(values))
        if found.count("") > (1 - MATRICES_SHARE) * len(body):
            return ""
    if len(found) < 2:
        return ""
    for kind in (INTEGER_4, NORMAL_4, FLOAT_8, INTEGER_8):
        if found.count(kind) >= MATRICES_SHARE * len(found):
            return kind
    return ""


def matrix_lattice(values: Values) -> str:
    """The lattice of one matrix, or empty.

    Args:
        values: Shape (rows, columns); columns in runs of 16 consecutive indices.
    """
    rows = values.astype(np.float64)
    runs = [rows[:, i : i + RUN] for i in range(0, rows.shape[1] - 7, RUN)]
    stretches = [row for run in runs for row in run if np.count_nonzero(row) >= 6]
    if len(stretches) < 4:
        return ""
    if _most(stretches, lambda row: _on_multiples(row, 15, 1), _STRETCHES_SHARE):
        return INTEGER_4
    if _most(stretches, _normal_4, _STRETCHES_SHARE):
        return NORMAL_4
    whole = [row for row in rows if np.count_nonzero(row) >= 24]
    if len(whole) < 4:
        return ""
    if _most(whole, _few_mantissas, _STRETCHES_SHARE):
        return FLOAT_8
    some = whole[:_ROWS_8]
    eight = _most(some, lambda row: _on_multiples(row, 127, 9), _ROWS_8_SHARE)
    return INTEGER_8 if eight else ""


def _most(
    rows: Sequence[NDArray[np.float64]],
    passes: Callable[[NDArray[np.float64]], bool],
    share: float,
) -> bool:
    """Whether a share of the rows pass; gives up as soon as too many did not."""
    left = int((1 - share) * len(rows))
    for row in rows:
        left -= not passes(row)
        if left < 0:
            return False
    return True


def _on_multiples(row: NDArray[np.float64], most: int, steps: int) -> bool:
    """Whether all are whole multiples, at most ``most``, of one step.

    Every k that the largest can have is tried.  Its own rounding to bfloat16 makes the
    step uncertain by 1 part in 256, which ``steps`` trials cover; the rounding of the
    others leaves k / 256.
    """
    sizes = np.abs(row)
    tried = np.linspace(-1, 1, steps) / 256 if steps > 1 else np.zeros(1)
    left = 2 / 256 if steps == 1 else (1 + 2 / (steps - 1)) / 256
    k = (np.arange(1, most + 1)[:, None] * (1 + tried)).reshape(-1, 1)
    shares = sizes / sizes.max()
    for some in (shares[:RUN], shares):  # few steps that fit the first values fit all
        multiples = some * k  # (k * steps, values)
        allowed = multiples * left + 1e-6
        fits = (np.abs(multiples - np.rint(multiples)) <= allowed).all(axis=1)
        if not fits.any():
            return False
        k, allowed = k[fits], allowed[fits]
    # With a step so small that rounding hides it anything fits: chance must not.
    chance = np.log10(np.minimum(2 * allowed, 1.0)).sum(axis=1)
    return bool((chance <= _CHANCE_LOG10).any())


def _normal_4(row: NDArray[np.float64]) -> bool:
    """Whether all are NF4 levels times one scale."""
    largest = row[np.argmax(np.abs(row))]
    for level in _NF4:
        if level == 0 or level * largest < 0:
            continue
        scaled = row * (level / largest)
        near = np.abs(scaled[:, None] - _NF4).min(axis=1)
        if (near <= np.maximum(np.abs(scaled) / 200, 1e-6)).all():
            return True
    return False


def _few_mantissas(row: NDArray[np.float64]) -> bool:
    """Whether a row uses no more mantissas than 3 bits have, subnormals left out."""
    sizes = np.abs(row[np.abs(row) > np.abs(row).max() / 16])
    mantissas = np.rint(np.frexp(sizes)[0] * 256).astype(np.int64)
    return len(sizes) >= 12 and len(set(mantissas.tolist())) <= _FLOAT_8_MANTISSAS
