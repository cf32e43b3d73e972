# SPDX-License-Identifier: Apache-2.0
"""Models made by code, and the changes that tests make to models.

Writes safetensors files byte by byte, so that tests can write what the library would
not.  Weights are float32 arrays; ``write`` rounds them to the storage type.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.source import fingerprint_source
from pedigree.fingerprint.spec import Profile
from pedigree.ranges import ModelSource
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source
from pedigree.tensors.checkpoint import Checkpoint

Weights = dict[str, NDArray[np.float32]]
EXAMPLES = Path(__file__).parent.parent / "examples" / "models"


def _bf16(values: NDArray[np.float32]) -> bytes:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype("<u2").tobytes()


_STORE: dict[str, Callable[[NDArray[np.float32]], bytes]] = {
    "BF16": _bf16,
    "F16": lambda values: values.astype("<f2").tobytes(),
    "F32": lambda values: values.astype("<f4").tobytes(),
}


def file_bytes(weights: Mapping[str, NDArray[np.float32]], dtype: str) -> bytes:
    """One safetensors file, tensors in the order given."""
    chunks = {name: _STORE[dtype](values) for name, values in weights.items()}
    sizes = {name: (weights[name].shape, len(data)) for name, data in chunks.items()}
    return b"".join([_header(sizes, dtype), *chunks.values()])


def _header(sizes: Mapping[str, tuple[tuple[int, ...], int]], dtype: str) -> bytes:
    """What stands before the tensors of those shapes and bytes."""
    described, offset = {}, 0
    for name, (shape, nbytes) in sizes.items():
        described[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [offset, offset + nbytes],
        }
        offset += nbytes
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def write_zeros(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """A model of zeros in BF16, which takes no room on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {name: (shape, 2 * prod(shape)) for name, shape in shapes.items()}
    header = _header(sizes, "BF16")
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header)
        file.truncate(len(header) + sum(nbytes for _, nbytes in sizes.values()))
    return folder


def write(
    folder: Path,
    weights: Mapping[str, NDArray[np.float32]],
    *,
    dtype: str = "BF16",
    shards: int = 1,
) -> Path:
    """Write a model's weights into a folder, in one or several shards."""
    folder.mkdir(parents=True, exist_ok=True)
    if shards == 1:
        (folder / "model.safetensors").write_bytes(file_bytes(weights, dtype))
        return folder
    names = sorted(weights, reverse=True)
    placement: dict[str, str] = {}
    for shard in range(shards):
        path = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        mine = names[shard::shards]
        (folder / path).write_bytes(
            file_bytes({name: weights[name] for name in mine}, dtype)
        )
        placement |= dict.fromkeys(mine, path)
    index = {"metadata": {}, "weight_map": placement}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def checkpoint(folder: Path) -> Checkpoint:
    """Open the weights of a folder."""
    return Checkpoint.open(source(folder))


def read(folder: Path) -> Weights:
    """All weights of a folder."""
    opened = checkpoint(folder)
    return {name: opened.read(name) for name in opened.tensors}


def source(folder: Path) -> ModelSource:
    """The source of a folder."""
    return open_source(parse(f"file://{folder.resolve()}"), SourceSettings())


def fingerprint(
    folder: Path, profile: Profile | None = None, *, salt: bytes | None = None
) -> Fingerprint:
    """Fingerprint of a folder; deep by default, as its models are small."""
    return fingerprint_source(source(folder), profile=profile, salt=salt)


def llama(
    seed: int, *, layers: int = 2, width: int = 64, neurons: int = 96, tokens: int = 160
) -> Weights:
    """A model with Llama's names and random weights."""
    random = np.random.default_rng(seed)

    def matrix(*shape: int) -> NDArray[np.float32]:
        return random.normal(0, 0.02, shape).astype(np.float32)

    def norm() -> NDArray[np.float32]:
        return (1 + random.normal(0, 0.1, width)).astype(np.float32)

    weights: Weights = {
        "model.embed_tokens.weight": matrix(tokens, width),
        "model.norm.weight": norm(),
        "lm_head.weight": matrix(tokens, width),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        weights |= {
            prefix + "input_layernorm.weight": norm(),
            prefix + "post_attention_layernorm.weight": norm(),
            prefix + "self_attn.q_proj.weight": matrix(width, width),
            prefix + "self_attn.k_proj.weight": matrix(width // 2, width),
            prefix + "self_attn.v_proj.weight": matrix(width // 2, width),
            prefix + "self_attn.o_proj.weight": matrix(width, width),
            prefix + "mlp.gate_proj.weight": matrix(neurons, width),
            prefix + "mlp.up_proj.weight": matrix(neurons, width),
            prefix + "mlp.down_proj.weight": matrix(width, neurons),
        }
    return weights


def gpt2(
    seed: int, *, layers: int = 2, width: int = 64, neurons: int = 96, tokens: int = 160
) -> Weights:
    """A model with GPT-2's names and storage, and random weights."""
    random = np.random.default_rng(seed)

    def matrix(*shape: int) -> NDArray[np.float32]:
        return random.normal(0, 0.02, shape).astype(np.float32)

    def norm() -> NDArray[np.float32]:
        return (1 + random.normal(0, 0.1, width)).astype(np.float32)

    weights: Weights = {
        "wte.weight": matrix(tokens, width),
        "wpe.weight": matrix(32, width),
        "ln_f.weight": norm(),
    }
    for layer in range(layers):
        prefix = f"h.{layer}."
        weights |= {
            prefix + "ln_1.weight": norm(),
            prefix + "ln_2.weight": norm(),
            prefix + "attn.c_attn.weight": matrix(width, 3 * width),
            prefix + "attn.c_proj.weight": matrix(width, width),
            prefix + "mlp.c_fc.weight": matrix(width, neurons),
            prefix + "mlp.c_proj.weight": matrix(neurons, width),
        }
    return weights


def changed(
    weights: Weights,
    change: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> Weights:
    """The same model with a change made to every matrix."""
    return {
        name: change(values).astype(np.float32) if values.ndim == 2 else values
        for name, values in weights.items()
    }


def noise(weights: Weights, share: float, seed: int) -> Weights:
    """Add noise of ``share`` times each matrix's standard deviation."""
    random = np.random.default_rng(seed)
    return changed(weights, lambda w: w + share * w.std() * random.normal(size=w.shape))


def prune(weights: Weights, share: float) -> Weights:
    """Set the smallest ``share`` of every matrix to zero."""
    return changed(
        weights, lambda w: np.where(np.abs(w) < np.quantile(np.abs(w), share), 0, w)
    )


def int8(weights: Weights) -> Weights:
    """Round every row to 8 bits and back."""

    def round_trip(w: NDArray[np.float32]) -> NDArray[np.float32]:
        scale = np.abs(w).max(axis=1, keepdims=True) / 127
        rounded: NDArray[np.float32] = np.rint(w / scale) * scale
        return rounded

    return changed(weights, round_trip)


def drop_layer(weights: Weights, layer: int, stem: str = "model.layers.") -> Weights:
    """Leave out one layer; later ones move up."""
    kept: Weights = {}
    for name, values in weights.items():
        if not name.startswith(stem):
            kept[name] = values
            continue
        number, _, rest = name[len(stem) :].partition(".")
        if int(number) != layer:
            moved = int(number) - (int(number) > layer)
            kept[f"{stem}{moved}.{rest}"] = values
    return kept


def permute_neurons(weights: Weights, seed: int) -> Weights:
    """Permute the feed-forward neurons of every layer; computes the same function."""
    random = np.random.default_rng(seed)
    orders: dict[str, NDArray[np.int64]] = {}
    result = dict(weights)
    for name, values in weights.items():
        stem, found, part = name.partition("mlp.")
        if not found:
            continue
        down = part.startswith("down")
        size = values.shape[1] if down else values.shape[0]
        order = orders.setdefault(stem, random.permutation(size))
        result[name] = values[:, order] if down else values[order]
    return result
