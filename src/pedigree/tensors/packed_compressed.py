# SPDX-License-Identifier: Apache-2.0
"""Matrices as compressed-tensors stores them: packed words, or 8 bit integers.

``pack-quantized``: ``X.weight_packed`` holds lines of 32 bit words, the first value in
the lowest bits, each stored with 2**(bits-1) added; zero points are packed the same
way but along the lines.  ``int-quantized``: ``X.weight`` holds the integers.  Source:
compressed-tensors 0.9, ``compressors/quantized_compressors``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError, quote
from pedigree.tensors.layout import Extent, TensorInfo
from pedigree.tensors.packed_fp8 import Scaled, activations, scaling
from pedigree.tensors.stored_parts import (
    Part,
    group_settings,
    is_matrix,
    is_scale,
    joined,
    line_extents,
    whole,
)

Read = Callable[[TensorInfo], bytes]
_BITS = (4, 8)


@dataclass(frozen=True, slots=True)
class Words:
    """A matrix packed in 32 bit words along its lines.

    Attributes:
        kind: Name of the layout for people.
        codes: The stored words, shape (out, words).
        columns: Values of one line.
        bits: Of one value.
        scale: Shape (out, groups).
        group: Columns of one group.
        zero: Zero points: packed along lines, or one I8 for each scale; or None.
        order: The group of each column; or None for groups of neighbours.
    """

    kind: str
    codes: TensorInfo
    columns: int
    bits: int
    scale: Part
    group: int
    zero: Part | None = None
    order: Part | None = None

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """See :class:`~pedigree.tensors.layout.Coding`."""
        if lines.size == 0:
            return []
        small = [self.scale.extent(self._bands(lines))]
        if self.zero is not None:
            small.append(self.zero.extent(self._zero_rows(self.zero, lines)))
        if self.order is not None:
            small.append(self.order.extent(np.zeros(1, np.int64)))
        return [*line_extents(self.codes, lines), *small]

    def _bands(self, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        return lines if self.scale.rows > 1 else np.zeros_like(lines)

    def _zero_rows(self, zero: Part, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        return lines // (32 // self.bits) if zero.info.dtype == "I32" else lines

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See :class:`~pedigree.tensors.layout.Coding`."""
        if lines.size == 0:
            return np.empty((0, self.columns), np.float32)
        count = 1 + (self.zero is not None) + (self.order is not None)
        small = pieces[-count:]
        groups = self._groups(small[-1])
        raw = joined(pieces[:-count], lines.size * self.codes.columns * 4, self.codes)
        codes = self._unpacked(raw).reshape(lines.size, -1)[:, : self.columns]
        values = codes.astype(np.float32)
        values -= np.float32(1 << (self.bits - 1))
        # Numbers that are too large become infinities, which the reader refuses.
        with np.errstate(over="ignore", invalid="ignore"):
            if self.zero is not None:
                values -= self._zeros(self.zero, small[1], lines)[:, groups]
            values *= self.scale.take(small[0], self._bands(lines))[:, groups]
        return values

    def _unpacked(self, raw: bytes) -> NDArray[np.uint8]:
        """Every value of some words, the lowest bits first."""
        stored = np.frombuffer(raw, np.uint8)
        if self.bits == 8:
            return stored
        return np.stack([stored & 0x0F, stored >> 4], axis=1).reshape(-1)

    def _zeros(
        self, zero: Part, piece: bytes, lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Shape (k, groups)."""
        rows = self._zero_rows(zero, lines)
        if zero.info.dtype != "I32":
            return zero.take(piece, rows)
        raw, places = zero.raw(piece, rows)
        words = np.frombuffer(raw, "<u4").reshape(-1, zero.info.columns)[places]
        per_word = 32 // self.bits
        shifts = (lines % per_word * self.bits).astype(np.uint32)
        codes = (words >> shifts[:, None]) & np.uint32((1 << self.bits) - 1)
        return codes.astype(np.float32) - np.float32(1 << (self.bits - 1))

    def _groups(self, piece: bytes) -> NDArray[np.int64]:
        """Shape (columns,): the group of each column."""
        neighbours = np.arange(self.columns) // self.group
        if self.order is None:
            return neighbours
        raw, _ = self.order.raw(piece, np.zeros(1, np.int64))
        order = np.frombuffer(raw, "<i4").astype(np.int64)
        if int(order.min()) == -1:  # written where columns were not reordered
            return neighbours
        groups = self.scale.info.columns
        if int(order.min()) < 0 or int(order.max()) >= groups:
            raise ArtifactError(
                f"{quote(self.order.info.name)} names the group "
                f"{int(order.max()) if int(order.min()) >= 0 else int(order.min())}, "
                f"wanted 0 to {groups - 1}",
                reason="MalformedValue",
                path=self.order.info.path,
            )
        return order


def find(
    tensors: Mapping[str, TensorInfo], settings: Mapping[str, Any], read: Read
) -> list[tuple[TensorInfo, frozenset[str]]]:
    """Matrices stored by compressed-tensors, apart from floats.

    Args:
        tensors: What is stored, by name.
        settings: ``quantization_config`` of the model; a hint for bits and groups.
        read: Bytes of one small stored tensor.

    Returns:
        Each matrix, shape (out, in), and the names it is made of.  What does not fit
        is left out.

    Raises:
        SourceError: The bytes could not be had.
    """
    found = []
    for name, codes in tensors.items():
        one = None
        if not is_matrix(codes):
            continue
        if name.endswith(".weight_packed") and codes.dtype == "I32":
            one = _packed(tensors, codes, settings, read)
        elif name.endswith(".weight") and codes.dtype == "I8":
            one = _integers(tensors, codes, settings)
        if one is not None:
            found.append(one)
    return found


def _integers(
    tensors: Mapping[str, TensorInfo], codes: TensorInfo, settings: Mapping[str, Any]
) -> tuple[TensorInfo, frozenset[str]] | None:
    scale = tensors.get(f"{codes.name}_scale")
    if scale is None or not is_scale(scale):
        return None
    other = f"{codes.name.removesuffix('weight')}SCB" in tensors
    if other and settings.get("quant_method") == "bitsandbytes":
        return None
    fit = scaling(codes, scale, settings)
    if fit is None and len(scale.shape) == 2 and scale.shape[0] == codes.shape[0]:
        group = _group(codes.columns, scale.columns, settings)
        fit = (Part(scale, scale.shape[0]), (1, group)) if group else None
    if fit is None:
        return None
    part, block = fit
    used = {codes.name, scale.name, *activations(tensors, codes.name)}
    zero = tensors.get(f"{codes.name}_zero_point")
    if zero is not None:
        if zero.dtype != "I8" or zero.count != scale.count or zero.coding is not None:
            return None
        used.add(zero.name)
    zeros = None if zero is None else Part(zero, part.rows)
    coding = Scaled("compressed-tensors 8 bit", codes, part, block, zeros)
    return replace(codes, dtype=coding.kind, coding=coding), frozenset(used)


def _packed(
    tensors: Mapping[str, TensorInfo],
    codes: TensorInfo,
    settings: Mapping[str, Any],
    read: Read,
) -> tuple[TensorInfo, frozenset[str]] | None:
    name = codes.name.removesuffix("_packed")
    scale, said = tensors.get(f"{name}_scale"), tensors.get(f"{name}_shape")
    if scale is None or not is_scale(scale) or said is None:
        return None
    columns = _columns(said, codes.shape[0], read)
    bits = _bits(columns, codes.columns, settings)
    if bits is None or name in tensors:
        return None
    rows = scale.shape[0] if scale.shape else 1
    if len(scale.shape) > 2 or rows not in (1, codes.shape[0]):
        return None
    group = _group(columns, scale.count // rows, settings)
    if group is None:
        return None
    used = {codes.name, scale.name, said.name, *activations(tensors, name)}
    zero, order = tensors.get(f"{name}_zero_point"), tensors.get(f"{name}_g_idx")
    if zero is not None:
        high = -(-rows * bits // 32) if zero.dtype == "I32" else rows
        good = zero.dtype in ("I8", "I32") and zero.coding is None
        if not good or zero.count != high * (scale.count // rows):
            return None
        if rows != codes.shape[0] or len(zero.shape) != 2 or zero.shape[0] != high:
            return None
        used.add(zero.name)
    if order is not None:
        if order.dtype != "I32" or order.shape != (columns,):
            return None
        used.add(order.name)
    if order is not None and len(scale.shape) != 2:
        return None
    coding = Words(
        f"compressed-tensors {bits} bit",
        codes,
        columns,
        bits,
        Part(scale, rows),
        group,
        None if zero is None else Part(zero, zero.shape[0]),
        None if order is None else Part(order, 1),
    )
    shape = (codes.shape[0], columns)
    logical = replace(codes, name=name, dtype=coding.kind, shape=shape, coding=coding)
    return logical, frozenset(used)


def _columns(said: TensorInfo, height: int, read: Read) -> int:
    """Columns that a stored shape says, or 0 when it says something else."""
    sizes = {"I64": "<i8", "I32": "<i4"}
    if said.count != 2 or said.dtype not in sizes:
        return 0
    raw = read(said)
    if len(raw) != said.nbytes:
        return 0
    high, wide = np.frombuffer(raw, sizes[said.dtype]).tolist()
    return int(wide) if high == height and wide > 0 else 0


def _bits(columns: int, words: int, settings: Mapping[str, Any]) -> int | None:
    """Bits of one value: those with which the columns fill the words."""
    fit = [bits for bits in _BITS if columns and -(-columns * bits // 32) == words]
    if len(fit) > 1:  # at most four columns, so ask the settings
        said = {each.get("num_bits") for each in _hashable(settings)}
        fit = [bits for bits in fit if bits in said]
    return fit[0] if len(fit) == 1 else None


def _hashable(settings: Mapping[str, Any]) -> list[dict[str, int]]:
    """Numbers the settings give for weights."""
    return [
        {key: number for key in each if (number := whole(each[key])) is not None}
        for each in group_settings(settings)
    ]


def _group(columns: int, groups: int, settings: Mapping[str, Any]) -> int | None:
    """Columns of one group: as said if that fits, else equal groups."""
    for each in _hashable(settings):
        size = each.get("group_size")
        if size is not None and size <= columns and -(-columns // size) == groups:
            return size
    return columns // groups if groups and columns % groups == 0 else None
