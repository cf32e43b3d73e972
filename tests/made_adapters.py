# SPDX-License-Identifier: Apache-2.0
"""Models with directions that they use, and adapters that turned towards them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import made_models as made
from made_models import Weights

RANK = 4
ATTENTION = ("q_proj", "v_proj")
"""What most published adapters change."""
EVERY = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def base(seed: int) -> Weights:
    """A Llama whose matrices have a few strong directions, as training makes them."""
    random = np.random.default_rng(1000 + seed)
    weights = made.llama(seed, layers=4, width=128, neurons=160)
    for name, values in weights.items():
        if name.endswith("_proj.weight"):
            strong = random.normal(size=(len(values), 6)) @ random.normal(
                size=(6, values.shape[1])
            )
            scale = values.std() / 3
            weights[name] = (values + scale * strong).astype(np.float32)
    return weights


def factors(
    weights: Mapping[str, NDArray[np.float32]],
    seed: int,
    *,
    modules: Iterable[str] = EVERY,
    towards: float = 1.0,
    scale: float = 1.0,
    magnitudes: bool = False,
    name: str = "",
) -> Weights:
    """The tensors of an adapter in the layout of PEFT.

    Args:
        weights: Of the base.
        seed: Of what is left to chance.
        modules: Which matrices are adapted.
        towards: How far factors turned towards the directions of their matrix.
        scale: Of the second factors, as rsLoRA takes a larger one.
        magnitudes: Whether each has the lengths of DoRA too.
        name: Of the adapter, for files that name it.
    """
    random = np.random.default_rng(seed)
    dot = f".{name}" if name else ""
    found: Weights = {}
    for stored, values in weights.items():
        stem = stored.removesuffix(".weight")
        if stem.rpartition(".")[2] not in modules:
            continue
        u, _, v = np.linalg.svd(values.astype(np.float64), full_matrices=False)
        rows, columns = values.shape
        a = random.normal(size=(RANK, columns)) / np.sqrt(columns)
        b = random.normal(size=(rows, RANK)) / np.sqrt(rows)
        path = f"base_model.model.{stem}"
        first, second = a + towards * v[:RANK], b + towards * u[:, :RANK]
        found[f"{path}.lora_A{dot}.weight"] = first.astype(np.float32)
        found[f"{path}.lora_B{dot}.weight"] = (scale * second).astype(np.float32)
        if magnitudes:
            lengths = np.linalg.norm(values, axis=1).astype(np.float32)
            found[f"{path}.lora_magnitude_vector{dot}"] = lengths
    return found


def merged(weights: Weights, tensors: Weights, scale: float = 1.0) -> Weights:
    """A model with an adapter added to its matrices."""
    found = dict(weights)
    for name, first in tensors.items():
        if ".lora_A." in name:
            stored = name.removeprefix("base_model.model.").replace(".lora_A", "")
            second = tensors[name.replace(".lora_A", ".lora_B")]
            found[stored] = weights[stored] + scale * (second @ first)
    return found


def write(folder: Path, tensors: Weights, **config: object) -> Path:
    """An adapter alone in a folder, as PEFT saves it."""
    made.write(folder, tensors, dtype="F32")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    document = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, **config}
    (folder / "adapter_config.json").write_text(json.dumps(document))
    return folder
