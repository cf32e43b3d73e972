# SPDX-License-Identifier: Apache-2.0
"""AWQ: 4-bit numbers packed along the outputs, interleaved (the GEMM version).

``qweight`` has shape (columns, rows / 8) and ``qzeros`` (groups, rows / 8); eight rows
share a word, whose nibbles from the lowest hold rows 0, 2, 4, 6, 1, 3, 5, 7.  Zeros
are stored as they are.  Source: AutoAWQ 0.2, ``WQLinear_GEMM``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.tensors.dtypes import decode
from pedigree.tensors.layout import Extent, TensorInfo
from pedigree.tensors.packed_groups import (
    chunks,
    extent,
    group_columns,
    logical,
    parts_of,
    scaled,
    stems,
    words_of,
)

_ROWS_PER_WORD = 8
_SHIFTS = np.array([0, 16, 4, 20, 8, 24, 12, 28], np.uint32)
"""Lowest bit of each of eight rows: the order above, inverted, times four bits."""
_MASK = np.uint32(0x0F)


@dataclass(frozen=True, slots=True)
class AwqCoding:
    """Values of one AWQ layer.

    Attributes:
        words: ``qweight``.
        zeros: ``qzeros``.
        scales: ``scales``.
        per_group: Consecutive columns of a group.
    """

    words: TensorInfo
    zeros: TensorInfo
    scales: TensorInfo
    per_group: int

    @property
    def kind(self) -> str:
        """Name of the layout."""
        return "AWQ 4 bit"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the weight."""
        return self.scales.shape[1], self.words.shape[0]

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """All of every part, as rows are strided; nothing for no lines."""
        if lines.size == 0:
            return []
        return [extent(part) for part in (self.words, self.zeros, self.scales)]

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See :class:`~pedigree.tensors.layout.Coding`."""
        columns = self.shape[1]
        values = np.empty((lines.size, columns), np.float32)
        if lines.size == 0:
            return values
        words = words_of(pieces[0], self.words.shape)
        zeros = words_of(pieces[1], self.zeros.shape)
        scales = decode(pieces[2], self.scales.dtype).reshape(self.scales.shape)
        group = np.arange(columns, dtype=np.int64) // self.per_group
        for part in chunks(lines, columns):
            some = lines[part]
            word, shift = some // _ROWS_PER_WORD, _SHIFTS[some % _ROWS_PER_WORD]
            values[part] = scaled(
                ((words[:, word] >> shift) & _MASK).astype(np.int32),
                ((zeros[:, word] >> shift) & _MASK).astype(np.int32),
                scales[:, some],
                group,
            )
        return values


def find(
    tensors: Mapping[str, TensorInfo],
    settings: Mapping[str, Any],
    read: Callable[[TensorInfo], bytes],
) -> list[tuple[TensorInfo, frozenset[str]]]:
    """The AWQ layers of a model.

    Args:
        tensors: As stored, by name.
        settings: What the model says of its quantisation; a hint.
        read: Not needed: shapes tell.

    Returns:
        Each logical weight with the names of the stored tensors it is made of.
    """
    found = []
    for stem in stems(tensors):
        coding = _coding_of(tensors, stem, settings)
        if coding is None:
            continue
        parts = (coding.words, coding.zeros, coding.scales)
        found.append(logical(stem, coding.shape, coding, parts))
    return found


def _coding_of(
    tensors: Mapping[str, TensorInfo], stem: str, settings: Mapping[str, Any]
) -> AwqCoding | None:
    parts = parts_of(tensors, stem)
    if isinstance(parts, str):
        return None
    words, zeros, scales = parts
    groups, rows = scales.shape
    packed = rows // _ROWS_PER_WORD
    if rows % _ROWS_PER_WORD or (words.shape[1], zeros.shape[1]) != (packed, packed):
        return None
    per_group = group_columns(settings, words.shape[0], groups)
    if per_group is None:
        return None
    return AwqCoding(words=words, zeros=zeros, scales=scales, per_group=per_group)
