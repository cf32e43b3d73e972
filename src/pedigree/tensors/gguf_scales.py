# SPDX-License-Identifier: Apache-2.0
"""Scales of whole matrices that GGUF files keep in tensors of their own.

The weights of BitNet and NVFP4 models have one more factor, for each matrix or for each
expert, which servers apply behind the product.  It is a tensor that is called ``scale``
where the matrix is called ``weight``.

Source: ``create_tensor`` with ``"scale"`` in llama.cpp; pull requests 19769 and 20427.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pedigree.tensors.layout import Coding, Extent, TensorInfo

SCALED_TYPES = frozenset({"NVFP4", "TQ1_0", "TQ2_0"})
"""Types whose blocks leave the factor out.  A tensor of this name beside weights of
other types is a part of the model itself."""
EXPERTS_MAX = 65_536
"""Scales that are read with every line; models have some hundreds of experts."""


@dataclass(frozen=True, slots=True)
class ScaledCoding:
    """Values of lines times the factor of their matrix.

    Attributes:
        within: How values are stored.
        scales: Where the factors are, float32.
        lines: Lines that share a factor.
    """

    within: Coding
    scales: Extent
    lines: int

    @property
    def kind(self) -> str:
        """Name for people."""
        return f"{self.within.kind} with a scale"

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """Bytes of some lines, and of all factors."""
        return [*self.within.extents(lines), self.scales]

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Shape (k, columns)."""
        factors = np.frombuffer(pieces[-1], "<f4")[lines // self.lines]  # (k,)
        values = self.within.decode(pieces[:-1], lines)
        with np.errstate(over="ignore", invalid="ignore"):  # see Coding.decode
            scaled: NDArray[np.float32] = values * factors[:, None]
        return scaled


def with_scales(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The tensors of a model, matrices with their factors, which are left out alone.

    Args:
        tensors: As they are stored, by name.
    """
    found = dict(tensors)
    for name, info in tensors.items():
        stem, _, part = name.rpartition(".")
        scale = tensors.get(f"{stem}.scale")
        if part != "weight" or info.dtype not in SCALED_TYPES or scale is None:
            continue
        count = info.shape[0] if len(info.shape) == 3 else 1
        if info.coding is None or scale.dtype != "F32" or count > EXPERTS_MAX:
            continue
        if scale.count not in (1, count):
            continue
        where = Extent(scale.path, scale.begin, scale.end - scale.begin)
        coding = ScaledCoding(info.coding, where, info.lines // scale.count)
        found[name] = replace(info, coding=coding)
        del found[scale.name]
    return found
