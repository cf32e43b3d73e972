# SPDX-License-Identifier: Apache-2.0
"""One model in every storage that is read, each written as its own tools write it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np

import made_models as made
import made_packed
import made_torch
from artifact_world.weights import file_of
from made_models import Weights
from made_packed_float import stored
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


def _gptq(folder: Path, weights: Weights) -> None:
    tensors, _ = made_packed.gptq(weights, group_size=128, order="act")
    settings = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True}
    made_packed.write_packed(folder, tensors, settings)


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


def _zip(folder: Path, weights: Weights) -> None:
    made_torch.write(folder, made_torch.contiguous(weights))


_GGUF_NAMES = {
    "embed_tokens": "token_embd",
    "lm_head": "output",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def _gguf_name(name: str) -> str:
    stem = name.removesuffix(".weight")
    layer = stem.split(".")[2] if "layers" in stem else ""
    for theirs, ours in _GGUF_NAMES.items():
        if stem.endswith(theirs):
            return f"blk.{layer}.{ours}.weight" if layer else f"{ours}.weight"
    raise KeyError(name)


def _interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q and k as llama.cpp's converter orders them: halves become pairs."""
    rows, columns = values.shape
    halves = values.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(values.shape)


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _gguf_data(values: np.ndarray, kind: str) -> tuple[int, bytes]:
    if values.ndim == 1:
        return 0, values.astype("<f4").tobytes()
    if kind == "F16":
        return 1, values.astype("<f2").tobytes()
    return NUMBERS[kind], quantise(values, kind)


def _gguf(kind: str) -> Callable[[Path, Weights], None]:
    def write(folder: Path, weights: Weights) -> None:
        layers = sum("input_layernorm" in name for name in weights)
        numbers = {
            "llama.block_count": layers,
            "llama.attention.head_count": HEADS,
            "llama.attention.head_count_kv": KV_HEADS,
        }
        keys = _text("general.architecture") + struct.pack("<I", 8) + _text("llama")
        for key, number in numbers.items():
            keys += _text(key) + struct.pack("<II", 4, number)
        infos, data = b"", b""
        for name, values in weights.items():
            if "q_proj" in name or "k_proj" in name:
                values = _interleaved(values, HEADS if "q_proj" in name else KV_HEADS)
            number, raw = _gguf_data(values, kind)
            dims = values.shape[::-1]
            infos += _text(_gguf_name(name)) + struct.pack("<I", len(dims))
            infos += struct.pack(f"<{len(dims)}QIQ", *dims, number, len(data))
            data += raw + bytes(-len(raw) % 32)
        head = struct.pack("<4sIQQ", b"GGUF", 3, len(weights), 1 + len(numbers))
        head += keys + infos
        folder.mkdir(parents=True, exist_ok=True)
        whole = head + bytes(-len(head) % 32) + data
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
    "gptq": _gptq,
    "awq": _awq,
    "nf4": _nf4,
    "fp8": _fp8,
}
"""Storages that round."""
