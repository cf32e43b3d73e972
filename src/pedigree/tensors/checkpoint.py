# SPDX-License-Identifier: Apache-2.0
"""A model's weights as one map of tensors, read by ranges.

Opening reads headers and the index only.  Every read after that is bounded, is
decoded to float32 and is refused when a value is not finite.  Formats other than
safetensors are not read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError, quote
from pedigree.limits import DEFAULT, Limits
from pedigree.manifest import is_ignored
from pedigree.ranges import ModelSource, RangeSource
from pedigree.tensors.dtypes import DTYPES, decode
from pedigree.tensors.finite import check_finite
from pedigree.tensors.header import PREFIX_BYTES, header_length, parse_header
from pedigree.tensors.layout import Header, TensorInfo
from pedigree.tensors.lines import check_rows, runs
from pedigree.tensors.placement import check_placement, opening_remarks
from pedigree.tensors.remarks import Remark
from pedigree.tensors.shards import (
    WeightFiles,
    find_index,
    with_index,
    without_index,
)

__all__ = ["Checkpoint", "TensorInfo"]

_FIRST_READ_BYTES = 65_536
"""Holds the whole header of most files, so that one read does (arbitrary)."""
_CHUNK_BYTES = 4 << 20
"""Piece of a stream or of a large decode (arbitrary)."""


class Checkpoint:
    """The tensors of one model.

    Attributes:
        tensors: By name, in order of name.
        metadata: ``__metadata__`` of each file, by path.
        remarks: What is worth telling and does not prevent reading.
    """

    def __init__(
        self,
        files: Mapping[str, RangeSource],
        tensors: Mapping[str, TensorInfo],
        metadata: Mapping[str, Mapping[str, str]],
        remarks: Sequence[Remark],
        limits: Limits,
    ) -> None:
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(dict(tensors))
        self.metadata = metadata
        self.remarks = tuple(remarks)
        self._files = files
        self._limits = limits

    @classmethod
    def open(cls, source: ModelSource, limits: Limits = DEFAULT) -> Checkpoint:
        """Read the headers of a model's weight files.

        Args:
            source: The model.
            limits: Bounds.

        Raises:
            ArtifactError: No safetensors file (``NoReadableWeights``), a header or
                index is refused (reasons of :mod:`pedigree.tensors.header` and
                :mod:`pedigree.tensors.shards`), or header and index disagree
                (``DuplicateTensor``, ``MissingTensor``).
            SourceError: The bytes could not be had.
        """
        weights = _find_weights(source, limits)
        files = {path: source.open(path) for path in weights.paths}
        headers = {path: _read_header(file, limits) for path, file in files.items()}
        tensors = _merge(headers, set(weights.placement.values()), limits)
        remarks = opening_remarks(weights, headers, tensors)
        check_placement(weights, tensors)
        metadata = {path: header.metadata for path, header in headers.items()}
        return cls(files, tensors, metadata, remarks, limits)

    @property
    def parameters(self) -> int:
        """Number of values of all tensors."""
        return sum(info.count for info in self.tensors.values())

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
        found = self._read_lines(info, rows, per_row, height)
        return found.reshape(len(found), *row_shape)

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
        per_line = info.shape[-1] if info.shape else 1
        height = info.count // per_line if info.shape and per_line else 0
        return self._read_lines(info, lines, per_line, height)

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
        if per_line * DTYPES[info.dtype].bits % 8:  # lines that share a byte
            return self.read(info.name).reshape(height, per_line)[wanted]
        self._check_budget(info, per_line * wanted.size)
        raw = self._stored_lines(info, wanted, per_line)
        return self._finish(info, raw, (wanted.size, per_line))

    def raw_lines(self, name: str, lines: NDArray[np.int64]) -> bytes | None:
        """Stored bytes of some lines of a tensor; see :meth:`read_lines`.

        Returns:
            None for a sub-byte type of which lines share a byte.

        Raises:
            KeyError: No such tensor.
            IndexError: A line is outside the tensor.
            ArtifactError: ``TruncatedFile``, or ``LimitExceeded``.
            SourceError: The bytes could not be had.
        """
        info = self.tensors[name]
        per_line = info.shape[-1] if info.shape else 1
        height = info.count // per_line if info.shape and per_line else 0
        check_rows(info, lines, height)
        if per_line * DTYPES[info.dtype].bits % 8:
            return None
        self._check_budget(info, per_line * lines.size)
        return self._stored_lines(info, lines, per_line)

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
        try:
            values = decode(raw, info.dtype)
        except ArtifactError as error:
            raise ArtifactError(
                f"tensor {quote(info.name)}: {error.message}",
                reason=error.reason,
                hint=error.hint,
                path=info.path,
            ) from error
        check_finite(values, name=info.name, path=info.path)
        return values.reshape(shape)


def _find_weights(source: ModelSource, limits: Limits) -> WeightFiles:
    sizes = {
        entry.path: entry.size for entry in source.files() if not is_ignored(entry.path)
    }
    paths = sorted(sizes)
    index_path = find_index(paths)
    if index_path is None:
        weights = without_index(paths)
    else:
        size = sizes[index_path]
        if size > limits.json_max_bytes:
            raise ArtifactError(
                f"index {quote(index_path)} is {size} bytes, "
                f"allowed are {limits.json_max_bytes}",
                reason="LimitExceeded",
                path=index_path,
            )
        text = source.open(index_path).read(0, size)
        weights = with_index(index_path, text, paths, limits)
    if not weights.paths:
        raise ArtifactError(
            f"model has no safetensors file among its {len(paths)} files, "
            "wanted at least one",
            reason="NoReadableWeights",
            hint="publish the weights as safetensors",
        )
    return weights


def _read_header(file: RangeSource, limits: Limits) -> Header:
    data = file.read(0, min(file.size, _FIRST_READ_BYTES))
    wanted = PREFIX_BYTES + header_length(
        data[:PREFIX_BYTES], path=file.path, file_size=file.size, limits=limits
    )
    if wanted > len(data):
        data += file.read(len(data), wanted - len(data))
    return parse_header(data, path=file.path, file_size=file.size, limits=limits)


def _merge(
    headers: Mapping[str, Header], shards: set[str], limits: Limits
) -> dict[str, TensorInfo]:
    """All tensors by name; parts in folders are told apart by their folder."""
    found: dict[str, TensorInfo] = {}
    for path, header in headers.items():
        in_folder = "/" in path and path not in shards
        folder = path.rpartition("/")[0] + "/" if in_folder else ""
        for info in header.tensors:
            name = folder + info.name
            if name in found:
                raise ArtifactError(
                    f"tensor {quote(name)} is in {quote(found[name].path)} and in "
                    f"{quote(path)}, wanted one of them; servers disagree on which "
                    "counts",
                    reason="DuplicateTensor",
                    path=path,
                )
            found[name] = replace(info, name=name) if folder else info
    if len(found) > limits.tensors_max:
        raise ArtifactError(
            f"model has {len(found)} tensors, allowed are {limits.tensors_max}",
            reason="LimitExceeded",
        )
    if not found:
        raise ArtifactError(
            f"weight files {quote(sorted(headers))} hold no tensor, wanted weights",
            reason="NoReadableWeights",
            path=next(iter(headers)),
        )
    return dict(sorted(found.items()))
