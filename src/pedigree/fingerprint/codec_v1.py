# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of version 1: still read and written, no longer made.

Version 1 knew one profile and no ranged reads.  Its arrays become parts whose names
begin with ``v1.``; see the appendix of ``docs/format.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.arrayfile import dtype_name, pack
from pedigree.fingerprint.checks import (
    checked_architecture,
    checked_reason,
    checked_shape,
)
from pedigree.fingerprint.model import NO_DIGEST, Fingerprint, Shape, TensorRecord
from pedigree.fingerprint.records import WEIGHTS_MAX
from pedigree.fingerprint.roles import Part, Role, Slot
from pedigree.fingerprint.spec import (
    BLOCKS_MAX,
    SPEC_V1,
    FingerprintSpec,
    Profile,
)

_TOKENS = 128
V1 = FingerprintSpec(name=SPEC_V1, neurons=64, channels=64, sketch=32)
"""What of version 1 the fields of version 2 can say."""
V1_SPEC: Mapping[str, int | str] = {
    "name": SPEC_V1,
    "seed": V1.seed,
    "neurons": V1.neurons,
    "channels": V1.channels,
    "sketch": V1.sketch,
    "tokens": _TOKENS,
    "norm_channels": V1.norm_channels,
    "experts": V1.experts,
}
"""As stored; there was never another."""
_SKETCHES = ("channels", "embedding", "head", "neurons", "norm_final", "norms")
_COLUMNS: Mapping[str, str] = {
    "tensor.role": "U8",
    "tensor.layer": "I32",
    "tensor.expert": "I32",
    "tensor.part": "U8",
    "tensor.size": "I64",
    "tensor.zeros": "I64",
    "tensor.distinct": "I32",
}
_DTYPES: Mapping[str, str] = {
    **dict.fromkeys(_SKETCHES, "I8"),
    **_COLUMNS,
    "blocks": "I32",
    "layers": "I32",
    "tensor.digest": "U8",
}
_SIZES = ("layers", "width", "neurons", "vocabulary")


def encode(fingerprint: Fingerprint) -> bytes:
    """The bytes that version 1 wrote."""
    metadata = {
        "architecture": fingerprint.architecture,
        "reason": fingerprint.reason,
        "shape": {name: getattr(fingerprint.shape, name) for name in _SIZES},
        "spec": dict(V1_SPEC),
    }
    return pack(metadata, _to_arrays(fingerprint))


def _to_arrays(fingerprint: Fingerprint) -> dict[str, NDArray[Any]]:
    records = fingerprint.tensors
    digests = b"".join(record.full_digest for record in records)
    return {
        **{name: fingerprint.parts[f"v1.{name}"] for name in _SKETCHES},
        "blocks": np.array(fingerprint.blocks, np.int32).reshape(-1, 2),
        "layers": np.array(fingerprint.layers, np.int32),
        "tensor.digest": np.frombuffer(digests, np.uint8).reshape(-1, len(NO_DIGEST)),
        "tensor.distinct": np.array([r.distinct for r in records], np.int32),
        "tensor.expert": np.array([r.slot.expert for r in records], np.int32),
        "tensor.layer": np.array([r.slot.layer for r in records], np.int32),
        "tensor.part": np.array([r.slot.part for r in records], np.uint8),
        "tensor.role": np.array([r.slot.role for r in records], np.uint8),
        "tensor.size": np.array([r.size for r in records], np.int64),
        "tensor.zeros": np.array([r.zeros for r in records], np.int64),
    }


def from_parts(
    metadata: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> Fingerprint:
    """A fingerprint of what the file holds.

    Raises:
        ValueError, KeyError, TypeError: It is not one of version 1.
    """
    if set(metadata) != {"architecture", "reason", "shape", "spec"}:
        raise ValueError("it has other facts than a fingerprint has")
    if {name: dtype_name(array) for name, array in arrays.items()} != _DTYPES:
        raise ValueError("it has other arrays than a fingerprint has")
    shape = checked_shape(metadata["shape"], _SIZES)
    layers = tuple(arrays["layers"].tolist())
    blocks = tuple((int(a), int(b)) for a, b in arrays["blocks"].tolist())
    _check_shapes(arrays, shape, layers, blocks)
    return Fingerprint(
        settings=V1,
        profile=Profile.DEEP,
        architecture=checked_architecture(metadata["architecture"]),
        reason=checked_reason(metadata["reason"]),
        shape=shape,
        tensors=_records(arrays),
        layers=layers,
        blocks=blocks,
        parts={f"v1.{name}": arrays[name] for name in _SKETCHES},
    )


def _records(arrays: Mapping[str, NDArray[Any]]) -> tuple[TensorRecord, ...]:
    columns = [arrays[name].tolist() for name in _COLUMNS]
    digests = [bytes(row) for row in arrays["tensor.digest"]]
    records = tuple(
        TensorRecord(
            slot=Slot(Role(role), layer, expert, Part(part)),
            shape=(size,),
            sample_digest=NO_DIGEST,
            full_digest=digest,
            seen=size,
            zeros=zeros,
            distinct=distinct,
        )
        for digest, role, layer, expert, part, size, zeros, distinct in zip(
            digests, *columns, strict=True
        )
    )
    keys = [(record.slot, record.full_digest) for record in records]
    if keys != sorted(keys):
        raise ValueError("its tensors are not sorted")
    if any(not 0 <= r.zeros <= r.seen or r.distinct < 0 for r in records):
        raise ValueError("a tensor has impossible counts")
    if sum(record.size for record in records) > WEIGHTS_MAX:
        raise ValueError("it has more weights than can be counted exactly")
    return records


def _check_shapes(
    arrays: Mapping[str, NDArray[Any]],
    shape: Shape,
    layers: tuple[int, ...],
    blocks: tuple[tuple[int, int], ...],
) -> None:
    if len(layers) != shape.layers or len(blocks) > BLOCKS_MAX:
        raise ValueError(f"it has {len(layers)} layers and {len(blocks)} blocks")
    if list(layers) != sorted(set(layers)) or list(blocks) != sorted(set(blocks)):
        raise ValueError("its layers or blocks are not ascending")
    channels, tokens = min(V1.channels, shape.width), min(_TOKENS, shape.vocabulary)
    norm_channels, count = (
        min(V1.norm_channels, shape.width),
        len(arrays["tensor.role"]),
    )
    wanted: dict[str, tuple[tuple[int, ...], ...]] = {
        "neurons": ((len(blocks), V1.neurons, 3, V1.sketch),),
        "channels": ((len(layers), channels, 3, V1.sketch),),
        "embedding": ((channels, tokens),),
        "head": ((channels, tokens), (0, tokens)),
        "norms": ((len(layers), 2, norm_channels),),
        "norm_final": ((norm_channels,),),
        "layers": ((len(layers),),),
        "blocks": ((len(blocks), 2),),
        "tensor.digest": ((count, len(NO_DIGEST)),),
        **dict.fromkeys(_COLUMNS, ((count,),)),
    }
    for name, sizes in wanted.items():
        if arrays[name].shape not in sizes:
            raise ValueError(f"{name} has shape {arrays[name].shape}")
