# SPDX-License-Identifier: Apache-2.0
"""GPTQ: numbers of 2 to 8 bits packed down the inputs, the lowest bits first.

``qweight`` has shape (columns * bits / 32, rows), ``qzeros`` (groups,
rows * bits / 32).  Numbers of 3 bits do not fit words evenly: 32 of them take three
words, as one stretch of 96 bits, and the 11th and the 22nd lie across two.  The format
``gptq_p`` splits numbers instead, into bits that fit: of 32 numbers of 3, 5, 6 or 7
bits, words with the lowest bits of all come first, then words with the next.

In the first checkpoint format one less than the zero is stored, modulo 2**bits;
``gptq_v2`` and ``gptq_p`` store it as it is.  Source: AutoGPTQ 0.7 and GPTQModel 7.3,
their torch linear layers.  GPTQModel before 6.1 moved zeros of 3 bits otherwise; its
own later versions read them as others do, and so does this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

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


class _Layout(NamedTuple):
    """How numbers lie in words.

    Attributes:
        period: The fewest words that hold whole numbers.
        planes: Bits of a number that lie together, from the lowest.
    """

    period: int
    planes: tuple[int, ...]

    @property
    def bits(self) -> int:
        """Of a number."""
        return sum(self.planes)

    @property
    def numbers(self) -> int:
        """Numbers in the words of a period."""
        return self.period * WORD_BITS // self.bits

    def places(self) -> Iterator[tuple[int, int, int]]:
        """Of each plane: its first bit in a period, its bits, theirs in a number."""
        lowest = accumulate(self.planes, initial=0)
        for bits, low in zip(self.planes, lowest, strict=False):
            yield low * self.numbers, bits, low


_IN_ORDER = {bits: _Layout(1, (bits,)) for bits in (2, 4, 8)} | {3: _Layout(3, (3,))}
_SPLIT = {3: _Layout(3, (2, 1)), 5: _Layout(5, (4, 1)), 6: _Layout(6, (4, 2)),
          7: _Layout(7, (4, 2, 1))}  # fmt: skip
"""By bits.  There is no other layout of 5, 6 and 7 bits."""
_ZEROS_AS_THEY_ARE = ("gptq_v2", "gptq_p")
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
    form = settings.get("checkpoint_format", settings.get("format"))
    layouts = _IN_ORDER | _SPLIT if form == "gptq_p" else _SPLIT | _IN_ORDER
    bits = zeros.shape[1] * WORD_BITS // rows
    layout = layouts.get(bits)
    if layout is None or zeros.shape[1] * WORD_BITS != rows * bits:
        return (
            f"qzeros has {zeros.shape[1]} words for {rows} rows, wanted 2 to 8 bits "
            "each"
        )
    if words.shape[0] % layout.period or zeros.shape[1] % layout.period:
        return (
            f"qweight has {words.shape[0]} words for the numbers of a row and qzeros "
            f"{zeros.shape[1]}, wanted multiples of {layout.period} for {bits} bits"
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
    as_it_is = form in _ZEROS_AS_THEY_ARE or layout.bits not in _IN_ORDER
    return GroupCoding(
        kind=f"GPTQ {bits} bit",
        shape=(rows, columns),
        words=words,
        zeros=zeros,
        scales=scales,
        order=order,
        per_group=per_group or 1,
        numbers_of=partial(_down, layout=layout),
        zeros_of=partial(_along, layout=layout, add=0 if as_it_is else 1),
    )


def _down(words: Words, lines: NDArray[np.int64], layout: _Layout) -> NDArray[np.int32]:
    """Numbers that are packed along the first axis."""
    stretches = words[:, lines].reshape(-1, layout.period, lines.size)
    numbers = np.zeros((len(stretches), layout.numbers, lines.size), np.uint32)
    for first, bits, low in layout.places():
        begin = first + np.arange(layout.numbers) * bits
        word, shift = begin // WORD_BITS, (begin % WORD_BITS).astype(np.uint32)
        places = word if layout.period > 1 else slice(None)  # one word repeats itself
        plane = stretches[:, places] >> shift[:, None]  # (n, numbers, k)
        for place in np.flatnonzero(shift + bits > WORD_BITS):
            after = stretches[:, word[place] + 1]
            plane[:, place] |= after << (WORD_BITS - shift[place])
        plane &= np.uint32((1 << bits) - 1)
        numbers |= plane << np.uint32(low)
    return numbers.reshape(-1, lines.size).view(np.int32)


def _along(
    words: Words, lines: NDArray[np.int64], layout: _Layout, add: int
) -> NDArray[np.int32]:
    """Numbers that are packed along the last axis, with something added to each."""
    period, place = np.divmod(lines, layout.numbers)
    numbers = np.full((len(words), lines.size), add, np.uint32)
    for first, bits, low in layout.places():
        begin = period * (layout.period * WORD_BITS) + first + place * bits
        word, shift = begin // WORD_BITS, (begin % WORD_BITS).astype(np.uint32)
        plane = words[:, word] >> shift  # (n, k)
        across = shift + bits > WORD_BITS
        plane[:, across] |= words[:, word[across] + 1] << (WORD_BITS - shift[across])
        numbers += (plane & np.uint32((1 << bits) - 1)) << np.uint32(low)
    return (numbers & np.uint32((1 << layout.bits) - 1)).view(np.int32)


def why_not(
    tensors: Mapping[str, TensorInfo], stem: str, settings: Mapping[str, Any]
) -> str:
    """Why a layer was left as it is stored."""
    coding = coding_of(tensors, stem, settings)
    return coding if isinstance(coding, str) else "its parts are used twice"
