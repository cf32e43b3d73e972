# SPDX-License-Identifier: Apache-2.0
"""GPTQ: 2, 4 or 8 bit numbers packed down the inputs, the lowest bits first.

``qweight`` has shape (columns * bits / 32, rows), ``qzeros`` (groups,
rows * bits / 32).  In the first checkpoint format one less than the zero is stored,
modulo 2**bits; ``gptq_v2`` stores it as it is.  Source: AutoGPTQ 0.7 and GPTQModel 4,
their torch linear layers.
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
    WORD_BITS,
    check_groups,
    chunks,
    extent,
    group_columns,
    logical,
    parts_of,
    scaled,
    stems,
    words_of,
)

_BITS = (2, 4, 8)
_GROUP_TYPES = frozenset({"I32", "U32"})


@dataclass(frozen=True, slots=True)
class GptqCoding:
    """Values of one GPTQ layer.

    Attributes:
        words: ``qweight``.
        zeros: ``qzeros``.
        scales: ``scales``.
        order: ``g_idx``, if there is one.
        bits: Of one number.
        per_group: Consecutive columns of a group where there is no ``order``.
        zero_shift: What is added to stored zeros.
    """

    words: TensorInfo
    zeros: TensorInfo
    scales: TensorInfo
    order: TensorInfo | None
    bits: int
    per_group: int
    zero_shift: int

    @property
    def kind(self) -> str:
        """Name of the layout."""
        return f"GPTQ {self.bits} bit"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the weight."""
        return self.words.shape[1], self.words.shape[0] * WORD_BITS // self.bits

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """All of every part, as rows are strided; nothing for no lines."""
        if lines.size == 0:
            return []
        parts = [self.words, self.zeros, self.scales]
        if self.order is not None:
            parts.append(self.order)
        return [extent(part) for part in parts]

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
        group = self._group(pieces)
        per, mask = WORD_BITS // self.bits, (1 << self.bits) - 1
        shifts = np.arange(per, dtype=np.uint32) * np.uint32(self.bits)
        for part in chunks(lines, columns):
            some = lines[part]
            stacked = words[:, some][:, None, :] >> shifts[:, None]  # (words, per, k)
            numbers = (stacked & np.uint32(mask)).reshape(columns, some.size)
            shift = (some % per).astype(np.uint32) * np.uint32(self.bits)
            zero = (zeros[:, some // per] >> shift) + np.uint32(self.zero_shift)
            values[part] = scaled(
                numbers.astype(np.int32),
                (zero & np.uint32(mask)).astype(np.int32),
                scales[:, some],
                group,
            )
        return values

    def _group(self, pieces: Sequence[bytes]) -> NDArray[np.int64]:
        columns = self.shape[1]
        if self.order is None:
            return np.arange(columns, dtype=np.int64) // self.per_group
        groups = self.scales.shape[0]
        return check_groups(pieces[3], self.order.dtype, columns, groups)


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
    found = []
    for stem in stems(tensors):
        coding = coding_of(tensors, stem, settings)
        if isinstance(coding, str):
            continue
        parts = (coding.words, coding.zeros, coding.scales, coding.order)
        found.append(logical(stem, coding.shape, coding, parts))
    return found


def coding_of(
    tensors: Mapping[str, TensorInfo], stem: str, settings: Mapping[str, Any]
) -> GptqCoding | str:
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
    bits = next((b for b in _BITS if zeros.shape[1] * WORD_BITS == rows * b), None)
    if bits is None:
        return (
            f"qzeros has {zeros.shape[1]} words for {rows} rows, wanted 2, 4 or 8 bits "
            "each"
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
    return GptqCoding(
        words=words,
        zeros=zeros,
        scales=scales,
        order=order,
        bits=bits,
        per_group=per_group or 1,
        zero_shift=0 if as_it_is else 1,
    )


def why_not(
    tensors: Mapping[str, TensorInfo], stem: str, settings: Mapping[str, Any]
) -> str:
    """Why a layer was left as it is stored."""
    coding = coding_of(tensors, stem, settings)
    return coding if isinstance(coding, str) else "its parts are used twice"
