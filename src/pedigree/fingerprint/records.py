# SPDX-License-Identifier: Apache-2.0
"""Records of tensors as columns of integers, which is how they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import NO_DIGEST, TensorRecord
from pedigree.fingerprint.roles import Part, Role, Slot

WEIGHTS_MAX = 2**53
"""More weights could not be counted exactly by every reader of JSON."""
_COLUMNS: Mapping[str, str] = {
    "tensor.role": "<u1",
    "tensor.layer": "<i4",
    "tensor.expert": "<i4",
    "tensor.part": "<u1",
    "tensor.rank": "<u1",
    "tensor.rows": "<i8",
    "tensor.columns": "<i8",
    "tensor.seen": "<i4",
    "tensor.zeros": "<i4",
    "tensor.distinct": "<u2",
    "tensor.grid": "<u1",
}
_DIGESTS = ("tensor.sample", "tensor.full")
RECORD_ARRAYS = frozenset({*_COLUMNS, *_DIGESTS})


def to_columns(records: Sequence[TensorRecord]) -> dict[str, NDArray[Any]]:
    """Arrays by name; ``tensor.full`` only if some record has a full digest."""
    rows = [
        (
            r.slot.role,
            r.slot.layer,
            r.slot.expert,
            r.slot.part,
            len(r.shape),
            r.shape[0] if r.shape else 1,
            r.shape[1] if len(r.shape) > 1 else 1,
            r.seen,
            r.zeros,
            r.distinct,
            r.grid,
        )
        for r in records
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
    result: dict[str, NDArray[Any]] = {
        name: np.array(column, dtype)
        for (name, dtype), column in zip(_COLUMNS.items(), columns, strict=True)
    }
    result["tensor.sample"] = _stack([r.sample_digest for r in records])
    if any(r.full_digest != NO_DIGEST for r in records):
        result["tensor.full"] = _stack([r.full_digest for r in records])
    return result


def _stack(digests: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, len(NO_DIGEST))


def from_columns(arrays: Mapping[str, NDArray[Any]]) -> tuple[TensorRecord, ...]:
    """Records of stored columns.

    Raises:
        ValueError: A column has another type or length, a number is impossible, or
            the records are not sorted.
        KeyError: A column is missing.
    """
    _check(arrays)
    # Lists of plain integers: reading arrays one by one takes ten times as long.
    columns = [arrays[name].tolist() for name in _COLUMNS]
    samples = _split(arrays["tensor.sample"])
    fulls = [NO_DIGEST] * len(samples)
    if "tensor.full" in arrays:
        fulls = _split(arrays["tensor.full"])
    records = tuple(
        TensorRecord(
            Slot(Role(role), layer, expert, Part(part)),
            (rows, width)[:rank],
            sample,
            full,
            seen,
            zeros,
            distinct,
            grid,
        )
        for role, layer, expert, part, rank, rows, width, seen, zeros, distinct, grid, (
            sample,
            full,
        ) in zip(*columns, zip(samples, fulls, strict=True), strict=True)
    )
    keys = [sort_key(record) for record in records]
    if keys != sorted(keys):
        raise ValueError("its tensors are not sorted")
    if sum(record.size for record in records) > WEIGHTS_MAX:
        raise ValueError("it has more weights than can be counted exactly")
    return records


def sort_key(record: TensorRecord) -> tuple[Any, ...]:
    """What records are sorted by; it tells apart all that differ."""
    slot = record.slot
    # Numbers: comparing slots and roles themselves takes ten times as long.
    place = (int(slot.role), slot.layer, slot.expert, int(slot.part))
    return (*place, record.shape, record.sample_digest, record.full_digest)


def _split(digests: NDArray[np.uint8]) -> list[bytes]:
    data, size = digests.tobytes(), len(NO_DIGEST)
    return [data[at : at + size] for at in range(0, len(data), size)]


def _check(arrays: Mapping[str, NDArray[Any]]) -> None:
    count = len(arrays["tensor.role"])
    for name, dtype in _COLUMNS.items():
        if arrays[name].dtype != np.dtype(dtype) or arrays[name].shape != (count,):
            raise ValueError(f"array {name} has another type or length")
    for name in _DIGESTS:
        found = arrays.get(name)
        if found is None and name == "tensor.full":
            continue
        if found is None or found.dtype != np.uint8:
            raise ValueError(f"array {name} is missing or has another type")
        if found.shape != (count, len(NO_DIGEST)):
            raise ValueError(f"array {name} has shape {found.shape}")
        if name == "tensor.full" and not found.any():
            raise ValueError("it says that it has full digests, and has none")
    rank, rows, width = (arrays[f"tensor.{n}"] for n in ("rank", "rows", "columns"))
    least = min(int(a.min(initial=0)) for a in (rows, width))
    if least < 0 or int(rank.max(initial=0)) > 2:
        raise ValueError("a tensor has an impossible shape")
    if np.any(rows[rank < 1] != 1) or np.any(width[rank < 2] != 1):
        raise ValueError("a tensor has sizes beyond its rank")
    seen, zeros = arrays["tensor.seen"], arrays["tensor.zeros"]
    sizes = rows.astype(np.float64) * width
    if np.any(zeros < 0) or np.any(zeros > seen) or np.any(seen > sizes):
        raise ValueError("a tensor has impossible counts")
    if np.any(arrays["tensor.distinct"] > seen):
        raise ValueError("a tensor has more distinct values than were seen")
