# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters as GGUF, named, turned and ordered as the converter does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import made_gguf
from made_models import _STORE, Weights
from made_quants import NUMBERS, quantise

PREFIX = "base_model.model."
GPT2 = {
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_BLOCK = 32
"""Values of a block of Q8_0; shorter rows are stored as F16."""


def keys(arch: str = "llama") -> dict[str, object]:
    """What a converter says of an adapter; neither heads nor layers are among it."""
    return {
        "general.architecture": arch,
        "general.type": "adapter",
        "adapter.type": "lora",
        "general.name": "made",
        "adapter.lora.alpha": 8.0,
    }


def stated(heads: int, kv_heads: int) -> dict[str, object]:
    """Numbers of heads, as some programs write them."""
    return {
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
    }


def converted(tensors: Weights, heads: int, kv_heads: int) -> Weights:
    """Factors of a Llama's adapter in GGUF's names and order of rows."""
    found: Weights = {}
    for name, values in tensors.items():
        path, _, rest = name.removeprefix(PREFIX).partition(".lora_")
        layer, _, inner = path.removeprefix("model.layers.").partition(".")
        factor = rest[0].lower()
        if factor == "b" and inner in ("self_attn.q_proj", "self_attn.k_proj"):
            count = heads if inner.endswith("q_proj") else kv_heads
            values = made_gguf.pairs_of_halves(values, count)
        found[f"blk.{layer}.{made_gguf.NAMES[inner]}.weight.lora_{factor}"] = values
    return found


def converted_gpt2(tensors: Weights) -> Weights:
    """Factors of a GPT-2's adapter: each is the other's transpose."""
    found: Weights = {}
    for name, values in tensors.items():
        path, _, rest = name.removeprefix(PREFIX).partition(".lora_")
        layer, _, inner = path.rpartition("h.")[2].partition(".")
        factor = "b" if rest[0] == "A" else "a"
        found[f"blk.{layer}.{GPT2[inner]}.weight.lora_{factor}"] = values.T.copy()
    return found


def file_bytes(
    tensors: Weights, keys: Mapping[str, object], dtype: str = "F32"
) -> bytes:
    """A file of factors; of Q8_0 those whose rows are long enough."""
    entries, data = [], b""
    for name, values in sorted(tensors.items()):
        kind, raw = _stored(values, dtype)
        entries.append(made_gguf.entry(name, list(values.shape[::-1]), kind, len(data)))
        data += raw + bytes(-len(raw) % 32)
    return made_gguf.file_of(
        [made_gguf.pair(*item) for item in keys.items()], entries, data
    )


def _stored(values: NDArray[np.float32], dtype: str) -> tuple[int, bytes]:
    if dtype == "Q8_0" and values.shape[-1] % _BLOCK == 0:
        return NUMBERS[dtype], quantise(values, dtype)
    plain = "F16" if dtype == "Q8_0" else dtype
    return made_gguf.KINDS[plain], _STORE[plain](values)


def write(
    folder: Path,
    tensors: Weights,
    keys: Mapping[str, object],
    dtype: str = "F32",
    name: str = "adapter.gguf",
) -> Path:
    """A file of factors that were converted, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(file_bytes(tensors, keys, dtype))
    return folder
