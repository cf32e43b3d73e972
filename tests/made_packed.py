# SPDX-License-Identifier: Apache-2.0
"""Packs models as GPTQ and AWQ tools do, value by value, so that tests know the truth.

The packers are written as plain loops over words, unlike the reader.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifact_world.weights import file_of
from made_models import Weights

Stored = dict[str, NDArray[Any]]
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_NAMES = {"<i4": "I32", "<f2": "F16", "<f4": "F32", "<i8": "I64"}


def stored_file(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """One safetensors file of arrays of several types."""
    header: dict[str, object] = {}
    data = b""
    for name, values in tensors.items():
        raw = np.ascontiguousarray(values).tobytes()
        header[name] = {
            "dtype": _NAMES[values.dtype.str],
            "shape": list(values.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    return file_of(header, data)


def write_packed(
    folder: Path, tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, object]
) -> Path:
    """Write a model with its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(stored_file(tensors))
    config = {"model_type": "llama", "quantization_config": dict(settings)}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def lattice(
    weight: NDArray[Any], group: NDArray[Any], bits: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Numbers (out, in), zeros and scales (groups, out), and their exact values."""
    out, columns = weight.shape
    groups, top = int(group.max()) + 1, (1 << bits) - 1
    numbers = np.zeros((out, columns), np.int64)
    zeros = np.zeros((groups, out), np.int64)
    scales = np.zeros((groups, out), np.float16)
    for index in range(groups):
        mine = weight[:, group == index]
        low, high = np.minimum(mine.min(axis=1), 0), np.maximum(mine.max(axis=1), 0)
        scale = np.maximum((high - low) / top, 1e-6).astype(np.float16)
        wide = scale.astype(np.float32)
        zero = np.clip(np.rint(-low / wide), 1, top).astype(np.int64)
        numbers[:, group == index] = np.clip(
            np.rint(mine / wide[:, None]) + zero[:, None], 0, top
        )
        zeros[index], scales[index] = zero, scale
    exact = (numbers - zeros[group].T) * scales[group].T.astype(np.float32)
    return numbers, zeros, scales, exact.astype(np.float32)


def pack(
    values: NDArray[Any], bits: int, order: tuple[int, ...] | None = None
) -> NDArray[Any]:
    """Whole numbers (n, m) to words (n, m * bits / 32), along the last axis."""
    if bits == 3:
        return _pack3(values)
    per = 32 // bits
    places = order or tuple(range(per))
    words = np.zeros((values.shape[0], values.shape[1] // per), np.uint32)
    for word in range(words.shape[1]):
        for place, which in enumerate(places):
            piece = values[:, word * per + which].astype(np.uint32)
            words[:, word] |= piece << np.uint32(place * bits)
    return words.view(np.int32)


def _pack3(values: NDArray[Any]) -> NDArray[Any]:
    """One long whole number for each line, the first value lowest, cut into words."""
    lines = []
    for line in values:
        whole = sum((int(value) & 7) << 3 * at for at, value in enumerate(line))
        lines.append(whole.to_bytes(len(line) * 3 // 8, "little"))
    return np.frombuffer(b"".join(lines), "<i4").reshape(len(values), -1)


SPLIT = {3: (2, 1), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1)}
"""Bits that lie together in the format ``gptq_p``, the lowest first."""


def pack_split(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Whole numbers (n, m) to words (n, m * bits / 32), 32 numbers at a time."""
    parts = []
    for at in range(0, values.shape[1], 32):
        left = values[:, at : at + 32]
        for width in SPLIT[bits]:
            parts.append(pack(left % (1 << width), width))
            left = left >> width
    return np.concatenate(parts, axis=1)


def _is_packed(name: str, values: NDArray[Any]) -> bool:
    return values.ndim == 2 and "layers" in name


def gptq(
    weights: Weights,
    *,
    bits: int = 4,
    group_size: int = 16,
    order: str = "none",
    version: int = 1,
    split: bool = False,
) -> tuple[Stored, Weights]:
    """Stored tensors and exact values; ``order`` is none, plain or act.

    ``split`` is the format ``gptq_p``, which stores zeros as ``version`` 2 does.
    """
    words = pack_split if split else pack
    random = np.random.default_rng(5)
    tensors: Stored = {}
    exact: Weights = {}
    for name, values in weights.items():
        if not _is_packed(name, values):
            tensors[name] = exact[name] = values.astype("<f4")
            continue
        stem = name.removesuffix(".weight")
        columns = values.shape[1]
        size = columns if group_size == -1 else group_size
        group = np.arange(columns) // size
        if order == "act":
            group = random.permutation(group)
        numbers, zeros, scales, exact[name] = lattice(values, group, bits)
        tensors[stem + ".qweight"] = words(numbers, bits).T.astype("<i4")
        tensors[stem + ".qzeros"] = words(zeros - (version == 1 and not split), bits)
        tensors[stem + ".scales"] = scales.astype("<f2")
        if order != "none":
            tensors[stem + ".g_idx"] = group.astype("<i4")
    return tensors, exact


def awq(weights: Weights, *, group_size: int = 16) -> tuple[Stored, Weights]:
    """Stored tensors and exact values of the GEMM version."""
    tensors: Stored = {}
    exact: Weights = {}
    for name, values in weights.items():
        if not _is_packed(name, values):
            tensors[name] = exact[name] = values.astype("<f4")
            continue
        stem = name.removesuffix(".weight")
        group = np.arange(values.shape[1]) // group_size
        numbers, zeros, scales, exact[name] = lattice(values, group, 4)
        tensors[stem + ".qweight"] = pack(numbers.T, 4, AWQ_ORDER)
        tensors[stem + ".qzeros"] = pack(zeros, 4, AWQ_ORDER)
        tensors[stem + ".scales"] = scales.astype("<f2")
    return tensors, exact


def with_scales_folded(weights: Weights, spread: float = 0.4) -> Weights:
    """Columns made larger and norms smaller by the same, as AWQ tools do."""
    random = np.random.default_rng(3)
    readers = {
        "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
    }
    folded = dict(weights)
    for name, norm in weights.items():
        layer, found, part = name.removesuffix(".weight").rpartition(".")
        if not found or part not in readers:
            continue
        scale = np.exp(random.normal(0, spread, norm.size)).astype(np.float32)
        folded[name] = norm / scale
        for reader in readers[part]:
            inputs = f"{layer}.{reader}.weight"
            folded[inputs] = weights[inputs] * scale
    return folded
