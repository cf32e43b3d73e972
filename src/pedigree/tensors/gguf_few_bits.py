# SPDX-License-Identifier: Apache-2.0
"""Blocks of GGUF files with less than four bits for a value: IQ1, IQ2 and IQ3.

Their numbers are places in tables of up to 2048 points that follow no rule.  The tables
and the code that goes with them are those of the format's own package ``gguf`` (extra
``gguf``), which is imported when such a block is first met: what decides which bytes
are read, and how many at once, stays here.  Measured on one core, it makes 45 to 105
million values a second, against 170 to 245 for the types that are decoded here.

The package knows blocks, not files: nothing of what it has for reading files is used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError
from pedigree.tensors.gguf_fields import Stored

EXTRA_HINT = (
    "install the extra where models are read (pip install 'pedigree-gate[gguf]'), or "
    "publish the model in a type that needs none, such as Q4_K_M"
)


def installed() -> bool:
    """Whether these types can be decoded."""
    try:
        _decoder()
    except ImportError:
        return False
    return True


def few_bits(stored: Stored, name: str) -> NDArray[np.float32]:
    """Values of some blocks.

    Args:
        stored: Shape (n, bytes), n at least 1.
        name: Type of the blocks, such as ``IQ3_S``.

    Returns:
        Shape (n, 256), float32, maybe not finite.

    Raises:
        ArtifactError: The package is not installed (``UnsupportedDtype``).
    """
    try:
        decoder = _decoder()
    except ImportError as error:
        raise ArtifactError(
            f"blocks of {name} cannot be decoded without the package gguf",
            reason="UnsupportedDtype",
            hint=EXTRA_HINT,
        ) from error
    return decoder(stored, name)


@cache
def _decoder() -> Callable[[Stored, str], NDArray[np.float32]]:
    from gguf import GGMLQuantizationType, quants

    def decode(stored: Stored, name: str) -> NDArray[np.float32]:
        values = quants.dequantize(stored, GGMLQuantizationType[name])
        return cast("NDArray[np.float32]", values)

    return decode
