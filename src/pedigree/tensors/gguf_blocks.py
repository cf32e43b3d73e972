# SPDX-License-Identifier: Apache-2.0
"""Block-quantised values of GGUF files, and their exact float32 values.

A block holds 32 values (256 for the ``_K`` types) of one line: small whole numbers,
one or two half-precision scales and, for ``_K`` types, small whole-number scales of
each 16 or 32 values.  Lines are whole numbers of blocks, so they can be read alone.

In all these types a product of the scales and of the number needs at most 24 bits, so
it is exact in float32 in any order of multiplication; where an offset is added, that
sum is the only rounding.  So values are those of every other correct reader, to the
bit.

Layouts: structures ``block_*`` of ``ggml-common.h`` in ggml.  This module computes;
it reads no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError, quote
from pedigree.tensors.gguf_few_bits import (
    iq1_m,
    iq1_s,
    iq2_s,
    iq2_xs,
    iq2_xxs,
    iq3_s,
    iq3_xxs,
)
from pedigree.tensors.gguf_fields import Stored, fields, grouped, half
from pedigree.tensors.gguf_tables import iq4_nl, iq4_xs, mxfp4, nvfp4, tq1_0, tq2_0
from pedigree.tensors.layout import Extent
from pedigree.tensors.lines import runs

_CHUNK_VALUES = 1 << 17
"""Values decoded at once: bounds temporary arrays and keeps them in a cache (chosen by
measurement, not critical)."""


@dataclass(frozen=True, slots=True)
class BlockType:
    """One block-quantised storage type.

    Attributes:
        name: Name in ggml, such as ``Q4_K``.
        values: Values of one block.
        bytes: Stored bytes of one block.
        unpack: Makes blocks, shape (n, bytes), to values, shape (n, values) or of
            another shape with as many values in the same order.
        table: The table of points that this takes, or empty; see
            :mod:`pedigree.tensors.gguf_grids`.
    """

    name: str
    values: int
    bytes: int
    unpack: Callable[[Stored], NDArray[np.float32]]
    table: str = ""


def decode_blocks(raw: bytes, block: BlockType) -> NDArray[np.float32]:
    """Values of some whole blocks.

    Args:
        raw: The blocks.
        block: Their type.

    Returns:
        Shape (n,), float32, n = block.values * len(raw) / block.bytes.  Writable,
        owned by the caller.  Where a scale is not finite, neither are values.

    Raises:
        ArtifactError: The bytes are not whole blocks (``MalformedValue``), or the type
            takes a table that is not there (``UnsupportedDtype``).
    """
    count, rest = divmod(len(raw), block.bytes)
    if rest:
        raise ArtifactError(
            f"{len(raw)} bytes of {quote(block.name)} blocks, wanted a multiple of "
            f"{block.bytes}",
            reason="MalformedValue",
        )
    stored = np.frombuffer(raw, np.uint8).reshape(count, block.bytes)
    values = np.empty((count, block.values), np.float32)
    step = _CHUNK_VALUES // block.values
    # Scales that are infinite or not a number are for whoever checks finiteness.
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, count, step):
            some = stored[first : first + step]
            into = values[first : first + step]
            into[...] = block.unpack(some).reshape(len(some), block.values)
    return values.reshape(-1)


@dataclass(frozen=True, slots=True)
class BlockCoding:
    """A tensor of blocks; a :class:`~pedigree.tensors.layout.Coding`.

    Attributes:
        block: Type of the blocks.
        path: File, relative to the model's root.
        begin: First byte of the tensor in the file.
        columns: Values of one line.

    Raises:
        ArtifactError: Lines would not be whole blocks (``MalformedValue``).
    """

    block: BlockType
    path: str
    begin: int
    columns: int

    def __post_init__(self) -> None:
        if self.columns < 1 or self.columns % self.block.values:
            raise ArtifactError(
                f"lines of {self.columns} values in {self.block.name} blocks, wanted a "
                f"multiple of {self.block.values}",
                reason="MalformedValue",
                path=self.path,
            )

    @property
    def kind(self) -> str:
        """Name of the layout for people."""
        return f"GGUF {self.block.name}"

    @property
    def line_bytes(self) -> int:
        """Stored bytes of one line."""
        return self.columns // self.block.values * self.block.bytes

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """Which bytes some lines take: one extent for consecutive lines."""
        ranges = runs(lines, self.begin, self.line_bytes)
        return [Extent(self.path, *each) for each in ranges]

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Values of some lines.

        Args:
            pieces: The bytes of :meth:`extents` for the same lines, in that order.
            lines: Shape (k,).

        Returns:
            Shape (k, columns), float32, maybe not finite.

        Raises:
            ArtifactError: The bytes are not those of k lines (``MalformedValue``).
        """
        raw = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        wanted = lines.size * self.line_bytes
        if len(raw) != wanted:
            raise ArtifactError(
                f"{len(raw)} bytes for {lines.size} lines of {self.block.name} blocks, "
                f"wanted {wanted}",
                reason="MalformedValue",
                path=self.path,
            )
        return decode_blocks(raw, self.block).reshape(lines.size, self.columns)


def _q4_0(stored: Stored) -> NDArray[np.float32]:
    """Half d, 16 bytes of two 4-bit numbers, low halves first: d * (q - 8)."""
    numbers = (fields(stored[:, 2:], 1, 0, 4) & 15).view(np.int8) - np.int8(8)
    return half(stored, 0) * numbers.astype(np.float32)


def _q4_1(stored: Stored) -> NDArray[np.float32]:
    """Half d, half m, 16 bytes as in Q4_0: d * q + m."""
    numbers = fields(stored[:, 4:], 1, 0, 4) & 15
    return half(stored, 0) * numbers.astype(np.float32) + half(stored, 2)


def _fives(high: Stored, low: Stored) -> Stored:
    """Shape (n, 32): 5-bit numbers, bit i of ``high`` is the fifth of number i."""
    fifth = np.unpackbits(np.ascontiguousarray(high), axis=1, bitorder="little")
    numbers: Stored = (fields(low, 1, 0, 4) & 15) + fifth * np.uint8(16)
    return numbers


def _q5_0(stored: Stored) -> NDArray[np.float32]:
    """Half d, 32 fifth bits, 16 bytes as in Q4_0: d * (q - 16)."""
    numbers = _fives(stored[:, 2:6], stored[:, 6:]).view(np.int8) - np.int8(16)
    return half(stored, 0) * numbers.astype(np.float32)


def _q5_1(stored: Stored) -> NDArray[np.float32]:
    """Half d, half m, 32 fifth bits, 16 bytes as in Q4_0: d * q + m."""
    numbers = _fives(stored[:, 4:8], stored[:, 8:])
    return half(stored, 0) * numbers.astype(np.float32) + half(stored, 2)


def _q8_0(stored: Stored) -> NDArray[np.float32]:
    """Half d, 32 signed bytes: d * q."""
    return half(stored, 0) * stored[:, 2:].view(np.int8).astype(np.float32)


def _q2_k(stored: Stored) -> NDArray[np.float32]:
    """16 bytes of a 4-bit scale and offset, 64 bytes of four 2-bit numbers, d, dmin."""
    numbers = fields(stored[:, 16:80], 2, 0, 2, 4, 6) & 3
    packed = stored[:, :16]
    scales = half(stored, 80) * (packed & 15).astype(np.float32)
    offsets = half(stored, 82) * (packed >> 4).astype(np.float32)
    return grouped(scales, numbers, offsets)


def _q3_k(stored: Stored) -> NDArray[np.float32]:
    """32 bytes of eight third bits, 64 as in Q2_K, 12 of scales, d.

    A third bit that is *not* set stands for -4.  Of the 16 signed 6-bit scales, the
    low 4 bits are in 8 bytes as halves, the high 2 bits in 4 bytes.
    """
    low = fields(stored[:, 32:96], 2, 0, 2, 4, 6) & 3
    third = fields(stored[:, :32], 1, *range(8)) & 1
    numbers = (low | third << 2).view(np.int8) - np.int8(4)
    packed = stored[:, 96:108]
    nibbles = fields(packed[:, :8], 1, 0, 4) & 15  # (n, 16)
    pairs = fields(packed[:, 8:], 1, 0, 2, 4, 6) & 3  # (n, 16)
    small = (nibbles | pairs << 4).view(np.int8) - np.int8(32)
    return grouped(half(stored, 108) * small.astype(np.float32), numbers)


def _sixes(packed: Stored) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scales and offsets, shape (n, 8) each, of Q4_K and Q5_K.

    Of 12 bytes, the first four hold scales 0 to 3 and the next four offsets 0 to 3, in
    their low 6 bits.  The last four hold the low 4 bits of scales and of offsets 4 to
    7, of which the high 2 bits are those left over in the first eight.
    """
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.hstack([first & 63, third & 15 | first >> 6 << 4])
    offsets = np.hstack([second & 63, third >> 4 | second >> 6 << 4])
    return scales.astype(np.float32), offsets.astype(np.float32)


def _q4_k(stored: Stored) -> NDArray[np.float32]:
    """d, dmin, 12 bytes of scales and offsets, 128 bytes of two 4-bit numbers."""
    scales, offsets = _sixes(stored[:, 4:16])
    numbers = fields(stored[:, 16:], 4, 0, 4) & 15
    return grouped(half(stored, 0) * scales, numbers, half(stored, 2) * offsets)


def _q5_k(stored: Stored) -> NDArray[np.float32]:
    """d, dmin, 12 bytes of scales and offsets, 32 of fifth bits, 128 as in Q4_K."""
    scales, offsets = _sixes(stored[:, 4:16])
    fifth = fields(stored[:, 16:48], 1, *range(8)) & 1
    numbers = (fields(stored[:, 48:], 4, 0, 4) & 15) | fifth << 4
    return grouped(half(stored, 0) * scales, numbers, half(stored, 2) * offsets)


def _q6_k(stored: Stored) -> NDArray[np.float32]:
    """128 bytes of low 4 bits, 64 of high 2 bits, 16 signed scales, d: numbers - 32."""
    low = fields(stored[:, :128], 2, 0, 4) & 15
    high = fields(stored[:, 128:192], 2, 0, 2, 4, 6) & 3
    numbers = (low | high << 4).view(np.int8) - np.int8(32)
    small = stored[:, 192:208].view(np.int8).astype(np.float32)
    return grouped(half(stored, 208) * small, numbers)


BLOCK_TYPES: dict[int, BlockType] = {
    2: BlockType("Q4_0", 32, 18, _q4_0),
    3: BlockType("Q4_1", 32, 20, _q4_1),
    6: BlockType("Q5_0", 32, 22, _q5_0),
    7: BlockType("Q5_1", 32, 24, _q5_1),
    8: BlockType("Q8_0", 32, 34, _q8_0),
    10: BlockType("Q2_K", 256, 84, _q2_k),
    11: BlockType("Q3_K", 256, 110, _q3_k),
    12: BlockType("Q4_K", 256, 144, _q4_k),
    13: BlockType("Q5_K", 256, 176, _q5_k),
    14: BlockType("Q6_K", 256, 210, _q6_k),
    16: BlockType("IQ2_XXS", 256, 66, iq2_xxs, "IQ2_XXS"),
    17: BlockType("IQ2_XS", 256, 74, iq2_xs, "IQ2_XS"),
    18: BlockType("IQ3_XXS", 256, 98, iq3_xxs, "IQ3_XXS"),
    19: BlockType("IQ1_S", 256, 50, iq1_s, "IQ1_S"),
    20: BlockType("IQ4_NL", 32, 18, iq4_nl),
    21: BlockType("IQ3_S", 256, 110, iq3_s, "IQ3_S"),
    22: BlockType("IQ2_S", 256, 82, iq2_s, "IQ2_S"),
    23: BlockType("IQ4_XS", 256, 136, iq4_xs),
    29: BlockType("IQ1_M", 256, 56, iq1_m, "IQ1_S"),
    34: BlockType("TQ1_0", 256, 54, tq1_0),
    35: BlockType("TQ2_0", 256, 66, tq2_0),
    39: BlockType("MXFP4", 32, 17, mxfp4),
    40: BlockType("NVFP4", 64, 36, nvfp4),
}
"""By the number of the type in a GGUF file (``enum ggml_type``)."""

UNREAD_TYPES = {
    9: "Q8_1",
    15: "Q8_K",
    41: "Q1_0",
}
"""Types that are not decoded: Q8_1 and Q8_K are for sums only, and Q1_0 is rare."""
