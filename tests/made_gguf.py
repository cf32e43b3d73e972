# SPDX-License-Identifier: Apache-2.0
"""GGUF files byte by byte, and safetensors weights under GGUF's names and order."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from made_models import _STORE, Weights

KINDS = {"F32": 0, "F16": 1, "BF16": 30}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
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


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, value: object) -> bytes:
    """A key with a value: text, truth, number, or list of texts or of numbers."""
    if isinstance(value, bool):
        return text(key) + struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", 4, value)
    if isinstance(value, float):
        return text(key) + struct.pack("<If", 6, value)
    if isinstance(value, list) and value and isinstance(value[0], int):
        numbers = struct.pack(f"<{len(value)}I", *value)
        return text(key) + struct.pack("<IIQ", 9, 4, len(value)) + numbers
    if isinstance(value, list):
        head = struct.pack("<IIQ", 9, 8, len(value))
        return text(key) + head + b"".join(map(text, value))
    return text(key) + struct.pack("<I", 8) + text(str(value))


def entry(name: str, dims: list[int], kind: int, offset: int) -> bytes:
    packed = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return text(name) + packed + struct.pack("<IQ", kind, offset)


def file_of(
    pairs: list[bytes], entries: list[bytes], data: bytes = b"", *, version: int = 3
) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(entries), len(pairs))
    head += b"".join(pairs) + b"".join(entries)
    return head + b"\0" * (-len(head) % 32) + data


def file_bytes(
    weights: Mapping[str, NDArray[np.float32]],
    keys: Mapping[str, object],
    dtype: str = "F32",
) -> bytes:
    """A right file, tensors in the order given."""
    entries, data = [], b""
    for name, values in weights.items():
        entries.append(entry(name, list(values.shape[::-1]), KINDS[dtype], len(data)))
        data += _STORE[dtype](values)
        data += b"\0" * (-len(data) % 32)
    return file_of([pair(*item) for item in keys.items()], entries, data)


def llama_keys(heads: int = 4, kv_heads: int = 2, layers: int = 2) -> dict[str, object]:
    return {
        "general.architecture": "llama",
        "general.name": "made",
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
        "llama.block_count": layers,
        "tokenizer.ggml.tokens": ["a", "b", "c"],
    }


def converted(weights: Weights, heads: int = 4, kv_heads: int = 2) -> Weights:
    """Weights as a converter names and orders them."""
    found: Weights = {}
    for name, values in weights.items():
        stem, _, part = name.rpartition(".")
        if stem.startswith("model.layers."):
            layer, _, inner = stem.removeprefix("model.layers.").partition(".")
            new = f"blk.{layer}.{NAMES[inner]}.{part}"
            if inner in ("self_attn.q_proj", "self_attn.k_proj"):
                count = heads if inner.endswith("q_proj") else kv_heads
                values = pairs_of_halves(values, count)
        else:
            new = f"{NAMES[stem]}.{part}"
        found[new] = values
    return found


def pairs_of_halves(values: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    split = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return split.swapaxes(1, 2).reshape(values.shape)


def write(
    folder: Path,
    weights: Weights,
    *,
    dtype: str = "F32",
    heads: int = 4,
    kv_heads: int = 2,
    name: str = "model.gguf",
) -> Path:
    """A Llama converted into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = file_bytes(
        converted(weights, heads, kv_heads), llama_keys(heads, kv_heads), dtype
    )
    (folder / name).write_bytes(made)
    return folder
