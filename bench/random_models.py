# SPDX-License-Identifier: Apache-2.0
"""Llama-like bf16 models of any size with random weights, for speed alone."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_CHUNK = 8 << 20
"""Values made at once."""


@dataclass(frozen=True, slots=True)
class Size:
    """Sizes of a model.

    Attributes:
        width: Residual channels; a multiple of 64.
        layers: Blocks.
        neurons: Of each block.
        tokens: Rows of the embedding and of the head.
    """

    width: int
    layers: int
    neurons: int
    tokens: int

    @property
    def parameters(self) -> int:
        """Number of values."""
        return sum(rows * max(1, columns) for _, rows, columns in tensors_of(self))


HALF_BILLION = Size(width=1024, layers=34, neurons=2816, tokens=32_000)
"""0.467 billion parameters, 0.93 GB."""


def size_of(wanted_bytes: int) -> Size:
    """Sizes of a model of about so many bytes, shaped like real ones.

    Args:
        wanted_bytes: Of its weights, two for each value.
    """
    for width in (4096, 3072, 2048, 1536, 1024, 512, 256, 128, 64):
        neurons = width * 11 // 4 // 32 * 32
        tokens = min(32_000, 32 * width)
        layer = 2 * (width * width * 3 + 3 * width * neurons + 2 * width)
        layers = (wanted_bytes - 4 * tokens * width) // layer
        if layers >= width // 128 + 1 or width == 64:
            break
    return Size(width, max(1, int(layers)), neurons, tokens)


def tensors_of(size: Size) -> Iterator[tuple[str, int, int]]:
    """Name, rows and columns of every tensor; 0 columns for a vector."""
    d, n = size.width, size.neurons
    yield "model.embed_tokens.weight", size.tokens, d
    for layer in range(size.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", d, 0
        yield prefix + "post_attention_layernorm.weight", d, 0
        yield prefix + "self_attn.q_proj.weight", d, d
        yield prefix + "self_attn.k_proj.weight", d // 2, d
        yield prefix + "self_attn.v_proj.weight", d // 2, d
        yield prefix + "self_attn.o_proj.weight", d, d
        yield prefix + "mlp.gate_proj.weight", n, d
        yield prefix + "mlp.up_proj.weight", n, d
        yield prefix + "mlp.down_proj.weight", d, n
    yield "model.norm.weight", d, 0
    yield "lm_head.weight", size.tokens, d


def write_random(folder: Path, size: Size, seed: int) -> None:
    """Write a model of random weights and its configuration.

    Args:
        folder: Made if it is not there.
        size: Of the model.
        seed: Other seeds give other weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header, offset = {}, 0
    for name, rows, columns in tensors_of(size):
        end = offset + 2 * rows * max(1, columns)
        shape = [rows, columns] if columns else [rows]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(seed)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, rows, columns in tensors_of(size):
            for values in _values(random, rows, columns):
                file.write(_bf16(values))
    (folder / "config.json").write_text(json.dumps(_config(size), indent=1))


def _values(
    random: np.random.Generator, rows: int, columns: int
) -> Iterator[NDArray[np.float32]]:
    if not columns:
        yield 1 + random.standard_normal(rows, np.float32) / np.float32(10)
        return
    left = rows * columns
    while left:
        count = min(left, _CHUNK)
        values = random.standard_normal(count, np.float32)
        yield values / np.float32(columns**0.5)
        left -= count


def _bf16(values: NDArray[np.float32]) -> bytes:
    bits = values.astype(np.float32).view(np.uint32) + np.uint32(0x8000)
    return (bits >> np.uint32(16)).astype("<u2").tobytes()


def _config(size: Size) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.width // 64,
        "num_key_value_heads": max(1, size.width // 128),
        "intermediate_size": size.neurons,
        "vocab_size": size.tokens,
        "max_position_embeddings": 2048,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }
