# SPDX-License-Identifier: Apache-2.0
"""The stored form of a fingerprint: one safetensors file, one encoding per value.

``decode(encode(f)) == f``, and ``decode`` refuses every byte string that is not
``encode`` of something: there is no second way to write a fingerprint, so its digest
names it.  A stored fingerprint can be hostile too; it is bounded before it is parsed.
The format is described in ``docs/format.md``.
"""

from __future__ import annotations

import json
import math
import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.digests import canonical_json
from pedigree.errors import ArtifactError, quote
from pedigree.fingerprint.canonical import DIGEST_BYTES
from pedigree.fingerprint.model import Fingerprint, Shape, TensorRecord
from pedigree.fingerprint.roles import UNKNOWN_REASONS, Part, Role, Slot
from pedigree.fingerprint.spec import (
    AXIS_MAX,
    BLOCKS_MAX,
    LAYERS_MAX,
    V1,
    VOCABULARY_MAX,
    FingerprintSpec,
)

_FAMILY = re.compile(r"[a-z0-9-]{0,32}")
STORED_MAX_BYTES = 64_000_000
"""A fingerprint with 200,000 tensors and 2,048 blocks has 25 MB."""
HEADER_MAX_BYTES = 1_000_000
_ARRAYS = (
    ("blocks", "I32"),
    ("channels", "I8"),
    ("embedding", "I8"),
    ("head", "I8"),
    ("layers", "I32"),
    ("neurons", "I8"),
    ("norm_final", "I8"),
    ("norms", "I8"),
    ("tensor.digest", "U8"),
    ("tensor.distinct", "I32"),
    ("tensor.expert", "I32"),
    ("tensor.layer", "I32"),
    ("tensor.part", "U8"),
    ("tensor.role", "U8"),
    ("tensor.size", "I64"),
    ("tensor.zeros", "I64"),
)
"""Name and storage type, in order of name."""
_NUMPY = {"I8": "<i1", "U8": "<u1", "I32": "<i4", "I64": "<i8"}


def encode(fingerprint: Fingerprint) -> bytes:
    """Bytes of a fingerprint; equal fingerprints give equal bytes."""
    arrays = _to_arrays(fingerprint)
    header: dict[str, Any] = {
        "__metadata__": {"pedigree": canonical_json(_to_metadata(fingerprint)).decode()}
    }
    offset = 0
    chunks = []
    for name, dtype in sorted(_ARRAYS, key=_place):
        data = np.ascontiguousarray(arrays[name], _NUMPY[dtype]).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(arrays[name].shape),
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    text = canonical_json(header)
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *chunks])


def _place(array: tuple[str, str]) -> tuple[int, str]:
    """Largest items first, so that each array begins at a multiple of its item size."""
    name, dtype = array
    return (-np.dtype(_NUMPY[dtype]).itemsize, name)


def decode(data: bytes, *, path: str = "") -> Fingerprint:
    """Read a stored fingerprint.

    Args:
        data: The whole file.
        path: Where it came from, for messages.

    Raises:
        ArtifactError: The bytes are not what :func:`encode` writes (reason
            ``MalformedFingerprint``), of another version
            (``UnsupportedFingerprint``), or too many (``LimitExceeded``).
    """
    if len(data) > STORED_MAX_BYTES:
        raise ArtifactError(
            f"fingerprint {quote(path)} is {len(data)} bytes, "
            f"allowed are {STORED_MAX_BYTES}",
            reason="LimitExceeded",
            path=path,
        )
    try:
        metadata, arrays = _unpack(data)
        _check_version(metadata, path)
        fingerprint = _from_parts(metadata, arrays)
        same = encode(fingerprint) == data
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise _malformed(path, f"{type(error).__name__}: {error}") from error
    if not same:
        raise _malformed(path, "it is not in the canonical form")
    return fingerprint


def _malformed(path: str, why: str) -> ArtifactError:
    return ArtifactError(
        f"fingerprint {quote(path)} cannot be read: {why[:300]}",
        reason="MalformedFingerprint",
        hint="make it again with `pedigree fingerprint`",
        path=path,
    )


def _check_version(metadata: dict[str, Any], path: str) -> None:
    spec = metadata["spec"]
    if spec != V1.to_dict():
        raise ArtifactError(
            f"fingerprint {quote(path)} follows {quote(spec)}, "
            f"understood is {V1.to_dict()}",
            reason="UnsupportedFingerprint",
            hint="make it again with this version of `pedigree fingerprint`",
            path=path,
        )


def _to_metadata(fingerprint: Fingerprint) -> dict[str, Any]:
    shape = fingerprint.shape
    return {
        "architecture": fingerprint.architecture,
        "reason": fingerprint.reason,
        "shape": {
            "layers": shape.layers,
            "width": shape.width,
            "neurons": shape.neurons,
            "vocabulary": shape.vocabulary,
        },
        "spec": fingerprint.settings.to_dict(),
    }


def _to_arrays(fingerprint: Fingerprint) -> dict[str, NDArray[Any]]:
    records = fingerprint.tensors
    digests = b"".join(record.digest for record in records)
    return {
        "blocks": np.array(fingerprint.blocks, np.int32).reshape(-1, 2),
        "channels": fingerprint.channels,
        "embedding": fingerprint.embedding,
        "head": fingerprint.head,
        "layers": np.array(fingerprint.layers, np.int32),
        "neurons": fingerprint.neurons,
        "norm_final": fingerprint.norm_final,
        "norms": fingerprint.norms,
        "tensor.digest": np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES),
        "tensor.distinct": np.array([r.distinct for r in records], np.int32),
        "tensor.expert": np.array([r.slot.expert for r in records], np.int32),
        "tensor.layer": np.array([r.slot.layer for r in records], np.int32),
        "tensor.part": np.array([r.slot.part for r in records], np.uint8),
        "tensor.role": np.array([r.slot.role for r in records], np.uint8),
        "tensor.size": np.array([r.size for r in records], np.int64),
        "tensor.zeros": np.array([r.zeros for r in records], np.int64),
    }


def _unpack(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Metadata and arrays; every range is checked against the data."""
    if len(data) < 8:
        raise ValueError(f"it has {len(data)} bytes")
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(HEADER_MAX_BYTES, len(data) - 8):
        raise ValueError(f"its header says {length} bytes")
    header = json.loads(data[8 : 8 + length])
    metadata = json.loads(header["__metadata__"]["pedigree"])
    body = memoryview(data)[8 + length :]
    arrays = {}
    for name, dtype in _ARRAYS:
        entry = header[name]
        begin, end = entry["data_offsets"]
        shape = tuple(int(size) for size in entry["shape"])
        item = np.dtype(_NUMPY[dtype])
        if entry["dtype"] != dtype or not 0 <= begin <= end <= len(body):
            raise ValueError(f"array {name} is misplaced")
        if min(shape, default=0) < 0 or math.prod(shape) * item.itemsize != end - begin:
            raise ValueError(f"array {name} has another size")
        arrays[name] = np.frombuffer(body[begin:end], item).reshape(shape)
    return metadata, arrays


def _from_parts(
    metadata: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> Fingerprint:
    spec = FingerprintSpec(**metadata["spec"])
    shape = Shape(**metadata["shape"])
    fingerprint = Fingerprint(
        settings=spec,
        architecture=_architecture(metadata["architecture"]),
        reason=_reason(metadata["reason"]),
        shape=shape,
        tensors=_records(arrays),
        layers=tuple(arrays["layers"].tolist()),
        blocks=tuple((int(a), int(b)) for a, b in arrays["blocks"]),
        neurons=arrays["neurons"],
        channels=arrays["channels"],
        embedding=arrays["embedding"],
        head=arrays["head"],
        norms=arrays["norms"],
        norm_final=arrays["norm_final"],
    )
    _check_shapes(fingerprint)
    return fingerprint


def _architecture(value: object) -> str:
    if not isinstance(value, str) or not _FAMILY.fullmatch(value):
        raise ValueError(f"architecture is {quote(value, 40)}")
    return value


def _reason(value: object) -> str:
    if value not in ("", *UNKNOWN_REASONS):
        raise ValueError(f"reason is {quote(value, 40)}")
    return str(value)


def _records(arrays: dict[str, NDArray[Any]]) -> tuple[TensorRecord, ...]:
    columns = [
        arrays[f"tensor.{name}"].tolist()
        for name in ("role", "layer", "expert", "part", "size", "zeros", "distinct")
    ]
    digests = [bytes(row) for row in arrays["tensor.digest"]]
    records = tuple(
        TensorRecord(
            Slot(Role(role), layer, expert, Part(part)), digest, size, zeros, distinct
        )
        for digest, role, layer, expert, part, size, zeros, distinct in zip(
            digests, *columns, strict=True
        )
    )
    keys = [(record.slot, record.digest) for record in records]
    if keys != sorted(keys):
        raise ValueError("its tensors are not sorted")
    if any(not 0 <= r.zeros <= r.size or r.distinct < 0 for r in records):
        raise ValueError("a tensor has impossible counts")
    if sum(record.size for record in records) > 2**53:
        raise ValueError("it has more weights than can be counted exactly")
    return records


def _check_shapes(fingerprint: Fingerprint) -> None:
    spec, shape = fingerprint.settings, fingerprint.shape
    layers, blocks = len(fingerprint.layers), len(fingerprint.blocks)
    if layers > LAYERS_MAX or blocks > BLOCKS_MAX or layers != shape.layers:
        raise ValueError(f"it has {layers} layers and {blocks} blocks")
    sizes = (shape.width, shape.neurons, shape.vocabulary)
    limits = (AXIS_MAX, AXIS_MAX, VOCABULARY_MAX)
    if any(not 0 <= size <= most for size, most in zip(sizes, limits, strict=True)):
        raise ValueError(f"it has the sizes {sizes}, allowed are {limits}")
    if list(fingerprint.layers) != sorted(set(fingerprint.layers)):
        raise ValueError("its layers are not ascending")
    if list(fingerprint.blocks) != sorted(set(fingerprint.blocks)):
        raise ValueError("its blocks are not ascending")
    channels = min(spec.channels, shape.width)
    norm_channels = min(spec.norm_channels, shape.width)
    tokens = min(spec.tokens, shape.vocabulary)
    wanted = {
        "neurons": (blocks, spec.neurons, 3, spec.sketch),
        "channels": (layers, channels, 3, spec.sketch),
        "embedding": (channels, tokens),
        "norms": (layers, 2, norm_channels),
        "norm_final": (norm_channels,),
    }
    for name, size in wanted.items():
        got = getattr(fingerprint, name).shape
        if got != size:
            raise ValueError(f"{name} has shape {got}, wanted {size}")
    if fingerprint.head.shape not in ((channels, tokens), (0, tokens)):
        raise ValueError(f"head has shape {fingerprint.head.shape}")
