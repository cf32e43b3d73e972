# SPDX-License-Identifier: Apache-2.0
"""Matrices of 8 bit floats with scales: one, one for each line, or one for each block.

``X.weight`` holds the codes; ``X.weight_scale_inv`` or ``X.weight_scale`` holds what
each is multiplied by (both names mean the same factor).  Sources: the DeepSeek-V3
weight description (blocks of 128 by 128) and compressed-tensors 0.9, format
``float-quantized``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.tensors.dtypes import decode
from pedigree.tensors.layout import Extent, TensorInfo
from pedigree.tensors.stored_parts import (
    Part,
    group_settings,
    is_matrix,
    is_scale,
    joined,
    line_extents,
    whole,
)

_CODES = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
_DEFAULT_BLOCK = (128, 128)
_ACTIVATIONS = ("input_scale", "activation_scale")
"""What some writers store beside a weight to scale its input, one value."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """A matrix whose values are ``(code - zero) * scale``, scales by block.

    Attributes:
        kind: Name of the layout for people.
        codes: The stored matrix, shape (out, in).
        scale: A row of scales for each band of lines.
        block: Lines and columns of one block.
        zero: Zero points, as the scales; or None for zero.
    """

    kind: str
    codes: TensorInfo
    scale: Part
    block: tuple[int, int]
    zero: Part | None = None

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """See :class:`~pedigree.tensors.layout.Coding`."""
        if lines.size == 0:
            return []
        bands = lines // self.block[0]
        small = [part.extent(bands) for part in (self.scale, self.zero) if part]
        return [*line_extents(self.codes, lines), *small]

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See :class:`~pedigree.tensors.layout.Coding`."""
        columns = self.codes.columns
        if lines.size == 0:
            return np.empty((0, columns), np.float32)
        count = 1 if self.zero is None else 2
        size = lines.size * (self.codes.nbytes // self.codes.lines)
        raw = joined(pieces[:-count], size, self.codes)
        values = decode(raw, self.codes.dtype).reshape(lines.size, columns)
        bands = lines // self.block[0]
        blocks = np.arange(columns) // self.block[1]  # (columns,)
        # Numbers that are too large become infinities, which the reader refuses.
        with np.errstate(over="ignore", invalid="ignore"):
            if self.zero is not None:
                values -= self.zero.take(pieces[-1], bands)[:, blocks]
            values *= self.scale.take(pieces[-count], bands)[:, blocks]
        return values


def scaling(
    codes: TensorInfo, scale: TensorInfo, settings: Mapping[str, Any]
) -> tuple[Part, tuple[int, int]] | None:
    """How scales lie over a matrix, or None when their shape fits no known way."""
    out, columns = codes.shape
    if scale.count == 1:
        return Part(scale, 1), (out, columns)
    if scale.shape in ((out,), (out, 1)):
        return Part(scale, out), (1, columns)
    if len(scale.shape) != 2:
        return None
    for high, wide in _blocks(settings):
        if scale.shape == (-(-out // high), -(-columns // wide)):
            return Part(scale, scale.shape[0]), (high, wide)
    return None


def _blocks(settings: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Block sizes to try, as the settings say first."""
    said = [settings.get("weight_block_size")]
    said += [group.get("block_structure") for group in group_settings(settings)]
    found = []
    for block in said:
        if isinstance(block, list) and len(block) == 2:
            high, wide = whole(block[0]), whole(block[1])
            if high and wide and max(high, wide) < 1 << 31:
                found.append((high, wide))
    return [*found, _DEFAULT_BLOCK]


def find(
    tensors: Mapping[str, TensorInfo],
    settings: Mapping[str, Any],
    read: Callable[[TensorInfo], bytes],
) -> list[tuple[TensorInfo, frozenset[str]]]:
    """Matrices stored as 8 bit floats with scales.

    Args:
        tensors: What is stored, by name.
        settings: ``quantization_config`` of the model; a hint for block sizes.
        read: Not needed here.

    Returns:
        Each matrix, shape (out, in), and the names it is made of.  What does not fit
        is left out.
    """
    found = []
    for name, codes in tensors.items():
        if not name.endswith(".weight") or codes.dtype not in _CODES:
            continue
        if not is_matrix(codes):
            continue
        for beside in (f"{name}_scale_inv", f"{name}_scale"):
            scale = tensors.get(beside)
            if scale is None or not is_scale(scale):
                continue
            fit = scaling(codes, scale, settings)
            if fit is None:
                continue
            coding = Scaled(f"FP8 {codes.dtype[3:]}", codes, *fit)
            logical = replace(codes, dtype=coding.kind, coding=coding)
            used = {name, beside, *activations(tensors, name)}
            found.append((logical, frozenset(used)))
            break
    return found


def activations(tensors: Mapping[str, TensorInfo], name: str) -> list[str]:
    """Names of single values beside a weight that are about its input, not it."""
    stem = name.removesuffix("weight")
    return [
        stem + each
        for each in _ACTIVATIONS
        if stem + each in tensors and tensors[stem + each].count == 1
    ]
