# SPDX-License-Identifier: Apache-2.0
"""What GPTQ and AWQ have in common: 32-bit words, groups, scales and zeros.

A layer ``X`` of ``columns`` inputs and ``rows`` outputs is stored as ``X.qweight``
(words of whole numbers), ``X.scales`` of shape (groups, rows), ``X.qzeros`` (words,
packed along the rows) and for GPTQ perhaps ``X.g_idx``, the group of each input.
Value = scale * (number - zero).  The logical weight has shape (rows, columns).  Where
the numbers are in the words is all in which GPTQ and AWQ differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError
from pedigree.tensors.dtypes import decode
from pedigree.tensors.layout import Extent, TensorInfo

QWEIGHT = ".qweight"
WORD_BITS = 32
_WORDS = frozenset({"I32", "U32"})
_SCALES = frozenset({"F16", "BF16", "F32"})
_PART_MAX_BYTES = 512_000_000
"""The stored matrix is held whole, since its rows are strided; those of the largest
models seen have about 120,000,000 bytes."""
_COLUMNS_MAX = 1 << 20
"""The widest layers seen have about 50,000; bounds the memory for one line."""
_CHUNK_VALUES = 4 << 20
"""Values unpacked at once: bounds the memory beside the result (arbitrary)."""

Words = NDArray[np.uint32]
Unpack = Callable[[Words, NDArray[np.int64]], NDArray[np.int32]]
"""Numbers of some rows in stored words: words of shape (n, stored), rows of shape (k,),
to shape (m, k), with m the columns of the weight or its groups."""


@dataclass(frozen=True, slots=True)
class GroupCoding:
    """Values of one layer; a :class:`~pedigree.tensors.layout.Coding`.

    Attributes:
        kind: Name of the layout.
        shape: Rows and columns of the weight.
        words: ``qweight``.
        zeros: ``qzeros``.
        scales: ``scales``.
        order: ``g_idx``, if there is one.
        per_group: Consecutive columns of a group where there is no ``order``.
        numbers_of: Numbers in ``words``.
        zeros_of: Numbers in ``zeros``, as they are subtracted.
    """

    kind: str
    shape: tuple[int, int]
    words: TensorInfo
    zeros: TensorInfo
    scales: TensorInfo
    order: TensorInfo | None
    per_group: int
    numbers_of: Unpack
    zeros_of: Unpack

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """Stored tensors that values are made of, in the order of their bytes."""
        always = (self.words, self.zeros, self.scales)
        return always if self.order is None else (*always, self.order)

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """All of every part, as rows are strided; nothing for no lines."""
        if lines.size == 0:
            return []
        return [Extent(part.path, part.begin, part.nbytes) for part in self.parts]

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See :class:`~pedigree.tensors.layout.Coding`."""
        columns = self.shape[1]
        values = np.empty((lines.size, columns), np.float32)
        if lines.size == 0:
            return values
        words = _array(pieces[0], "<u4", self.words.shape)
        zeros = _array(pieces[1], "<u4", self.zeros.shape)
        scales = decode(pieces[2], self.scales.dtype).reshape(self.scales.shape)
        group = self._group(pieces)
        step = max(1, _CHUNK_VALUES // columns)
        for begin in range(0, lines.size, step):
            some = lines[begin : begin + step]
            values[begin : begin + step] = _scaled(
                self.numbers_of(words, some),
                self.zeros_of(zeros, some),
                scales[:, some],
                group,
            )
        return values

    def _group(self, pieces: Sequence[bytes]) -> NDArray[np.int64]:
        """The group of each column, shape (columns,)."""
        columns = self.shape[1]
        if self.order is None:
            return np.arange(columns, dtype=np.int64) // self.per_group
        groups = self.scales.shape[0]
        return _check_groups(pieces[3], self.order.dtype, columns, groups)


CodingOf = Callable[
    [Mapping[str, TensorInfo], str, Mapping[str, Any]], GroupCoding | str
]
"""Makes stored tensors, the name of a layer and settings to its coding, or says why it
has none."""


def found(
    tensors: Mapping[str, TensorInfo], settings: Mapping[str, Any], coding_of: CodingOf
) -> list[tuple[TensorInfo, frozenset[str]]]:
    """Logical weights of the layers that have a coding, with the names of their parts.

    Args:
        tensors: As stored, by name.
        settings: What the model says of its quantisation; a hint.
        coding_of: The layout.
    """
    layers = []
    for stem in stems(tensors):
        coding = coding_of(tensors, stem, settings)
        if isinstance(coding, str):
            continue
        info = TensorInfo(
            name=stem + ".weight",
            dtype=coding.kind,
            shape=coding.shape,
            path=coding.words.path,
            begin=coding.words.begin,
            end=coding.words.end,
            coding=coding,
        )
        layers.append((info, frozenset(part.name for part in coding.parts)))
    return layers


def stems(tensors: Mapping[str, TensorInfo]) -> list[str]:
    """Names of the layers that have packed words."""
    return [name.removesuffix(QWEIGHT) for name in tensors if name.endswith(QWEIGHT)]


def parts_of(
    tensors: Mapping[str, TensorInfo], stem: str
) -> tuple[TensorInfo, TensorInfo, TensorInfo] | str:
    """Words, zeros and scales of a layer, or why they cannot be read together."""
    words = tensors[stem + QWEIGHT]
    zeros, scales = tensors.get(stem + ".qzeros"), tensors.get(stem + ".scales")
    if zeros is None or scales is None:
        return "it has no qzeros or no scales"
    if stem + ".weight" in tensors:
        return "there is a plain weight beside it, and servers disagree on which counts"
    for part, types in ((words, _WORDS), (zeros, _WORDS), (scales, _SCALES)):
        if part.coding is not None or part.dtype not in types:
            return f"a part has dtype {part.dtype}, wanted one of {sorted(types)}"
        if len(part.shape) != 2 or part.count == 0:
            return f"a part has shape {list(part.shape)}, wanted a matrix with values"
        if part.nbytes > _PART_MAX_BYTES:
            return f"a part has {part.nbytes} bytes, allowed are {_PART_MAX_BYTES}"
    if words.shape[0] > _COLUMNS_MAX or scales.shape[0] > _COLUMNS_MAX:
        return f"a part has over {_COLUMNS_MAX} lines"
    if zeros.shape[0] != scales.shape[0]:
        return f"it has {zeros.shape[0]} groups of zeros, {scales.shape[0]} of scales"
    return words, zeros, scales


def group_columns(settings: Mapping[str, Any], columns: int, groups: int) -> int | None:
    """Consecutive inputs that share a scale; None when shapes allow no such number."""
    said = settings.get("group_size", settings.get("q_group_size"))
    if type(said) is int and said > 0 and -(-columns // said) == groups:
        return said
    return columns // groups if columns % groups == 0 else None


def _check_groups(
    piece: bytes, dtype: str, columns: int, groups: int
) -> NDArray[np.int64]:
    """The group of each input, shape (columns,).

    Raises:
        ArtifactError: A group does not exist (``MalformedValue``).
    """
    stored = _array(piece, "<u4" if dtype == "U32" else "<i4", (columns,))
    found = stored.astype(np.int64)
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= groups:
        raise ArtifactError(
            f"g_idx holds groups {low} to {high}, wanted 0 to {groups - 1}",
            reason="MalformedValue",
        )
    return found


def _scaled(
    numbers: NDArray[np.int32],
    zeros: NDArray[np.int32],
    scales: NDArray[np.float32],
    group: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Values.

    Args:
        numbers: Shape (columns, k).
        zeros: Shape (groups, k).
        scales: Shape (groups, k).
        group: Shape (columns,), checked.

    Returns:
        Shape (k, columns), float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # seen by the finite check
        values = (numbers - zeros[group]) * scales[group]
    found: NDArray[np.float32] = values.astype(np.float32).T
    return found


def _array(piece: bytes, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    wanted = int(np.prod(shape, dtype=object)) * np.dtype(kind).itemsize
    if len(piece) != wanted:
        raise ArtifactError(
            f"a packed part has {len(piece)} bytes, wanted {wanted}",
            reason="MalformedValue",
        )
    return np.frombuffer(piece, kind).reshape(shape)
