# SPDX-License-Identifier: Apache-2.0
"""Where the tensors of a file are stored, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor is stored.

    Attributes:
        name: Name in the checkpoint.
        dtype: Name of the storage type, a key of ``DTYPES``.
        shape: Dimensions; ``()`` for a scalar.
        path: File, relative to the model's root.
        begin: First byte in the file.
        end: One past the last byte in the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: str
    begin: int
    end: int

    @property
    def count(self) -> int:
        """Number of values."""
        count = 1
        for dimension in self.shape:
            count *= dimension
        return count

    @property
    def nbytes(self) -> int:
        """Stored bytes."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says.

    Attributes:
        tensors: In the order of their bytes.
        metadata: ``__metadata__``, or empty.
        data_begin: First byte of the data in the file.
    """

    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    data_begin: int
