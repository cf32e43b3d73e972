# SPDX-License-Identifier: Apache-2.0
"""AWQ: 4-bit numbers packed along the outputs, interleaved (the GEMM version).

``qweight`` has shape (columns, rows / 8) and ``qzeros`` (groups, rows / 8); eight rows
share a word, whose nibbles from the lowest hold rows 0, 2, 4, 6, 1, 3, 5, 7.  Zeros
are stored as they are.  Source: AutoAWQ 0.2, ``WQLinear_GEMM``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.tensors.layout import TensorInfo
from pedigree.tensors.packed_groups import (
    GroupCoding,
    Words,
    found,
    group_columns,
    parts_of,
)

_ROWS_PER_WORD = 8
_SHIFTS = np.array([0, 16, 4, 20, 8, 24, 12, 28], np.uint32)
"""Lowest bit of each of eight rows: the order above, inverted, times four bits."""
_MASK = np.uint32(0x0F)


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
    return found(tensors, settings, _coding_of)


def _coding_of(
    tensors: Mapping[str, TensorInfo], stem: str, settings: Mapping[str, Any]
) -> GroupCoding | str:
    parts = parts_of(tensors, stem)
    if isinstance(parts, str):
        return parts
    words, zeros, scales = parts
    groups, rows = scales.shape
    packed = rows // _ROWS_PER_WORD
    if rows % _ROWS_PER_WORD or (words.shape[1], zeros.shape[1]) != (packed, packed):
        return "its parts have other shapes than those of AWQ (GEMM)"
    columns = words.shape[0]
    per_group = group_columns(settings, columns, groups)
    if per_group is None:
        return f"{columns} columns do not make {groups} groups"
    return GroupCoding(
        kind="AWQ 4 bit",
        shape=(rows, columns),
        words=words,
        zeros=zeros,
        scales=scales,
        order=None,
        per_group=per_group,
        numbers_of=_numbers,
        zeros_of=_numbers,
    )


def _numbers(words: Words, lines: NDArray[np.int64]) -> NDArray[np.int32]:
    word, shift = lines // _ROWS_PER_WORD, _SHIFTS[lines % _ROWS_PER_WORD]
    return ((words[:, word] >> shift) & _MASK).astype(np.int32)
