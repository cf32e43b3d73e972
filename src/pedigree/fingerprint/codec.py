# SPDX-License-Identifier: Apache-2.0
"""The stored form of a fingerprint: one safetensors file, one encoding per value.

``decode(encode(f)) == f``, and ``decode`` refuses every byte string that is not
``encode`` of something: there is no second way to write a fingerprint, so its digest
names it.  A stored fingerprint can be hostile too; it is bounded before it is parsed.
The format is described in ``docs/format.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError, quote
from pedigree.fingerprint import codec_v1
from pedigree.fingerprint.arrayfile import pack, unpack
from pedigree.fingerprint.checks import (
    checked_architecture,
    checked_reason,
    checked_shape,
)
from pedigree.fingerprint.model import Fingerprint, Shape, TensorRecord
from pedigree.fingerprint.parts import check_parts, largest
from pedigree.fingerprint.records import RECORD_ARRAYS, from_columns, to_columns
from pedigree.fingerprint.spec import (
    BLOCKS_MAX,
    SPEC_V1,
    V2,
    FingerprintSpec,
    Profile,
)

STORED_MAX_BYTES = 256_000_000
"""A deep fingerprint of the largest models has 60 MB."""
_NOTE = re.compile(r"[ -~]{1,200}")
NOTES_MAX = 32
_SIZES = ("layers", "width", "neurons", "vocabulary", "parameters")
_EXPONENT = np.uint16(0x7F80)
_OWN = frozenset({"blocks", "layers", *RECORD_ARRAYS})


def encode(fingerprint: Fingerprint) -> bytes:
    """Bytes of a fingerprint; equal fingerprints give equal bytes."""
    if fingerprint.settings.name == SPEC_V1:
        return codec_v1.encode(fingerprint)
    arrays = {
        **to_columns(fingerprint.tensors),
        "blocks": np.array(fingerprint.blocks, np.int32).reshape(-1, 2),
        "layers": np.array(fingerprint.layers, np.int32),
        **{name: array for name, array in fingerprint.parts.items() if array.size},
    }
    metadata = {
        "architecture": fingerprint.architecture,
        "notes": list(fingerprint.notes),
        "profile": fingerprint.profile.value,
        "reason": fingerprint.reason,
        "shape": {name: getattr(fingerprint.shape, name) for name in _SIZES},
        "spec": fingerprint.settings.to_dict(),
    }
    return pack(metadata, arrays)


def decode(data: bytes, *, path: str = "") -> Fingerprint:
    """Read a stored fingerprint of any version.

    Args:
        data: The whole file.
        path: Where it came from, for messages.

    Returns:
        The fingerprint; its arrays are read-only views of ``data``.

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
        metadata, arrays = unpack(data)
        spec = metadata["spec"]
        if spec == codec_v1.V1_SPEC:
            return codec_v1.from_parts(metadata, arrays)
        settings = _settings(spec)
        if settings is not None:
            return _from_parts(metadata, settings, arrays)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise _malformed(path, f"{type(error).__name__}: {error}") from error
    name = spec.get("name")
    other = "other parameters of " if name in (V2.name, SPEC_V1) else ""
    raise ArtifactError(
        f"fingerprint {quote(path)} follows {other}{quote(name, 80)}, understood are "
        f"{V2.name} and {SPEC_V1}",
        reason="UnsupportedFingerprint",
        hint="make it again with this version of `pedigree fingerprint`",
        path=path,
    )


def _malformed(path: str, why: str) -> ArtifactError:
    return ArtifactError(
        f"fingerprint {quote(path)} cannot be read: {why[:300]}",
        reason="MalformedFingerprint",
        hint="make it again with `pedigree fingerprint`",
        path=path,
    )


def _settings(stored: Any) -> FingerprintSpec | None:
    """The spec that was stored, if this is v2; only the seed may differ, by a salt."""
    wanted = V2.to_dict()
    seed, salted = stored.get("seed"), stored.get("salted")
    if stored | {"seed": V2.seed, "salted": 0} != wanted:
        return None
    if type(seed) is not int or type(salted) is not int or not 0 <= seed < 2**53:
        raise ValueError("its seed is not a number below 2**53")
    if salted not in (0, 1) or (salted == 0 and seed != V2.seed):
        raise ValueError("its seed is neither the public one nor a salted one")
    return FingerprintSpec(seed=seed, salted=salted)


def _from_parts(
    metadata: dict[str, Any],
    settings: FingerprintSpec,
    arrays: dict[str, NDArray[Any]],
) -> Fingerprint:
    if set(metadata) != {
        "architecture",
        "notes",
        "profile",
        "reason",
        "shape",
        "spec",
    }:
        raise ValueError("it has other facts than a fingerprint has")
    profile = Profile(metadata["profile"])
    shape = checked_shape(metadata["shape"], _SIZES)
    layers, blocks = _axes(arrays, shape)
    parts = {name: array for name, array in arrays.items() if name not in _OWN}
    check_parts(parts, profile, largest(settings, shape, len(layers), len(blocks)))
    records = from_columns(arrays)
    if profile is not Profile.DEEP and "tensor.full" in arrays:
        raise ValueError("only a deep fingerprint has full digests")
    _check_indices(parts, len(records), shape.vocabulary)
    _check_values(parts, records)
    return Fingerprint(
        settings=settings,
        profile=profile,
        architecture=checked_architecture(metadata["architecture"]),
        reason=checked_reason(metadata["reason"]),
        shape=shape,
        tensors=records,
        layers=layers,
        blocks=blocks,
        parts=parts,
        notes=_notes(metadata["notes"]),
    )


def _notes(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > NOTES_MAX:
        raise ValueError("its notes are not a short list")
    if not all(isinstance(note, str) and _NOTE.fullmatch(note) for note in value):
        raise ValueError("a note is not a line of plain text")
    return tuple(value)


def _axes(
    arrays: Mapping[str, NDArray[Any]], shape: Shape
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    layers, blocks = arrays["layers"], arrays["blocks"]
    for array, rank in ((layers, 1), (blocks, 2)):
        if array.dtype != np.int32 or array.ndim != rank:
            raise ValueError("its layers or blocks have another type")
    if len(layers) > shape.layers or len(blocks) > BLOCKS_MAX or blocks.shape[1] != 2:
        raise ValueError(f"it has {len(layers)} layers and {len(blocks)} blocks")
    by_layer = tuple(layers.tolist())
    by_block = tuple((int(a), int(b)) for a, b in blocks.tolist())
    if list(by_layer) != sorted(set(by_layer)):
        raise ValueError("its layers are not ascending")
    if list(by_block) != sorted(set(by_block)):
        raise ValueError("its blocks are not ascending")
    return by_layer, by_block


def _check_values(
    parts: Mapping[str, NDArray[Any]], records: tuple[TensorRecord, ...]
) -> None:
    """Single weights are finite, and of matrices that have as many."""
    for name in ("raw", "fossil.index", "fossil.head"):
        bits = parts.get(name, np.zeros(0, np.uint16))
        if np.any((bits & _EXPONENT) == _EXPONENT):
            raise ValueError(f"part {name} holds a value that is not finite")
    side = parts["raw"].shape[1] if "raw" in parts else 0
    for at in parts.get("raw.record", np.zeros(0, np.int32)).tolist():
        shape = records[at].shape
        if len(shape) != 2 or min(shape) < side:
            raise ValueError(f"part raw holds {side} x {side} values of shape {shape}")


def _check_indices(
    parts: Mapping[str, NDArray[Any]], records: int, vocabulary: int
) -> None:
    """Arrays that point into others point at something."""
    for name, size in (
        ("raw.record", records),
        ("anchor.index", vocabulary),
        ("fossil.rows", vocabulary),
    ):
        found = parts.get(name)
        if found is not None and not 0 <= int(found.min()) <= int(found.max()) < size:
            raise ValueError(f"part {name} points outside")
    table = parts.get("table.block", np.zeros((0, 4), np.int32))
    ends = table[:, 3].tolist()
    if table[:, 2].tolist() != [0, *ends][: len(ends)] or ends != sorted(ends):
        raise ValueError("its tables are not one after the other")
    tables = [n for n in parts if n.startswith(("table.", "tablei."))]
    rows = {len(parts[name]) for name in tables if name != "table.block"}
    if rows - set(ends[-1:]):
        raise ValueError("its tables have other rows than they say")
