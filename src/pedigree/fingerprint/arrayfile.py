# SPDX-License-Identifier: Apache-2.0
"""Named integer arrays in one safetensors file, with one encoding per content.

``unpack`` refuses every byte string that ``pack`` would not have written, so a digest
of the file names its content.  It compares the header with the one that belongs to
the arrays and never encodes the arrays again: for integers the bytes are the value.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.digests import canonical_json

HEADER_MAX_BYTES = 1_000_000
"""A fingerprint with all parts has a header of 10 kB."""
RANK_MAX = 5
DTYPES: Mapping[str, np.dtype[Any]] = {
    "I8": np.dtype("<i1"),
    "U8": np.dtype("<u1"),
    "I16": np.dtype("<i2"),
    "U16": np.dtype("<u2"),
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "I64": np.dtype("<i8"),
}
"""Storage types by name.  Integers only: a float has no one way to be compared."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def pack(metadata: object, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """One file: length of the header, header, arrays without gaps.

    Args:
        metadata: JSON value, kept as text under the key ``pedigree``.
        arrays: By name; integers of the types in :data:`DTYPES`.

    Raises:
        KeyError: An array has another type.
    """
    placed = _placed((name, dtype_name(array)) for name, array in arrays.items())
    chunks = [
        np.ascontiguousarray(arrays[name], DTYPES[dtype]) for name, dtype in placed
    ]
    entries = [
        (name, dtype, chunk.shape)
        for (name, dtype), chunk in zip(placed, chunks, strict=True)
    ]
    text = _header(metadata, entries)
    return b"".join(
        [struct.pack("<Q", len(text)), text, *(chunk.tobytes() for chunk in chunks)]
    )


def dtype_name(array: NDArray[Any]) -> str:
    """Name of the storage type of an array.

    Raises:
        KeyError: It has none.
    """
    return _NAMES[array.dtype.newbyteorder("<")]


def unpack(data: bytes) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Metadata and arrays; the arrays are views of ``data``, read-only.

    Raises:
        ValueError: The bytes are not what :func:`pack` writes.
        KeyError, TypeError, RecursionError: Likewise, as the parser found it.
    """
    if len(data) < 8:
        raise ValueError(f"it has {len(data)} bytes")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(HEADER_MAX_BYTES, len(data) - 8):
        raise ValueError(f"its header says {length} bytes")
    text = data[8 : 8 + length]
    header = json.loads(text)
    metadata = json.loads(header.pop("__metadata__")["pedigree"])
    kinds = {name: str(entry["dtype"]) for name, entry in header.items()}
    unknown = set(kinds.values()) - set(DTYPES)
    if unknown:
        raise ValueError(f"it has arrays of type {sorted(unknown)[0][:20]}")
    entries: list[tuple[str, str, tuple[int, ...]]] = []
    arrays: dict[str, NDArray[Any]] = {}
    begin = 8 + length
    for name, dtype in _placed(kinds.items()):
        shape = _shape(header[name]["shape"])
        item = DTYPES[dtype]
        count = math.prod(shape)
        end = begin + count * item.itemsize
        if end > len(data):
            raise ValueError(f"array {name[:80]} is cut off")
        array = np.frombuffer(data, item, count, begin)
        arrays[name] = array.reshape(shape)
        entries.append((name, dtype, shape))
        begin = end
    if begin != len(data) or _header(metadata, entries) != text:
        raise ValueError("it is not in the canonical form")
    return metadata, arrays


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > RANK_MAX:
        raise ValueError("an array has no shape")
    if not all(type(extent) is int and 0 <= extent <= 2**40 for extent in value):
        raise ValueError("an array has an impossible shape")
    return tuple(value)


def _placed(arrays: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Largest items first, so that each array begins at a multiple of its item size."""
    return sorted(arrays, key=lambda entry: (-DTYPES[entry[1]].itemsize, entry[0]))


def _header(
    metadata: object, entries: Iterable[tuple[str, str, tuple[int, ...]]]
) -> bytes:
    header: dict[str, Any] = {
        "__metadata__": {"pedigree": canonical_json(metadata).decode()}
    }
    offset = 0
    for name, dtype, shape in entries:
        end = offset + math.prod(shape) * DTYPES[dtype].itemsize
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = canonical_json(header)
    return text + b" " * (-len(text) % 8)
