# SPDX-License-Identifier: Apache-2.0
"""Tables of points that the numbers of IQ1, IQ2 and IQ3 blocks are places in.

They have up to 2048 points and follow no rule, so they are not written down here but
taken from the format's own package ``gguf`` (extra ``gguf``), which is imported when
the first of them is needed.  Nothing else of that package is used: it decodes these
types too, at a quarter of the speed.  Known digests make sure that they are the tables
that files are written with, whichever version is installed.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError


class _Table(NamedTuple):
    """Values of a point, and SHA-256 of those of all points as signed bytes."""

    values: int
    sha256: str


_TABLES = {
    "IQ1_S": _Table(
        8,
        "07540ffc1aeaf6ad4d97e96b0fcc765aae39671d4ae4a27bbd0e796fde167c6a",
    ),
    "IQ2_XXS": _Table(
        8,
        "05826b5d3e472a3a78f196be62ac78acf81df0f909626e12ab9fa2a5d490dd54",
    ),
    "IQ2_XS": _Table(
        8,
        "06e47aaca60b4dc1d9b5a3f34540437058a6b142b4d7a59d5ded769b4d1bf1de",
    ),
    "IQ2_S": _Table(
        8,
        "e1aa1473412b0552c2174c30ef22ab4073f6a181b85a17056e8249bd2932fd88",
    ),
    "IQ3_XXS": _Table(
        4,
        "46e35f5a997efdee6c99ce57854c8a0d4f0ff8ca57e5e8a60c0793ea580acf5d",
    ),
    "IQ3_S": _Table(
        4,
        "bd1af4945a1717c65610b0284e4628b9a1ba3b306fae3a06f6e5f597356e349f",
    ),
}


@cache
def grid(name: str) -> NDArray[np.int8]:
    """The points of a type.

    Args:
        name: Such as ``IQ3_S``.

    Returns:
        Shape (places, 4 or 8).  Not to be written to.

    Raises:
        ArtifactError: The package is not installed, or has another table
            (``UnsupportedDtype``).
    """
    table = _TABLES[name]
    try:
        from gguf import quants
    except ImportError as error:
        raise _refused(name, "is not installed") from error
    try:
        kind: Any = getattr(quants, name)
        kind.init_grid()
        points = np.array(kind.grid, np.int8).reshape(-1, table.values)
    except (AttributeError, TypeError, ValueError) as error:
        raise _refused(name, "does not have it in this version") from error
    if hashlib.sha256(points.tobytes()).hexdigest() != table.sha256:
        raise _refused(name, "has another in this version than files are made with")
    points.flags.writeable = False
    return points


def _refused(name: str, why: str) -> ArtifactError:
    return ArtifactError(
        f"points of {name} blocks are a table of the package gguf, which {why}",
        reason="UnsupportedDtype",
        hint="install the extra where models are read (pip install "
        "'pedigree-gate[gguf]'), or publish the model in a type that needs none, such "
        "as Q4_K_M",
    )
