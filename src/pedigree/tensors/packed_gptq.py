# SPDX-License-Identifier: Apache-2.0
"""GPTQ: 2, 3, 4 or 8 bit numbers packed down the inputs, the lowest bits first.

``qweight`` has shape (columns * bits / 32, rows), ``qzeros`` (groups,
rows * bits / 32).  Numbers of 3 bits do not fit words evenly: 32 of them take three
words, as one stretch of 96 bits, and the 11th and the 22nd lie across two.  In the
first checkpoint format one less than the zero is stored, modulo 2**bits; ``gptq_v2``
stores it as it is.  Source: AutoGPTQ 0.7 and GPTQModel 4, their torch linear layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.tensors.layout import TensorInfo
from pedigree.tensors.packed_groups import (
    WORD_BITS,
    GroupCoding,
    Words,
    found,
    group_columns,
    parts_of,
)

_PERIODS = {2: 1, 3: 3, 4: 1, 8: 1}
"""Bits of a number to the fewest words that hold whole numbers."""
_GROUP_TYPES = frozenset({"I32", "U32"})


def find(
    tensors: Mapping[str, TensorInfo],
    settings: Mapping[str, Any],
    read: Callable[[TensorInfo], bytes],
) -> list[tuple[TensorInfo, frozenset[str]]]:
    """The GPTQ layers of a model.

    Args:
        tensors: As stored, by name.
        settings: What the model says of its quantisation; a hint.
        read: Not needed: shapes tell.

    Returns:
        Each logical weight with the names of the stored tensors it is made of.
    """
    return found(tensors, settings, coding_of)


def coding_of(
    tensors: Mapping[str, TensorInfo], stem: str, settings: Mapping[str, Any]
) -> GroupCoding | str:
    """The coding of one layer, or why it is none of GPTQ that is read."""
    parts = parts_of(tensors, stem)
    if isinstance(parts, str):
        return parts
    words, zeros, scales = parts
    groups, rows = scales.shape
    if words.shape[1] != rows:
        return (
            f"shapes {list(words.shape)} of qweight, {list(zeros.shape)} of qzeros and "
            f"{list(scales.shape)} of scales together fit neither GPTQ nor AWQ (GEMM)"
        )
    bits = next((b for b in _PERIODS if zeros.shape[1] * WORD_BITS == rows * b), None)
    if bits is None:
        return (
            f"qzeros has {zeros.shape[1]} words for {rows} rows, wanted 2, 3, 4 or 8 "
            "bits each"
        )
    if words.shape[0] % _PERIODS[bits]:
        return (
            f"qweight has {words.shape[0]} words for the numbers of a row, wanted a "
            f"multiple of {_PERIODS[bits]} for {bits} bits"
        )
    columns = words.shape[0] * WORD_BITS // bits
    order = tensors.get(stem + ".g_idx")
    if order is not None and (
        order.shape != (columns,)
        or order.dtype not in _GROUP_TYPES
        or order.coding is not None
    ):
        return f"g_idx is no vector of {columns} 32-bit integers"
    per_group = group_columns(settings, columns, groups)
    if per_group is None and order is None:
        return f"{columns} columns do not make {groups} groups"
    as_it_is = settings.get("checkpoint_format") == "gptq_v2"
    return GroupCoding(
        kind=f"GPTQ {bits} bit",
        shape=(rows, columns),
        words=words,
        zeros=zeros,
        scales=scales,
        order=order,
        per_group=per_group or 1,
        numbers_of=partial(_down, bits=bits),
        zeros_of=partial(_along, bits=bits, add=0 if as_it_is else 1),
    )


def _down(words: Words, lines: NDArray[np.int64], bits: int) -> NDArray[np.int32]:
    """Numbers that are packed along the first axis."""
    period = _PERIODS[bits]
    stretches = words[:, lines].reshape(-1, period, lines.size)
    begin = np.arange(period * WORD_BITS // bits) * bits
    word, shift = begin // WORD_BITS, (begin % WORD_BITS).astype(np.uint32)
    places = word if period > 1 else slice(None)  # one word is repeated by itself
    found = stretches[:, places] >> shift[:, None]  # (n, numbers, k)
    for place in np.flatnonzero(shift + bits > WORD_BITS):
        after = stretches[:, word[place] + 1]
        found[:, place] |= after << (WORD_BITS - shift[place])
    found &= np.uint32((1 << bits) - 1)
    return found.reshape(-1, lines.size).view(np.int32)


def _along(
    words: Words, lines: NDArray[np.int64], bits: int, add: int
) -> NDArray[np.int32]:
    """Numbers that are packed along the last axis, with something added to each."""
    begin = lines * bits
    word, shift = begin // WORD_BITS, (begin % WORD_BITS).astype(np.uint32)
    found = words[:, word] >> shift  # (n, k)
    across = shift + bits > WORD_BITS
    found[:, across] |= words[:, word[across] + 1] << (WORD_BITS - shift[across])
    found += np.uint32(add)
    return (found & np.uint32((1 << bits) - 1)).view(np.int32)


def why_not(
    tensors: Mapping[str, TensorInfo], stem: str, settings: Mapping[str, Any]
) -> str:
    """Why a layer was left as it is stored."""
    coding = coding_of(tensors, stem, settings)
    return coding if isinstance(coding, str) else "its parts are used twice"
