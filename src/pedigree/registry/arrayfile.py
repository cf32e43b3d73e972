# SPDX-License-Identifier: Apache-2.0
"""Files of arrays that are written once, named by their digest, and mapped to be read.

One encoding per content, as for fingerprints: safetensors with a canonical header and
the largest item size first, so that every array begins at a multiple of its item size.
Nothing is decoded when a file is opened; pages are read when they are looked at.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pedigree.digests import Digest, canonical_json
from pedigree.errors import ArtifactError, SourceRefused, SourceUnavailable, quote
from pedigree.limits import DEFAULT
from pedigree.registry.files import place_whole
from pedigree.tensors.header import PREFIX_BYTES, header_length, parse_header

_NUMPY = {
    "U8": "<u1",
    "I32": "<i4",
    "F32": "<f4",
    "I64": "<i8",
    "U64": "<u8",
}
_NAMES = {np.dtype(numpy): name for name, numpy in _NUMPY.items()}
_METADATA = "pedigree"
_LIMITS = replace(DEFAULT, header_max_bytes=1_000_000, tensors_max=1000)
_DIGEST_CHUNK = 1 << 22
SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Chunks:
    """A one-dimensional array of bytes that is never whole in memory."""

    size: int
    parts: Iterable[bytes]


Column = NDArray[Any] | Chunks


def write_arrays(
    folder: Path, arrays: Mapping[str, Column], metadata: Mapping[str, Any]
) -> Digest:
    """Write a file named by its digest; on the disk when this returns.

    Args:
        folder: Made if it is not there.
        arrays: Columns by name, of the types U8, I32, F32, I64 and U64.
        metadata: What JSON can say exactly.

    Returns:
        SHA-256 of the file, which is its name.

    Raises:
        SourceError: The folder cannot be written.
    """
    ordered = sorted(arrays.items(), key=_place)
    header = _header(ordered, metadata)
    digests: list[Digest] = []

    def fill(part: IO[bytes]) -> Path:
        digests.append(_write(part, header, ordered))
        return array_path(folder, digests[0])

    place_whole(folder, fill, prefix=".part.", what=folder)
    return digests[0]


def encode_arrays(arrays: Mapping[str, Column], metadata: Mapping[str, Any]) -> bytes:
    """What :func:`write_arrays` would write, in memory."""
    ordered = sorted(arrays.items(), key=_place)
    buffer = io.BytesIO()
    _write(buffer, _header(ordered, metadata), ordered)
    return buffer.getvalue()


def array_path(folder: Path, digest: Digest) -> Path:
    """Where the file of a digest is."""
    return folder / f"{digest.hex}{SUFFIX}"


def _place(item: tuple[str, Column]) -> tuple[int, str]:
    name, column = item
    return (-(1 if isinstance(column, Chunks) else column.itemsize), name)


def _header(ordered: list[tuple[str, Column]], metadata: Mapping[str, Any]) -> bytes:
    header: dict[str, Any] = {
        "__metadata__": {_METADATA: canonical_json(dict(metadata)).decode()}
    }
    offset = 0
    for name, column in ordered:
        if isinstance(column, Chunks):
            dtype, shape, size = "U8", [column.size], column.size
        else:
            dtype, shape = _NAMES[column.dtype], list(column.shape)
            size = column.nbytes
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = canonical_json(header)
    return text + b" " * (-len(text) % 8)


def _write(part: Any, header: bytes, ordered: list[tuple[str, Column]]) -> Digest:
    digest = hashlib.sha256()

    def put(data: bytes | memoryview) -> int:
        digest.update(data)
        part.write(data)
        return len(data)

    put(struct.pack("<Q", len(header)) + header)
    for name, column in ordered:
        if isinstance(column, Chunks):
            size = sum(put(chunk) for chunk in column.parts)
            if size != column.size:
                raise ValueError(f"{name} has {size} bytes, wanted {column.size}")
        else:
            put(np.ascontiguousarray(column).reshape(-1).view(np.uint8).data)
    return Digest(digest.hexdigest())


class ArrayFile:
    """A file of arrays, mapped."""

    def __init__(self, path: Path, *, reason: str) -> None:
        """Map a file.

        Args:
            path: The file.
            reason: Of the error if it is not a file of arrays.

        Raises:
            SourceError: It is not there (``NotFound``) or cannot be read.
            ArtifactError: It is damaged (``reason``).
        """
        self._take(path, _mapped(path), reason)

    @classmethod
    def of_bytes(cls, data: bytes, name: str, *, reason: str) -> ArrayFile:
        """The same of a file that is in memory; ``name`` is for messages."""
        file = cls.__new__(cls)
        file._take(Path(name), data, reason)
        return file

    def _take(self, path: Path, data: mmap.mmap | bytes, reason: str) -> None:
        self.path, self._reason = path, reason
        self._map = data
        size = len(self._map)
        head = self._map[:PREFIX_BYTES]
        length = header_length(head, path=str(path), file_size=size, limits=_LIMITS)
        header = parse_header(
            self._map[: PREFIX_BYTES + length],
            path=str(path),
            file_size=size,
            limits=_LIMITS,
        )
        self._tensors = {tensor.name: tensor for tensor in header.tensors}
        self.metadata = header.metadata.get(_METADATA, "")

    def array(self, name: str, dtype: str, *shape: int | None) -> NDArray[Any]:
        """One array, read-only, without reading it.

        Args:
            name: Its name.
            dtype: Wanted type, such as ``U64``.
            shape: Wanted sizes; None for any.

        Raises:
            ArtifactError: It is not there, or of another type or shape.
        """
        tensor = self._tensors.get(name)
        if tensor is None or tensor.dtype != dtype or not _fits(tensor.shape, shape):
            got = "is not there" if tensor is None else f"is {tensor.dtype}"
            sizes = "" if tensor is None else f" {list(tensor.shape)}"
            raise self.damaged(f"array {name} {got}{sizes}, wanted {dtype} {shape}")
        flat = np.frombuffer(self._map, _NUMPY[dtype], tensor.count, tensor.begin)
        return flat.reshape(tensor.shape)

    def damaged(self, why: str) -> ArtifactError:
        """The error that says that this file cannot be used."""
        return ArtifactError(
            f"file {quote(str(self.path))} cannot be used: {why}",
            reason=self._reason,
            hint="find all damage with `pedigree registry verify`",
            path=str(self.path),
        )

    def digest(self) -> Digest:
        """SHA-256 of the whole file, read now."""
        found = hashlib.sha256()
        with self.path.open("rb") as file:
            while chunk := file.read(_DIGEST_CHUNK):
                found.update(chunk)
        return Digest(found.hexdigest())


def _fits(got: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(got) == len(wanted) and all(
        w in (None, g) for g, w in zip(got, wanted, strict=True)
    )


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise SourceRefused(
            f"file {quote(str(path))} is not there",
            reason="NotFound",
            hint="the registry was changed meanwhile, or is damaged; try again, then "
            "see `pedigree registry verify`",
        ) from error
    except PermissionError as error:
        raise SourceRefused(
            f"{path} cannot be read: {error.strerror}", reason="Forbidden"
        ) from error
    except ValueError as error:  # an empty file cannot be mapped
        raise ArtifactError(
            f"file {quote(str(path))} is empty", reason="TruncatedFile", path=str(path)
        ) from error
    except OSError as error:
        raise SourceUnavailable(
            f"{path} cannot be read: {error.strerror or error}", reason="ReadFailed"
        ) from error
