# SPDX-License-Identifier: Apache-2.0
"""A model's weights as one map of tensors, read by ranges.

Opening reads headers and the index only, see :mod:`pedigree.tensors.opening`.  Every
read after that is bounded, is decoded to float32 and is refused when a value is not
finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError, quote
from pedigree.limits import DEFAULT, Limits
from pedigree.ranges import ModelSource, RangeSource
from pedigree.refs import Scheme
from pedigree.tensors.ahead import AheadRange
from pedigree.tensors.dtypes import DTYPES, decode
from pedigree.tensors.finite import check_finite
from pedigree.tensors.held import HeldPieces
from pedigree.tensors.layout import Coding, Extent, TensorInfo, WeightSet
from pedigree.tensors.lines import check_rows, runs
from pedigree.tensors.opening import open_weights

__all__ = ["Checkpoint", "TensorInfo"]

_CHUNK_BYTES = 4 << 20
"""Piece of a stream or of a large decode (arbitrary)."""


class Checkpoint:
    """The tensors of one model.

    Attributes:
        form: Format of the weight files.
        tensors: By name, in order of name.
        metadata: What each file says of itself, by path.
        remarks: What is worth telling and does not prevent reading.
        config: What the weight files say of the architecture, with the keys of
            ``config.json``; empty when that file says it.
        tokens: Where a weight file keeps a vocabulary, or None.
    """

    def __init__(
        self, weights: WeightSet, limits: Limits, *, far: bool = False
    ) -> None:
        self.form = weights.form
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(dict(weights.tensors))
        self.metadata = weights.metadata
        self.remarks = weights.remarks
        self.config: Mapping[str, Any] = weights.config
        self.tokens = weights.tokens
        # Of a file of this machine, to read ahead would only be to copy.
        self._ahead = {path: AheadRange(x) for path, x in weights.files.items() if far}
        self._files: Mapping[str, RangeSource] = {**weights.files, **self._ahead}
        self._limits = limits
        self._held = HeldPieces()

    @classmethod
    def open(cls, source: ModelSource, limits: Limits = DEFAULT) -> Checkpoint:
        """Read the headers of a model's weight files.

        Args:
            source: The model.
            limits: Bounds.

        Raises:
            ArtifactError: See :func:`~pedigree.tensors.opening.open_weights`.
            SourceError: The bytes could not be had.
        """
        far = source.ref.scheme is not Scheme.FILE
        return cls(open_weights(source, limits), limits, far=far)

    @property
    def parameters(self) -> int:
        """Number of values of all tensors."""
        return sum(info.count for info in self.tensors.values())

    @property
    def whole_max_bytes(self) -> int:
        """What the largest tensor takes as float32; it is read whole if that fits."""
        return max((4 * info.count for info in self.tensors.values()), default=0)

    def read(self, name: str) -> NDArray[np.float32]:
        """One whole tensor.

        Args:
            name: A key of ``tensors``.

        Returns:
            Shape ``tensors[name].shape``, float32, finite.

        Raises:
            KeyError: No such tensor.
            ArtifactError: ``NonFiniteTensor``, ``UnsupportedDtype``,
                ``MalformedValue``, ``TruncatedFile``, or ``LimitExceeded`` when it
                would not fit ``read_max_bytes``: read it by rows.
            SourceError: The bytes could not be had.
        """
        info = self.tensors[name]
        self._check_budget(info, info.count)
        if info.coding is not None:
            every = np.arange(info.lines, dtype=np.int64)
            return self._decoded(info, info.coding, every).reshape(info.shape)
        raw_chunks = list(self.raw(name))
        return self._finish(info, b"".join(raw_chunks), info.shape)

    def read_rows(self, name: str, rows: Sequence[int]) -> NDArray[np.float32]:
        """Some rows of a tensor, by ranged reads.

        Args:
            name: A key of ``tensors``; at least one dimension.
            rows: Indexes along the first dimension, in any order, repeats allowed.

        Returns:
            Shape ``(len(rows), *tensors[name].shape[1:])``, float32, finite; row i is
            row ``rows[i]`` of the tensor.

        Raises:
            KeyError: No such tensor.
            IndexError: A row is outside the tensor.
            ArtifactError: As for :meth:`read`.
            SourceError: The bytes could not be had.
        """
        info = self.tensors[name]
        row_shape = info.shape[1:]
        per_row = int(np.prod(row_shape, dtype=object)) if row_shape else 1
        height = info.shape[0] if info.shape else 0
        if info.coding is not None:
            return self._coded_rows(info, np.asarray(rows, np.int64), height)
        found = self._read_lines(info, rows, per_row, height)
        return found.reshape(len(found), *row_shape)

    def _coded_rows(
        self, info: TensorInfo, rows: NDArray[np.int64], height: int
    ) -> NDArray[np.float32]:
        check_rows(info, rows, height)
        if len(info.shape) == 1:
            return self.read(info.name)[rows]
        per_row = info.lines // height if height else 0
        lines = (rows[:, None] * per_row + np.arange(per_row)).reshape(-1)
        return self.read_lines(info.name, lines).reshape(rows.size, *info.shape[1:])

    def read_lines(
        self, name: str, lines: Sequence[int] | NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Some lines of a tensor, by ranged reads.

        A line is what lies along the last dimension: a row of a matrix, and row
        ``i % height`` of matrix ``i // height`` of a stack of matrices.

        Args:
            name: A key of ``tensors``; at least one dimension.
            lines: Indexes of lines, in any order, repeats allowed; consecutive ones
                are read at once.

        Returns:
            Shape ``(len(lines), tensors[name].shape[-1])``, float32, finite.

        Raises:
            KeyError: No such tensor.
            IndexError: A line is outside the tensor.
            ArtifactError: As for :meth:`read`.
            SourceError: The bytes could not be had.
        """
        info = self.tensors[name]
        height = info.lines if info.shape else 0
        return self._read_lines(info, lines, info.columns, height)

    def _read_lines(
        self,
        info: TensorInfo,
        lines: Sequence[int] | NDArray[np.int64],
        per_line: int,
        height: int,
    ) -> NDArray[np.float32]:
        """Shape (len(lines), per_line)."""
        wanted = np.asarray(lines, np.int64).reshape(-1)  # (k,)
        check_rows(info, wanted, height)
        if info.coding is not None:
            return self._decoded(info, info.coding, wanted)
        if per_line * DTYPES[info.dtype].bits % 8:  # lines that share a byte
            return self.read(info.name).reshape(height, per_line)[wanted]
        self._check_budget(info, per_line * wanted.size)
        raw = self._stored_lines(info, wanted, per_line)
        return self._finish(info, raw, (wanted.size, per_line))

    def raw_lines(self, name: str, lines: NDArray[np.int64]) -> bytes | None:
        """Stored bytes of some lines of a tensor; see :meth:`read_lines`.

        Returns:
            None where lines have no bytes of their own: for a sub-byte type of which
            they share one, and for tensors with a coding.

        Raises:
            KeyError: No such tensor.
            IndexError: A line is outside the tensor.
            ArtifactError: ``TruncatedFile``, or ``LimitExceeded``.
            SourceError: The bytes could not be had.
        """
        info = self.tensors[name]
        check_rows(info, lines, info.lines if info.shape else 0)
        if info.coding is not None or info.columns * DTYPES[info.dtype].bits % 8:
            return None
        self._check_budget(info, info.columns * lines.size)
        return self._stored_lines(info, lines, info.columns)

    def extents(self, name: str, lines: NDArray[np.int64]) -> list[Extent]:
        """Which bytes :meth:`read_lines` would read, for whoever plans reads.

        Raises:
            KeyError: No such tensor.
            IndexError: A line is outside the tensor.
        """
        info = self.tensors[name]
        check_rows(info, lines, info.lines if info.shape else 0)
        if info.coding is not None:
            return list(info.coding.extents(lines))
        line_bits = info.columns * DTYPES[info.dtype].bits
        if line_bits % 8:
            return [Extent(info.path, info.begin, info.nbytes)]
        ranges = runs(lines, info.begin, line_bits // 8)
        return [Extent(info.path, *each) for each in ranges]

    def ahead(self, extents: Iterable[Extent]) -> None:
        """Read what will be asked for, one call for each file, and forget the rest.

        Only of a model that is far: one on this machine is read when it is asked for.

        Raises:
            ArtifactError: ``TruncatedFile``.
            SourceError: The bytes could not be had.
        """
        if not self._ahead:
            return
        wanted: dict[str, list[tuple[int, int]]] = {path: [] for path in self._ahead}
        for path, offset, length in extents:
            wanted[path].append((offset, length))
        for path, ranges in wanted.items():
            self._ahead[path].take(ranges)

    def _decoded(
        self, info: TensorInfo, coding: Coding, lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Shape (len(lines), columns), finite."""
        self._check_budget(info, info.columns * lines.size)
        pieces = self._held.read(self._files, coding.extents(lines))
        with _about(info):
            values = coding.decode(pieces, lines)
        check_finite(values, name=info.name, path=info.path)
        return values

    def _stored_lines(
        self, info: TensorInfo, lines: NDArray[np.int64], per_line: int
    ) -> bytes:
        ranges = runs(lines, info.begin, per_line * DTYPES[info.dtype].bits // 8)
        file = self._files[info.path]
        if len(ranges) == 1:
            return file.read(*ranges[0])
        return b"".join(file.read_many(ranges))

    def blocks(
        self, name: str, block_bytes: int = 64 << 20
    ) -> Iterator[NDArray[np.float32]]:
        """A tensor of any size, in consecutive blocks of rows.

        Args:
            name: A key of ``tensors``.
            block_bytes: Wanted float32 size of a block; at least one row is given.

        Yields:
            Shape (k, *shape[1:]), float32, finite; joined along the first dimension
            they are :meth:`read`'s result (a scalar comes as one block of shape ()).
        """
        info = self.tensors[name]
        if not info.shape or info.count == 0:
            yield self.read(name)
            return
        per_row = info.count // info.shape[0]
        step = max(1, block_bytes // (4 * per_row))
        for first in range(0, info.shape[0], step):
            last = min(first + step, info.shape[0])
            yield self.read_rows(name, range(first, last))

    def raw(self, name: str) -> Iterator[bytes]:
        """The stored bytes of a tensor, in order, in chunks; for hashing."""
        info = self.tensors[name]
        file = self._files[info.path]
        for begin in range(info.begin, info.end, _CHUNK_BYTES):
            yield file.read(begin, min(_CHUNK_BYTES, info.end - begin))

    def raw_range(self, name: str, offset: int, length: int) -> bytes:
        """Some of the stored bytes of a tensor."""
        info = self.tensors[name]
        return self._files[info.path].read(info.begin + offset, length)

    def _check_budget(self, info: TensorInfo, count: int) -> None:
        size = 4 * count
        if size > self._limits.read_max_bytes:
            raise ArtifactError(
                f"tensor {quote(info.name)} needs {size} bytes as float32, allowed at "
                f"once are {self._limits.read_max_bytes}",
                reason="LimitExceeded",
                hint="read it in blocks of rows",
                path=info.path,
            )

    def _finish(
        self, info: TensorInfo, raw: bytes, shape: tuple[int, ...]
    ) -> NDArray[np.float32]:
        with _about(info):
            values = decode(raw, info.dtype)
        check_finite(values, name=info.name, path=info.path)
        return values.reshape(shape)


@contextmanager
def _about(info: TensorInfo) -> Iterator[None]:
    """Has errors say which tensor they are about."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(
            f"tensor {quote(info.name)}: {error.message}",
            reason=error.reason,
            hint=error.hint,
            path=info.path,
        ) from error
