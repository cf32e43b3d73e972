# SPDX-License-Identifier: Apache-2.0
"""Safetensors files byte by byte, so that they can be wrong in one way at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pedigree import refs
from pedigree.sources import FileSource, SourceSettings


def file_of(header: object, data: bytes = b"") -> bytes:
    """A file with this header: bytes as they are, anything else as padded JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    if not isinstance(header, bytes):
        text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def weights(tensors: Mapping[str, np.ndarray]) -> bytes:
    """A right file of float32 tensors."""
    header: dict[str, object] = {}
    data = b""
    for name, values in tensors.items():
        raw = np.ascontiguousarray(values, "<f4").tobytes()
        begin, end = len(data), len(data) + len(raw)
        header[name] = tensor("F32", list(values.shape), begin, end)
        data += raw
    return file_of(header, data)


def matrix(rows: int = 4, columns: int = 3, first: int = 0) -> np.ndarray:
    count = rows * columns
    return np.arange(first, first + count, dtype=np.float32).reshape(rows, columns)


def lay_out(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def index_of(placement: Mapping[str, object]) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": placement}).encode()


def source_of(
    folder: Path, files: Mapping[str, bytes] | None = None, **settings: object
) -> FileSource:
    """A file source over a folder, after writing files there."""
    lay_out(folder, files or {})
    return FileSource(
        refs.parse(f"file://{folder}"),
        SourceSettings(**settings),  # type: ignore[arg-type]
    )
