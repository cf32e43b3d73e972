# SPDX-License-Identifier: Apache-2.0
"""The header of a safetensors file: strict, bounded, without input or output.

A file is ``u64`` little-endian N, then N bytes of JSON, then data.  The reference
reader accepts headers that two readers can understand differently (two equal keys,
white space before the object, unknown members).  A gate that understands such a file
otherwise than the server that loads it has compared the wrong weights, so everything
ambiguous is refused, each with its reason from :class:`HeaderReason`.

Source: format text and ``safetensors/src/tensor.rs`` of safetensors 0.8.0.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, NoReturn

from pedigree.errors import ArtifactError, quote
from pedigree.limits import Limits
from pedigree.tensors.dtypes import DTYPES
from pedigree.tensors.layout import Header, TensorInfo
from pedigree.tensors.strictjson import load

PREFIX_BYTES = 8
"""The length field before the JSON."""
_METADATA = "__metadata__"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FIELDS = frozenset({"dtype", "shape", "data_offsets"})
_COUNT_LIMIT = 2**63
"""More values than any reader can address."""
_VALUES_PER_TENSOR = 16
"""JSON values one tensor needs at most: its map, three members, shape, offsets."""


class HeaderReason(StrEnum):
    """Why a header is refused; stable tokens."""

    TRUNCATED_FILE = "TruncatedFile"
    """The file ends before its header or its data do."""
    HEADER_TOO_LARGE = "HeaderTooLarge"
    LIMIT_EXCEEDED = "LimitExceeded"
    """Too many tensors, dimensions, values, or nested too deeply."""
    MALFORMED_HEADER = "MalformedHeader"
    """Not one JSON object of integers and strings that starts at once."""
    MALFORMED_METADATA = "MalformedMetadata"
    """``__metadata__`` is not a map of strings to strings."""
    MALFORMED_NAME = "MalformedName"
    """A name is empty, too long, holds a control character or is not Unicode."""
    DUPLICATE_KEY = "DuplicateKey"
    UNKNOWN_FIELD = "UnknownField"
    MISSING_FIELD = "MissingField"
    UNKNOWN_DTYPE = "UnknownDtype"
    MALFORMED_SHAPE = "MalformedShape"
    SHAPE_OVERFLOW = "ShapeOverflow"
    MALFORMED_OFFSETS = "MalformedOffsets"
    SIZE_MISMATCH = "SizeMismatch"
    """Shape and dtype need another number of bytes than the offsets hold."""
    MISALIGNED_TENSOR = "MisalignedTensor"
    """A tensor of a sub-byte type ends inside a byte."""
    OVERLAPPING_TENSORS = "OverlappingTensors"
    HOLE_IN_DATA = "HoleInData"
    TRAILING_DATA = "TrailingData"


def header_length(prefix: bytes, *, path: str, file_size: int, limits: Limits) -> int:
    """Length of the JSON, from the first eight bytes of a file.

    Args:
        prefix: The first ``PREFIX_BYTES`` bytes, or all of a shorter file.
        path: File, for messages.
        file_size: Bytes.
        limits: Bounds.

    Returns:
        Bytes of JSON that follow the prefix.

    Raises:
        ArtifactError: ``TruncatedFile``, ``HeaderTooLarge`` or ``MalformedHeader``.
    """
    if len(prefix) < PREFIX_BYTES or file_size < PREFIX_BYTES:
        _refuse(
            HeaderReason.TRUNCATED_FILE,
            path,
            f"is {min(file_size, len(prefix))} bytes, wanted at least {PREFIX_BYTES}",
        )
    length = int.from_bytes(prefix[:PREFIX_BYTES], "little")
    if length > limits.header_max_bytes:
        _refuse(
            HeaderReason.HEADER_TOO_LARGE,
            path,
            f"has a header of {length} bytes, allowed are {limits.header_max_bytes}; "
            "it is not safetensors or was built to exhaust memory",
        )
    if length > file_size - PREFIX_BYTES:
        _refuse(
            HeaderReason.TRUNCATED_FILE,
            path,
            f"has a header of {length} bytes, but only {file_size - PREFIX_BYTES} "
            "bytes follow; it was cut off or is not safetensors",
        )
    if length < 2:
        _refuse(
            HeaderReason.MALFORMED_HEADER,
            path,
            f"has a header of {length} bytes, wanted at least '{{}}'",
        )
    return length


def parse_header(data: bytes, *, path: str, file_size: int, limits: Limits) -> Header:
    """Read and check a whole header.

    The tensors of an accepted header tile the data exactly: sorted by offset, each
    begins where the one before it ends, and the last ends where the file does.

    Args:
        data: Prefix and JSON: ``PREFIX_BYTES + header_length(...)`` bytes or more.
        path: File, for messages and for the tensors.
        file_size: Bytes of the whole file.
        limits: Bounds.

    Raises:
        ArtifactError: With a reason of :class:`HeaderReason`.
    """
    length = header_length(
        data[:PREFIX_BYTES], path=path, file_size=file_size, limits=limits
    )
    data_begin = PREFIX_BYTES + length
    text = bytes(data[PREFIX_BYTES:data_begin])
    if len(text) < length:
        _refuse(
            HeaderReason.TRUNCATED_FILE,
            path,
            f"gave {len(text)} bytes of its header, wanted {length}",
        )
    members = _members(text, path, limits)
    metadata = _metadata(members, path)
    if len(members) > limits.tensors_max:
        _refuse(
            HeaderReason.LIMIT_EXCEEDED,
            path,
            f"has {len(members)} tensors, allowed are {limits.tensors_max}",
        )
    tensors = tuple(
        sorted(
            (
                _tensor(name, member, path, data_begin, limits)
                for name, member in members.items()
            ),
            key=lambda info: (info.begin, info.end, info.name),
        )
    )
    _check_tiling(tensors, path, data_begin, file_size)
    return Header(tensors, metadata, data_begin)


def _refuse(reason: HeaderReason, path: str, got: str) -> NoReturn:
    raise ArtifactError(f"file {quote(path)} {got}", reason=reason, path=path)


def _members(text: bytes, path: str, limits: Limits) -> dict[str, Any]:
    # The format asks for '{' as first byte and for nothing but spaces as padding.
    body = text.rstrip(b" ")
    if body[:1] != b"{" or body[-1:] != b"}":
        _refuse(
            HeaderReason.MALFORMED_HEADER,
            path,
            f"has a header that starts with {text[:1]!r} and ends with "
            f"{body[-1:]!r}, wanted '{{' and '}}' then only spaces",
        )
    members = load(
        body,
        what="header",
        path=path,
        depth_max=8,
        values_max=_VALUES_PER_TENSOR * limits.tensors_max,
        floats=False,
        malformed=HeaderReason.MALFORMED_HEADER,
    )
    assert isinstance(members, dict)  # noqa: S101 - it starts with '{'
    return members


def _metadata(members: dict[str, Any], path: str) -> dict[str, str]:
    if _METADATA not in members:
        return {}
    metadata = members.pop(_METADATA)
    if not isinstance(metadata, dict):
        _refuse(
            HeaderReason.MALFORMED_METADATA,
            path,
            f"has {quote(metadata, 64)} as {_METADATA}, wanted a map of strings",
        )
    for key, value in metadata.items():
        if not isinstance(value, str):
            _refuse(
                HeaderReason.MALFORMED_METADATA,
                path,
                f"has {quote(value, 64)} as {_METADATA} {quote(key, 64)}, "
                "wanted a string",
            )
    return metadata


def _tensor(
    name: str, member: object, path: str, data_begin: int, limits: Limits
) -> TensorInfo:
    _check_name(name, path, limits)
    label = f"tensor {quote(name)} of file {quote(path)}"
    if not isinstance(member, dict):
        _reject(
            HeaderReason.MALFORMED_HEADER, path, label, f"is {quote(member, 64)}", "map"
        )
    for field in member:
        if field not in _FIELDS:
            _reject(
                HeaderReason.UNKNOWN_FIELD,
                path,
                label,
                f"has the field {quote(field)}",
                "only dtype, shape and data_offsets",
            )
    for field in sorted(_FIELDS):
        if field not in member:
            _reject(
                HeaderReason.MISSING_FIELD, path, label, f"has no {field}", "all three"
            )
    dtype = member["dtype"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        _reject(
            HeaderReason.UNKNOWN_DTYPE,
            path,
            label,
            f"has the dtype {quote(dtype, 64)}",
            f"one of {', '.join(DTYPES)}",
        )
    shape = _shape(member["shape"], path, label, limits)
    begin, end = _offsets(member["data_offsets"], path, label)
    info = TensorInfo(name, dtype, shape, path, data_begin + begin, data_begin + end)
    _check_size(info, label)
    return info


def _reject(
    reason: HeaderReason, path: str, label: str, got: str, wanted: str
) -> NoReturn:
    raise ArtifactError(f"{label} {got}, wanted {wanted}", reason=reason, path=path)


def _check_name(name: str, path: str, limits: Limits) -> None:
    if not name or len(name) > limits.tensor_name_max_chars:
        _refuse(
            HeaderReason.MALFORMED_NAME,
            path,
            f"has a tensor name of {len(name)} characters, "
            f"allowed are 1 to {limits.tensor_name_max_chars}",
        )
    if _CONTROL.search(name):
        _refuse(
            HeaderReason.MALFORMED_NAME,
            path,
            f"has the tensor name {quote(name)}, wanted no control characters",
        )


def _is_integers(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _shape(value: Any, path: str, label: str, limits: Limits) -> tuple[int, ...]:
    if not _is_integers(value):
        _reject(
            HeaderReason.MALFORMED_SHAPE,
            path,
            label,
            f"has the shape {quote(value, 64)}",
            "a list of integers >= 0",
        )
    if len(value) > limits.rank_max:
        _reject(
            HeaderReason.LIMIT_EXCEEDED,
            path,
            label,
            f"has {len(value)} dimensions",
            f"at most {limits.rank_max}",
        )
    # A zero must not excuse the other dimensions: readers multiply in some order and
    # overflow before they meet it.
    product = 1
    for dimension in value:
        product *= max(dimension, 1)
    if product >= _COUNT_LIMIT:
        _reject(
            HeaderReason.SHAPE_OVERFLOW,
            path,
            label,
            f"has the shape {quote(value, 96)}",
            "fewer than 2**63 values",
        )
    return tuple(value)


def _offsets(value: Any, path: str, label: str) -> tuple[int, int]:
    if not _is_integers(value) or len(value) != 2 or value[0] > value[1]:
        _reject(
            HeaderReason.MALFORMED_OFFSETS,
            path,
            label,
            f"has the data_offsets {quote(value, 64)}",
            "two integers, first <= second",
        )
    if value[1] >= _COUNT_LIMIT:
        _reject(
            HeaderReason.MALFORMED_OFFSETS,
            path,
            label,
            f"ends at byte {value[1]}",
            "less than 2**63",
        )
    return value[0], value[1]


def _check_size(info: TensorInfo, label: str) -> None:
    bits = info.count * DTYPES[info.dtype].bits
    if bits % 8:
        _reject(
            HeaderReason.MISALIGNED_TENSOR,
            info.path,
            label,
            f"has {bits} bits ({info.dtype}, shape {list(info.shape)})",
            "whole bytes",
        )
    if bits // 8 != info.nbytes:
        _reject(
            HeaderReason.SIZE_MISMATCH,
            info.path,
            label,
            f"has {info.nbytes} bytes between its offsets",
            f"{bits // 8} ({info.dtype}, shape {list(info.shape)})",
        )


def _check_tiling(
    tensors: tuple[TensorInfo, ...], path: str, data_begin: int, file_size: int
) -> None:
    at = data_begin
    for info in tensors:
        label = f"tensor {quote(info.name)} of file {quote(path)}"
        wanted = f"{at - data_begin}, where the one before it ends"
        got = f"begins at data byte {info.begin - data_begin}"
        if info.begin < at:
            _reject(HeaderReason.OVERLAPPING_TENSORS, path, label, got, wanted)
        if info.begin > at:
            _reject(HeaderReason.HOLE_IN_DATA, path, label, got, wanted)
        at = info.end
    if at > file_size:
        _refuse(
            HeaderReason.TRUNCATED_FILE,
            path,
            f"is {file_size} bytes, its tensors need {at}; it was cut off",
        )
    if at < file_size:
        _refuse(
            HeaderReason.TRAILING_DATA,
            path,
            f"has {file_size - at} bytes after its last tensor, wanted none",
        )
