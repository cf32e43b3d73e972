# SPDX-License-Identifier: Apache-2.0
"""Where the tensors of a model are stored, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pedigree.ranges import RangeSource
from pedigree.tensors.remarks import Remark


class Extent(NamedTuple):
    """A stretch of one file.

    Attributes:
        path: File, relative to the model's root.
        offset: First byte.
        length: Bytes.
    """

    path: str
    offset: int
    length: int


class Coding(Protocol):
    """How values are made of stored bytes: which bytes, and what they mean.

    Does no reading of its own, so that whoever reads can plan, join and hold reads.
    A line is what lies along the last dimension of the tensor; a tensor of one
    dimension is one line.
    """

    @property
    def kind(self) -> str:
        """Name of the layout for people, such as ``GGUF Q4_K`` or ``GPTQ 4 bit``."""
        ...

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """Which bytes some lines take; lines exist, in any order, with repeats."""
        ...

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Values of some lines.

        Args:
            pieces: The bytes of :meth:`extents` for the same lines, in that order.
            lines: Shape (k,).

        Returns:
            Shape (k, columns), float32.  May hold values that are not finite:
            finiteness is the reader's check.

        Raises:
            ArtifactError: The bytes mean nothing (``MalformedValue``).
        """
        ...


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor is stored.

    Attributes:
        name: Name in the checkpoint.
        dtype: Name of the storage type: a key of ``DTYPES``, unless there is a coding.
        shape: Dimensions; ``()`` for a scalar.
        path: File, relative to the model's root.
        begin: First byte in the file.
        end: One past the last byte in the file.
        coding: How values are made of stored bytes where they are not stored one by
            one; then ``path``, ``begin`` and ``end`` are those of the largest part.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: str
    begin: int
    end: int
    coding: Coding | None = None

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

    @property
    def columns(self) -> int:
        """Values of one line; 1 for a scalar."""
        return self.shape[-1] if self.shape else 1

    @property
    def lines(self) -> int:
        """Number of lines."""
        return self.count // self.columns if self.columns else 0


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


@dataclass(frozen=True, slots=True)
class StoredTokens:
    """Where a weight file keeps a vocabulary of its own.

    Attributes:
        path: The file.
        spelling: How it names the way its tokens are written; empty where it has a
            document alone.
        count: Tokens; the id of each is its place.
        begin: First byte of the texts, each behind its length of 64 bits.
        end: Byte behind them.
        kinds: First byte of the kinds, 32 bits each; None when there are none.
        document: A ``tokenizer.json`` within the file, or its first byte and the one
            behind it; None when there is none.
    """

    path: str
    spelling: str
    count: int
    begin: int
    end: int
    kinds: int | None
    document: bytes | tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSet:
    """The weights of one model, opened: headers were read, values were not.

    Attributes:
        form: Format, as :mod:`pedigree.tensors.formats` names it.
        files: Ranged reads of each weight file, by path.
        tensors: By name, in order of name.
        metadata: What each file says of itself, by path, as text.
        remarks: What is worth telling and does not prevent reading.
        config: What the weight files themselves say of the architecture, with the
            keys of ``config.json``; empty when that file says it.
        tokens: The vocabulary in a weight file, or None.
    """

    form: str
    files: Mapping[str, RangeSource]
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, Mapping[str, str]]
    remarks: tuple[Remark, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    tokens: StoredTokens | None = None
