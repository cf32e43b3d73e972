# SPDX-License-Identifier: Apache-2.0
"""One model in every storage that is read, each written as its own tools write it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np

import made_few_bits
import made_fp4
import made_gguf
import made_models as made
import made_packed
import made_torch
from artifact_world.weights import file_of
from made_models import Weights
from made_packed_float import packed_words, stored
from made_quants import NUMBERS, quantise

HEADS, KV_HEADS = 8, 4
NF4 = np.array(
    [
        -1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0,
        0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0,
    ],
    np.float32,
)  # fmt: skip
"""Quantiles of a normal distribution, as QLoRA's type has them, to four digits."""


def _sharded(folder: Path, weights: Weights) -> None:
    made.write(folder, weights, shards=3)


def _gptq(bits: int) -> Callable[[Path, Weights], None]:
    def write(folder: Path, weights: Weights) -> None:
        tensors, _ = made_packed.gptq(weights, group_size=128, bits=bits, order="act")
        settings = {"quant_method": "gptq", "bits": bits, "group_size": 128}
        made_packed.write_packed(folder, tensors, {**settings, "desc_act": True})

    return write


def _awq(folder: Path, weights: Weights) -> None:
    tensors, _ = made_packed.awq(weights, group_size=128)
    settings = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}
    made_packed.write_packed(folder, tensors, settings)


def _write(folder: Path, parts: dict[str, tuple[str, tuple[int, ...], bytes]]) -> None:
    header, data = {}, b""
    for name, (dtype, shape, raw) in parts.items():
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": place}
        data += raw
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(file_of(header, data))


def _is_layer(name: str, values: np.ndarray) -> bool:
    return values.ndim == 2 and "layers" in name


def _nf4(folder: Path, weights: Weights) -> None:
    parts = {}
    for name, values in weights.items():
        if not _is_layer(name, values):
            parts[name] = stored(values.astype(ml_dtypes.bfloat16))
            continue
        blocks = values.reshape(-1, 64)
        most = np.abs(blocks).max(axis=1).astype(np.float32)
        shares = blocks / most[:, None]
        codes = np.abs(shares[..., None] - NF4).argmin(axis=-1).astype(np.uint8)
        pairs = codes.reshape(-1, 2)
        state = {
            "quant_type": "nf4",
            "blocksize": 64,
            "dtype": "bfloat16",
            "shape": list(values.shape),
        }
        text = json.dumps(state).encode()
        parts[name] = stored((pairs[:, :1] << 4) | pairs[:, 1:])
        parts[f"{name}.absmax"] = stored(most)
        parts[f"{name}.quant_map"] = stored(NF4)
        parts[f"{name}.quant_state.bitsandbytes__nf4"] = ("U8", (len(text),), text)
    _write(folder, parts)


def _fp8(folder: Path, weights: Weights) -> None:
    parts = {}
    for name, values in weights.items():
        if not _is_layer(name, values):
            parts[name] = stored(values.astype(ml_dtypes.bfloat16))
            continue
        rows, columns = values.shape
        tiles = values.reshape(rows // 128, 128, columns // 128, 128)
        scale = (np.abs(tiles).max(axis=(1, 3)) / 448).astype(np.float32)
        codes = (tiles / scale[:, None, :, None]).reshape(values.shape)
        parts[name] = stored(codes.astype(ml_dtypes.float8_e4m3fn))
        parts[f"{name}_scale_inv"] = stored(scale)
    _write(folder, parts)
    config = {"quantization_config": {"quant_method": "fp8"}}
    (folder / "config.json").write_text(json.dumps(config))


def _mxfp4(folder: Path, weights: Weights) -> None:
    parts = {}
    for name, values in weights.items():
        if not _is_layer(name, values):
            parts[name] = stored(values.astype(ml_dtypes.bfloat16))
            continue
        codes, powers = made_fp4.mx(values)
        parts[f"{name}_packed"] = stored(
            made_fp4.neighbours(codes.reshape(values.shape))
        )
        parts[f"{name}_scale"] = stored(powers)
    _write(folder, parts)


def _nvfp4(folder: Path, weights: Weights) -> None:
    parts = {}
    for name, values in weights.items():
        if not _is_layer(name, values):
            parts[name] = stored(values.astype(ml_dtypes.bfloat16))
            continue
        codes, scales, one = made_fp4.nv(values)
        parts[f"{name}_packed"] = stored(made_fp4.neighbours(codes))
        parts[f"{name}_scale"] = stored(scales.astype(ml_dtypes.float8_e4m3fn))
        parts[f"{name}_global_scale"] = stored(one)
    _write(folder, parts)


def _int4(folder: Path, weights: Weights) -> None:
    """As compressed-tensors stores ``W4A16``: groups up to 128, no zero points."""
    parts = {}
    for name, values in weights.items():
        if not _is_layer(name, values):
            parts[name] = stored(values.astype(ml_dtypes.bfloat16))
            continue
        size = math.gcd(128, values.shape[1])
        groups = values.reshape(len(values), -1, size)
        most = np.abs(groups).max(axis=2)
        scale = (most / 7.5).astype(ml_dtypes.bfloat16)
        steps = groups / scale.astype(np.float32)[..., None]
        codes = np.rint(steps).clip(-8, 7).astype(np.int64).reshape(values.shape)
        parts[f"{name}_packed"] = stored(packed_words(codes, 4))
        parts[f"{name}_scale"] = stored(scale)
        parts[f"{name}_shape"] = stored(np.array(values.shape, np.int64))
    _write(folder, parts)


def _zip(folder: Path, weights: Weights) -> None:
    made_torch.write(folder, made_torch.contiguous(weights))


def _gguf_data(values: np.ndarray, kind: str) -> tuple[int, bytes]:
    if values.ndim == 1:
        return 0, values.astype("<f4").tobytes()
    if kind == "F16":
        return 1, values.astype("<f2").tobytes()
    if kind in made_few_bits.NUMBERS:
        return made_few_bits.NUMBERS[kind], made_few_bits.packed(values, kind)[
            0
        ].tobytes()
    return NUMBERS[kind], quantise(values, kind)


def _gguf(kind: str, rest: str = "") -> Callable[[Path, Weights], None]:
    def write(folder: Path, weights: Weights) -> None:
        entries, data = [], b""
        for name, values in made_gguf.converted(weights, HEADS, KV_HEADS).items():
            its = kind if not rest or name.startswith("blk.") else rest
            number, raw = _gguf_data(values, its)
            dims = list(values.shape[::-1])
            entries.append(made_gguf.entry(name, dims, number, len(data)))
            data += raw + bytes(-len(raw) % 32)
        keys = made_gguf.llama_keys(HEADS, KV_HEADS)
        pairs = [made_gguf.pair(*item) for item in keys.items()]
        folder.mkdir(parents=True, exist_ok=True)
        whole = made_gguf.file_of(pairs, entries, data)
        (folder / f"model-{kind}.gguf").write_bytes(whole)

    return write


def _plain(dtype: str) -> Callable[[Path, Weights], None]:
    def write(folder: Path, weights: Weights) -> None:
        made.write(folder, weights, dtype=dtype)

    return write


PLAIN = {
    "bf16": _plain("BF16"),
    "f16": _plain("F16"),
    "f32": _plain("F32"),
    "sharded": _sharded,
    "zip": _zip,
    "gguf-f16": _gguf("F16"),
}
"""Storages that keep every value of a bfloat16 model."""
QUANTISED = {
    "gguf-q8_0": _gguf("Q8_0"),
    "gguf-q4_0": _gguf("Q4_0"),
    "gguf-q4_k": _gguf("Q4_K"),
    "gptq": _gptq(4),
    "awq": _awq,
    "gguf-iq4_nl": _gguf("IQ4_NL"),
    "gguf-mxfp4": _gguf("MXFP4"),
    "nf4": _nf4,
    "fp8": _fp8,
    "mxfp4": _mxfp4,
    "nvfp4": _nvfp4,
    "int4": _int4,
}
"""Storages that round."""
FEW_BITS = {
    "gguf-iq3_s": _gguf("IQ3_S", "Q4_K"),
    "gguf-iq2_xs": _gguf("IQ2_XS", "Q4_K"),
    "gguf-iq1_s": _gguf("IQ1_S", "Q4_K"),
    "gptq-3": _gptq(3),
    "gptq-2": _gptq(2),
}
"""Storages that round layers to less than four bits, and embeddings to four."""
