# SPDX-License-Identifier: Apache-2.0
"""Matrices as bitsandbytes stores them: 4 bit code books by block, or 8 bit lines.

4 bit: the values of the whole matrix are one row of halves of bytes, high half first,
in blocks that ignore lines; each is a place in a code book, times the scale of its
block.  Scales may be 8 bit places in a second code book, with scales of their own.
8 bit: ``code * SCB / 127``, one SCB for each line.  Source: bitsandbytes 0.45,
``functional.QuantState.as_dict`` and ``nn.Linear8bitLt``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError
from pedigree.tensors.layout import Extent, TensorInfo
from pedigree.tensors.lines import runs
from pedigree.tensors.packed_fp8 import Scaled
from pedigree.tensors.stored_parts import Part, is_matrix, is_scale, joined, whole
from pedigree.tensors.strictjson import load

_STATE = ".quant_state.bitsandbytes__"
_STATE_BYTES = 1 << 16
"""Largest state read; real ones have about 200 bytes."""
_BLOCK_MIN = 16
"""Smallest block believed; bitsandbytes writes 32 to 4096."""

Found = list[tuple[TensorInfo, frozenset[str]]]
Read = Callable[[TensorInfo], bytes]


@dataclass(frozen=True, slots=True)
class Nested:
    """Scales that are themselves coded.

    Attributes:
        book: Their code book, 256 values.
        scale: One scale for each block of scales.
        block: Scales in a block.
        offset: Added to every scale.
    """

    book: Part
    scale: Part
    block: int
    offset: float


@dataclass(frozen=True, slots=True)
class Halves:
    """A matrix of 4 bit places in a code book.

    Attributes:
        kind: Name of the layout for people.
        codes: The stored bytes.
        columns: Values of one line.
        book: Code book, 16 values.
        scale: One for each block; 8 bit codes when nested.
        block: Values in a block.
        nested: How the scales are coded, or None.
    """

    kind: str
    codes: TensorInfo
    columns: int
    book: Part
    scale: Part
    block: int
    nested: Nested | None

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """See :class:`~pedigree.tensors.layout.Coding`."""
        if lines.size == 0:
            return []
        path, begin = self.codes.path, self.codes.begin
        codes = [
            Extent(path, begin + first // 2, (first + count + 1) // 2 - first // 2)
            for first, count in runs(lines, 0, self.columns)
        ]
        blocks = self._ends(lines)
        every = np.zeros(1, np.int64)
        small = [self.book.extent(every), self.scale.extent(blocks)]
        if self.nested is not None:
            small.append(self.nested.book.extent(every))
            small.append(self.nested.scale.extent(blocks // self.nested.block))
        return [*codes, *small]

    def _ends(self, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """First and last block of some lines, which bound every other."""
        first = int(lines.min()) * self.columns // self.block
        last = ((int(lines.max()) + 1) * self.columns - 1) // self.block
        return np.array([first, last], np.int64)

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See :class:`~pedigree.tensors.layout.Coding`."""
        if lines.size == 0:
            return np.empty((0, self.columns), np.float32)
        count = 2 if self.nested is None else 4
        codes, small = self._codes(pieces[:-count], lines), pieces[-count:]
        book = self.book.take(small[0], np.zeros(1, np.int64))[0]  # (16,)
        values = np.take(book, codes)
        first, last = self._ends(lines).tolist()
        scales = self._scales(small, np.arange(first, last + 1))
        flat = lines[:, None] * self.columns + np.arange(self.columns)
        flat //= self.block
        flat -= first
        # Numbers that are too large become infinities, which the reader refuses.
        with np.errstate(over="ignore", invalid="ignore"):
            values *= scales[flat]
        return values

    def _codes(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Shape (k, columns): a line of odd length begins or ends within a byte."""
        stretches = runs(lines, 0, self.columns)
        found = []
        for (first, count), piece in zip(stretches, pieces, strict=True):
            size = (first + count + 1) // 2 - first // 2
            raw = np.frombuffer(joined([piece], size, self.codes), np.uint8)
            halves = np.stack([raw >> 4, raw & 0x0F], axis=1).reshape(-1)
            found.append(halves[first % 2 : first % 2 + count])
        return np.concatenate(found).reshape(lines.size, self.columns)

    def _scales(
        self, small: Sequence[bytes], blocks: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Shape (b,): scales of some blocks."""
        nested = self.nested
        if nested is None:
            return self.scale.take(small[1], blocks)[:, 0]
        raw, places = self.scale.raw(small[1], blocks)
        book = nested.book.take(small[2], np.zeros(1, np.int64))[0]  # (256,)
        values = book[np.frombuffer(raw, np.uint8)[places]]
        above = nested.scale.take(small[3], blocks // nested.block)[:, 0]
        with np.errstate(over="ignore", invalid="ignore"):
            scales: NDArray[np.float32] = values * above + np.float32(nested.offset)
        return scales


def find(
    tensors: Mapping[str, TensorInfo], settings: Mapping[str, Any], read: Read
) -> Found:
    """Matrices stored by bitsandbytes.

    Args:
        tensors: What is stored, by name.
        settings: ``quantization_config`` of the model; asked only whose a matrix is
            that has the scales of two layouts.
        read: Bytes of one small stored tensor.

    Returns:
        Each matrix, shape (out, in), and the names it is made of.  What does not fit
        is left out.

    Raises:
        SourceError: The bytes could not be had.
    """
    found: Found = []
    for name, codes in tensors.items():
        one = None
        if name.endswith((f"{_STATE}nf4", f"{_STATE}fp4")):
            one = _halves(tensors, codes, read)
        elif name.endswith(".weight") and codes.dtype == "I8" and is_matrix(codes):
            other = f"{name}_scale" in tensors
            if not other or settings.get("quant_method") == "bitsandbytes":
                one = _bytes(tensors, codes, read)
        if one is not None:
            found.append(one)
    return found


def _bytes(
    tensors: Mapping[str, TensorInfo], codes: TensorInfo, read: Read
) -> tuple[TensorInfo, frozenset[str]] | None:
    stem = codes.name.removesuffix("weight")
    scale = tensors.get(f"{stem}SCB")
    if scale is None or scale.dtype != "F32" or scale.shape != codes.shape[:1]:
        return None
    used = {codes.name, scale.name}
    order = tensors.get(f"{stem}weight_format")
    if order is not None:
        # 0 is line after line; the other orders were for old tensor cores.
        if order.nbytes != 1 or read(order) != b"\0":
            return None
        used.add(order.name)
    coding = Lines127("bitsandbytes 8 bit", codes, Part(scale, scale.count))
    return replace(codes, dtype=coding.kind, coding=coding), frozenset(used)


@dataclass(frozen=True, slots=True)
class Lines127:
    """A matrix of ``code * scale / 127``, a scale for each line.

    Attributes:
        kind: Name of the layout for people.
        codes: The stored matrix, shape (out, in), I8.
        scale: One for each line.
    """

    kind: str
    codes: TensorInfo
    scale: Part

    def _scaled(self) -> Scaled:
        return Scaled(self.kind, self.codes, self.scale, (1, self.codes.columns))

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """See :class:`~pedigree.tensors.layout.Coding`."""
        return self._scaled().extents(lines)

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See :class:`~pedigree.tensors.layout.Coding`."""
        values = self._scaled().decode(pieces, lines)
        values /= np.float32(127)
        return values


def _halves(
    tensors: Mapping[str, TensorInfo], state: TensorInfo, read: Read
) -> tuple[TensorInfo, frozenset[str]] | None:
    name, _, quant = state.name.rpartition(_STATE)
    codes, scale = tensors.get(name), tensors.get(f"{name}.absmax")
    book = tensors.get(f"{name}.quant_map")
    if codes is None or scale is None or book is None or codes.coding is not None:
        return None
    said = _said(state, read)
    block, shape = whole(said.get("blocksize")), _shape(said.get("shape"))
    if block is None or block < _BLOCK_MIN or shape is None:
        return None
    count = shape[0] * shape[1]
    blocks = -(-count // block)
    if codes.nbytes != (count + 1) // 2 or scale.count != blocks:
        return None
    if not is_scale(book) or book.count != 16 or scale.coding is not None:
        return None
    used = {state.name, name, scale.name, book.name}
    nested = None
    if scale.dtype == "U8":
        nested = _nested(tensors, name, said, blocks)
        if nested is None:
            return None
        used |= {nested.book.info.name, nested.scale.info.name}
    elif not is_scale(scale):
        return None
    coding = Halves(
        f"bitsandbytes {quant}",
        codes,
        shape[1],
        Part(book, 1),
        Part(scale, blocks),
        min(block, count),
        nested,
    )
    logical = replace(codes, dtype=coding.kind, shape=shape, coding=coding)
    return logical, frozenset(used)


def _nested(
    tensors: Mapping[str, TensorInfo], name: str, said: Mapping[str, Any], blocks: int
) -> Nested | None:
    scale = tensors.get(f"{name}.nested_absmax")
    book = tensors.get(f"{name}.nested_quant_map")
    block, offset = whole(said.get("nested_blocksize")), said.get("nested_offset")
    if scale is None or book is None or block is None:
        return None
    if isinstance(offset, bool) or not isinstance(offset, int | float):
        return None
    # Within float32, so that adding it cannot overflow by itself.
    if not math.isfinite(offset) or abs(offset) > 1e30:
        return None
    if not is_scale(book) or book.count != 256 or not is_scale(scale):
        return None
    if block < _BLOCK_MIN or scale.count != -(-blocks // block):
        return None
    return Nested(
        Part(book, 1), Part(scale, scale.count), min(block, blocks), float(offset)
    )


def _said(state: TensorInfo, read: Read) -> Mapping[str, Any]:
    """What a state says; nothing when it cannot be understood."""
    if state.dtype != "U8" or state.nbytes > _STATE_BYTES:
        return {}
    raw = read(state)
    try:
        said = load(raw, what="quantisation state", path=state.path, depth_max=4)
    except ArtifactError:
        return {}
    return said if isinstance(said, dict) else {}


def _shape(said: Any) -> tuple[int, int] | None:
    if not isinstance(said, list) or len(said) != 2:
        return None
    high, wide = whole(said[0]), whole(said[1])
    return (high, wide) if high and wide else None
