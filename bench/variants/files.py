# SPDX-License-Identifier: Apache-2.0
"""Read a model folder in Hugging Face layout, and write one.

An own reader and writer of safetensors files, so that values can be stored in ways the
library does not offer (scaled fp8) and read without an array library that knows them.
"""

from __future__ import annotations

import copy
import json
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench.variants.network import Array, Network, Tensors, network_of, tensors_of
from bench.variants.rounding import decode_e4m3, encode_e4m3
from numpy.typing import NDArray


@dataclass
class Model:
    """A model and everything in its folder.

    Attributes:
        network: The weights, in float32.
        config: ``config.json``; sizes are brought up to date when written.
        files: The other files by name.
        dtype: How the weights are stored: ``BF16``, ``F16``, ``F32`` or ``F8_E4M3``
            (matrices of blocks with a scale for each tensor, the rest in BF16).
        shards: Number of weight files.
    """

    network: Network
    config: dict[str, Any]
    files: dict[str, bytes]
    dtype: str = "BF16"
    shards: int = 1

    def copy(self) -> Model:
        """A model that shares nothing with this one."""
        return copy.deepcopy(self)


_DECODE: dict[str, Callable[[bytes], NDArray[Any]]] = {
    "BF16": lambda data: (
        np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)
    ).view(np.float32),
    "F16": lambda data: np.frombuffer(data, "<f2"),
    "F32": lambda data: np.frombuffer(data, "<f4"),
    "F8_E4M3": lambda data: decode_e4m3(np.frombuffer(data, np.uint8)),
}


def encode_bf16(values: Array) -> NDArray[np.uint16]:
    """Round float32 to the upper half of its bits, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype("<u2")


_ENCODE: dict[str, Callable[[Array], bytes]] = {
    "BF16": lambda values: encode_bf16(values).tobytes(),
    "F16": lambda values: values.astype("<f2").tobytes(),
    "F32": lambda values: values.astype("<f4").tobytes(),
    "F8_E4M3": lambda values: encode_e4m3(values).tobytes(),
}


def read_model(folder: Path) -> Model:
    """Read a model folder.

    Raises:
        ValueError: The weights are of a kind that the workbench does not know.
        OSError: A file is missing.
    """
    tensors, dtypes = read_tensors(folder)
    config = json.loads((folder / "config.json").read_text())
    skipped = {"config.json", "zoo.json", "model.safetensors.index.json"}
    files = {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file()
        and path.name not in skipped
        and path.suffix in (".json", ".txt")
    }
    return Model(
        network=network_of(tensors, config),
        config=config,
        files=files,
        dtype=Counter(dtypes).most_common(1)[0][0],
        shards=len(list(folder.glob("*.safetensors"))),
    )


def read_tensors(folder: Path) -> tuple[Tensors, list[str]]:
    """All tensors of a folder in float32, scales applied, and their storage types."""
    found: Tensors = {}
    dtypes = []
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        (size,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + size])
        header.pop("__metadata__", None)
        for name, facts in header.items():
            begin, end = (8 + size + offset for offset in facts["data_offsets"])
            values = _DECODE[facts["dtype"]](data[begin:end])
            found[name] = values.astype(np.float32).reshape(facts["shape"])
            if not name.endswith("_scale"):
                dtypes.append(facts["dtype"])
    for name in [name for name in found if name.endswith(".weight_scale")]:
        found[name.removesuffix("_scale")] *= found.pop(name)
    return found, dtypes


def write_model(folder: Path, model: Model) -> Path:
    """Write a model folder; its ``config.json`` says what the weights are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in model.files.items():
        (folder / name).write_bytes(content)
    config = _config(model)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    stored = _stored(model)
    if model.shards == 1:
        (folder / "model.safetensors").write_bytes(_file(stored))
        return folder
    placement: dict[str, str] = {}
    names = sorted(stored)
    for shard in range(model.shards):
        path = f"model-{shard + 1:05}-of-{model.shards:05}.safetensors"
        mine = names[shard :: model.shards]
        (folder / path).write_bytes(_file({name: stored[name] for name in mine}))
        placement |= dict.fromkeys(mine, path)
    index = {"metadata": {}, "weight_map": placement}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def _config(model: Model) -> dict[str, Any]:
    network, config = model.network, dict(model.config)
    gpt2 = network.kind == "gpt2"
    neurons = len(network.blocks[0].experts[0].up.weight)
    config["n_layer" if gpt2 else "num_hidden_layers"] = len(network.blocks)
    config["vocab_size"] = len(network.embedding)
    config["tie_word_embeddings"] = network.head is None
    if not gpt2 or neurons != 4 * network.width:
        config["n_inner" if gpt2 else "intermediate_size"] = neurons
    if not gpt2:
        config |= {
            "hidden_size": network.width,
            "num_attention_heads": network.heads,
            "num_key_value_heads": network.groups,
            "head_dim": network.head_size,
            "rms_norm_eps": network.epsilon,
        }
    if network.blocks[0].router is not None:
        config["num_local_experts"] = len(network.blocks[0].experts)
    names = {"F32": "float32", "F16": "float16"}
    config["dtype"] = names.get(model.dtype, "bfloat16")
    if model.dtype == "F8_E4M3":
        config["quantization_config"] = {
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
        }
    return config


Stored = dict[str, tuple[str, Array]]


def _stored(model: Model) -> Stored:
    """What goes into the files: a storage type and values for each name."""
    tensors = tensors_of(model.network)
    if model.dtype != "F8_E4M3":
        return {name: (model.dtype, values) for name, values in tensors.items()}
    found: Stored = {}
    for name, values in tensors.items():
        block = values.ndim == 2 and (".layers." in name or "h." in name)
        if not block:
            found[name] = ("BF16", values)
            continue
        scale = np.float32(max(float(np.abs(values).max()), 1e-12) / 448)
        found[name] = ("F8_E4M3", values / scale)
        found[f"{name}_scale"] = ("F32", np.array([scale], np.float32))
    return found


def _file(stored: Stored) -> bytes:
    header, chunks, offset = {}, [], 0
    for name, (dtype, values) in stored.items():
        data = _ENCODE[dtype](values)
        header[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *chunks])
