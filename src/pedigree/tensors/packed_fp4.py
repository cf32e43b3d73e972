# SPDX-License-Identifier: Apache-2.0
"""Matrices of 4 bit floats: MXFP4, and NVFP4 as two writers store it.

Each byte holds two E2M1 values, the low half first.  MXFP4 has one power of two for 32
columns, stored with 127 added; NVFP4 one E4M3 number for 16 columns, and one F32 number
for the whole matrix, by which the others are divided (``weight_global_scale``) or
multiplied (``weight_scale_2``).  GPT-OSS stores MXFP4 stacks of experts as
``X_blocks`` of shape (experts, out, in / 32, 16) and ``X_scales``.

Sources: OCP Microscaling Formats 1.0, sections 5.3 and 6.3; compressed-tensors 0.20
(``mxfp4-pack-quantized``, ``nvfp4-pack-quantized``) and transformers 5.23 (GPT-OSS),
with whose decoded values these are compared bit for bit; NVIDIA ModelOpt's unified
checkpoints for ``weight_scale_2`` (by description).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.tensors.dtypes import decode
from pedigree.tensors.layout import Extent, TensorInfo
from pedigree.tensors.packed_fp8 import activations
from pedigree.tensors.stored_parts import Part, is_matrix, joined, line_extents

_MX_COLUMNS = 32
_NV_COLUMNS = 16
_MX_SCALES = frozenset({"U8", "F8_E8M0"})


@dataclass(frozen=True, slots=True)
class Halves:
    """A matrix of 4 bit floats, two in a byte, with a scale for each few columns.

    Attributes:
        kind: Name of the layout for people.
        codes: The stored bytes, shape (out, in / 2).
        scale: A row of scales for each line.
        block: Columns of one scale.
        whole: One number for all; or None for 1.
        divides: Whether scales are divided by that number, else multiplied.
    """

    kind: str
    codes: TensorInfo
    scale: Part
    block: int
    whole: Part | None = None
    divides: bool = False

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """See :class:`~pedigree.tensors.layout.Coding`."""
        if lines.size == 0:
            return []
        small = [self.scale.extent(lines)]
        if self.whole is not None:
            small.append(self.whole.extent(np.zeros(1, np.int64)))
        return [*line_extents(self.codes, lines), *small]

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See :class:`~pedigree.tensors.layout.Coding`."""
        columns = self.codes.columns * 2
        if lines.size == 0:
            return np.empty((0, columns), np.float32)
        count = 1 if self.whole is None else 2
        raw = joined(pieces[:-count], lines.size * self.codes.columns, self.codes)
        values = decode(raw, "F4").reshape(lines.size, -1, self.block)
        # Numbers that are too large become infinities, which the reader refuses.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scale = self._scales(pieces[-count], lines)
            if self.whole is not None:
                one = self.whole.take(pieces[-1], np.zeros(1, np.int64))[0, 0]
                scale = scale / one if self.divides else scale * one
            values *= scale[:, :, None]
        return values.reshape(lines.size, columns)

    def _scales(self, piece: bytes, lines: NDArray[np.int64]) -> NDArray[np.float32]:
        """Shape (k, in / block)."""
        if self.scale.info.dtype != "U8":
            return self.scale.take(piece, lines)
        raw, places = self.scale.raw(piece, lines)
        powers = decode(raw, "F8_E8M0")  # a byte is a power of two, whatever its type
        return powers.reshape(-1, self.scale.info.columns)[places]


def find(
    tensors: Mapping[str, TensorInfo],
    settings: Mapping[str, Any],
    read: Callable[[TensorInfo], bytes],
) -> list[tuple[TensorInfo, frozenset[str]]]:
    """Matrices stored as 4 bit floats.

    Args:
        tensors: What is stored, by name.
        settings: Not needed: names, types and shapes tell.
        read: Not needed here.

    Returns:
        Each matrix, shape (out, in), and the names it is made of.  What does not fit
        is left out.
    """
    found = []
    for name, codes in tensors.items():
        if codes.dtype != "U8" or codes.count == 0 or codes.coding is not None:
            continue
        if name.endswith("_blocks"):
            coding, logical = _stack(tensors, codes), name.removesuffix("_blocks")
            shape = (*codes.shape[:-2], codes.shape[-2] * _MX_COLUMNS)
        elif name.endswith((".weight_packed", ".weight")) and is_matrix(codes):
            logical = name.removesuffix("_packed")
            coding = _fit(tensors, codes, logical)
            shape = (codes.shape[0], codes.columns * 2)
        else:
            continue
        if coding is None:
            continue
        info = replace(
            codes, name=logical, dtype=coding.kind, shape=shape, coding=coding
        )
        found.append((info, _names(tensors, coding, logical)))
    return found


def _names(
    tensors: Mapping[str, TensorInfo], coding: Halves, logical: str
) -> frozenset[str]:
    """All that one matrix is made of."""
    parts = {coding.codes.name, coding.scale.info.name}
    if coding.whole is not None:
        parts.add(coding.whole.info.name)
    return frozenset(parts | set(activations(tensors, logical)))


def _stack(tensors: Mapping[str, TensorInfo], codes: TensorInfo) -> Halves | None:
    """A stack of matrices, its lines one below the other."""
    scale = tensors.get(f"{codes.name.removesuffix('_blocks')}_scales")
    if scale is None or scale.dtype not in _MX_SCALES or scale.coding is not None:
        return None
    if len(codes.shape) < 3 or codes.shape[-1] * 2 != _MX_COLUMNS:
        return None
    if scale.shape != codes.shape[:-1]:
        return None
    lines, wide = scale.count // scale.columns, scale.columns * codes.shape[-1]
    flat = replace(codes, shape=(lines, wide))
    return Halves("MXFP4", flat, Part(scale, lines), _MX_COLUMNS)


def _fit(
    tensors: Mapping[str, TensorInfo], codes: TensorInfo, logical: str
) -> Halves | None:
    """The layout whose types and shapes the parts of a matrix have."""
    scale = tensors.get(f"{logical}_scale")
    if scale is None or not is_matrix(scale) or scale.shape[0] != codes.shape[0]:
        return None
    part, columns = Part(scale, scale.shape[0]), codes.columns * 2
    named = codes.name != logical
    if named and scale.dtype in _MX_SCALES and scale.columns * _MX_COLUMNS == columns:
        return Halves("MXFP4", codes, part, _MX_COLUMNS)
    tail = "_global_scale" if named else "_scale_2"
    one = tensors.get(logical + tail)
    if one is None or one.count != 1 or one.dtype != "F32" or one.coding is not None:
        return None
    if scale.dtype != "F8_E4M3" or scale.columns * _NV_COLUMNS != columns:
        return None
    return Halves("NVFP4", codes, part, _NV_COLUMNS, Part(one, 1), divides=named)
