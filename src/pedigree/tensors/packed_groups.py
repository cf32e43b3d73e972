# SPDX-License-Identifier: Apache-2.0
"""What GPTQ and AWQ have in common: 32-bit words, groups, scales and zeros.

A layer ``X`` of ``columns`` inputs and ``rows`` outputs is stored as ``X.qweight``
(words of whole numbers), ``X.scales`` of shape (groups, rows), ``X.qzeros`` (words,
packed along the rows) and for GPTQ perhaps ``X.g_idx``, the group of each input.
Value = scale * (number - zero).  The logical weight has shape (rows, columns).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError
from pedigree.tensors.layout import Coding, Extent, TensorInfo

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


def logical(
    stem: str,
    shape: tuple[int, int],
    coding: Coding,
    parts: Sequence[TensorInfo | None],
) -> tuple[TensorInfo, frozenset[str]]:
    """The weight of a layer, and the names of the parts it is made of, words first."""
    there = [part for part in parts if part is not None]
    words = there[0]
    info = TensorInfo(
        name=stem + ".weight",
        dtype=coding.kind,
        shape=shape,
        path=words.path,
        begin=words.begin,
        end=words.end,
        coding=coding,
    )
    return info, frozenset(part.name for part in there)


def extent(part: TensorInfo) -> Extent:
    """The whole of a stored tensor."""
    return Extent(part.path, part.begin, part.nbytes)


def words_of(piece: bytes, shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """Stored words.

    Raises:
        ArtifactError: There are more or fewer bytes than that (``MalformedValue``).
    """
    return _array(piece, "<u4", shape)


def check_groups(
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


def chunks(lines: NDArray[np.int64], columns: int) -> list[slice]:
    """Slices of lines that are unpacked at once."""
    step = max(1, _CHUNK_VALUES // columns)
    return [slice(begin, begin + step) for begin in range(0, lines.size, step)]


def scaled(
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
