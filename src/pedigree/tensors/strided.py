# SPDX-License-Identifier: Apache-2.0
"""Where a tensor with strides is stored, and how a transposed one is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError, quote
from pedigree.limits import Limits
from pedigree.tensors.dtypes import DTYPES, decode
from pedigree.tensors.layout import Extent, TensorInfo
from pedigree.tensors.pickle_words import Strided
from pedigree.tensors.zip_members import Member

_COUNT_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Transposed:
    """A matrix whose columns are stored one after another.

    Attributes:
        extent: The whole matrix.
        dtype: Name of the storage type; whole bytes.
        shape: Rows and columns of the tensor; stored are (columns, rows).
    """

    extent: Extent
    dtype: str
    shape: tuple[int, int]

    @property
    def kind(self) -> str:
        """Name of the layout for people."""
        return f"transposed {self.dtype}"

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """The whole matrix: a line has a value in every column."""
        return [self.extent] if lines.size else []

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Values of some lines, shape (k, columns)."""
        rows, columns = self.shape
        if not pieces:
            return np.empty((0, columns), np.float32)
        unit = f"u{DTYPES[self.dtype].bits // 8}"
        stored = np.frombuffer(pieces[0], unit).reshape(columns, rows)
        wanted = np.ascontiguousarray(stored[:, lines].T)  # (k, columns)
        return decode(wanted.tobytes(), self.dtype).reshape(lines.size, columns)


def located(
    name: str, tensor: Strided, member: Member, path: str, limits: Limits
) -> TensorInfo:
    """Where a tensor of an archive is stored.

    Args:
        name: Name in the checkpoint.
        tensor: As the pickle describes it.
        member: The member that holds its storage.
        path: The archive.
        limits: Bounds.

    Raises:
        ArtifactError: ``LimitExceeded``, ``MalformedShape``, ``ShapeOverflow``,
            ``StorageMismatch`` or ``UnsupportedStride``.
    """
    label = f"tensor {quote(name)} of file {quote(path)}"
    _check_shape(tensor, label, path, limits)
    storage, size = tensor.storage, DTYPES[tensor.dtype].bits // 8
    held = member.end - member.begin
    stated = storage.count * (DTYPES[storage.dtype].bits // 8)
    if stated != held:
        _refuse(
            "StorageMismatch",
            path,
            f"{label} has a storage of {stated} bytes, its member has {held}",
        )
    count = 1
    for dimension in tensor.shape:
        count *= dimension
    begin = member.begin + tensor.offset * size
    info = TensorInfo(
        name, tensor.dtype, tensor.shape, path, begin, begin + count * size
    )
    if tensor.offset < 0 or info.end > member.end:
        _refuse(
            "StorageMismatch",
            path,
            f"{label} takes bytes {begin - member.begin} to {info.end - member.begin} "
            f"of a storage of {held} bytes",
        )
    if count == 0 or _is_contiguous(tensor):
        return info
    rows, columns = (*tensor.shape, 0, 0)[:2]
    whole = 2 * info.nbytes <= limits.read_max_bytes  # a line needs all of it
    if len(tensor.shape) != 2 or tensor.stride != (1, rows) or not whole:
        _refuse(
            "UnsupportedStride",
            path,
            f"{label} has the shape {list(tensor.shape)} and the strides "
            f"{list(tensor.stride)}, wanted rows one after another or a transposed "
            "matrix; save it with .contiguous()",
        )
    extent = Extent(path, info.begin, info.nbytes)
    coding = Transposed(extent, tensor.dtype, (rows, columns))
    return TensorInfo(
        name, tensor.dtype, tensor.shape, path, info.begin, info.end, coding
    )


def _refuse(reason: str, path: str, text: str) -> None:
    raise ArtifactError(text, reason=reason, path=path)


def _check_shape(tensor: Strided, label: str, path: str, limits: Limits) -> None:
    if len(tensor.shape) > limits.rank_max:
        _refuse(
            "LimitExceeded",
            path,
            f"{label} has {len(tensor.shape)} dimensions, allowed are "
            f"{limits.rank_max}",
        )
    product = 1
    for dimension in tensor.shape:
        product *= max(dimension, 1)
    if min((*tensor.shape, *tensor.stride, 0)) < 0:
        _refuse("MalformedShape", path, f"{label} has a negative dimension or stride")
    if product >= _COUNT_LIMIT:
        _refuse("ShapeOverflow", path, f"{label} has 2**63 values or more")


def _is_contiguous(tensor: Strided) -> bool:
    step = 1
    for dimension, stride in zip(
        reversed(tensor.shape), reversed(tensor.stride), strict=True
    ):
        if dimension != 1 and stride != step:
            return False
        step *= dimension
    return True
