# SPDX-License-Identifier: Apache-2.0
"""Changes of a Llama's weights that hide where it came from, and keep its function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from made_models import Weights

_READERS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
_WRITERS = ("o_proj", "down_proj")
_NORM_BEFORE = {"self_attn": "input_layernorm", "mlp": "post_attention_layernorm"}


def launder(weights: Weights, seed: int, *, keep_embedding: bool = True) -> Weights:
    """Fold norms, rotate the residual stream, permute, scale and flip neurons.

    Args:
        weights: With Llama's names.
        seed: Of all that is drawn.
        keep_embedding: Else the embedding is drawn anew, which costs the function.
    """
    random = np.random.default_rng(seed)
    width = len(weights["model.norm.weight"])
    turn, _ = np.linalg.qr(random.normal(size=(width, width)))
    made = {name: values.astype(np.float64) for name, values in weights.items()}
    for name in weights:
        stem, _, last = name.removesuffix(".weight").rpartition(".")
        if last in _READERS:
            layer, _, part = stem.rpartition(".")
            made[name] = made[name] * weights[f"{layer}.{_NORM_BEFORE[part]}.weight"]
            made[name] = made[name] @ turn.T
        elif last in _WRITERS:
            made[name] = turn @ made[name]
        elif last == "embed_tokens":
            made[name] = made[name] @ turn.T
            if not keep_embedding:
                made[name] = random.normal(0, 0.02, made[name].shape)
        elif last == "lm_head":
            made[name] = made[name] * weights["model.norm.weight"] @ turn.T
    for name in [name for name in made if "norm" in name]:
        made[name] = np.ones(width)
    for name in [name for name in made if name.endswith("gate_proj.weight")]:
        _shuffle(made, name.removesuffix("gate_proj.weight"), random)
    return {name: values.astype(np.float32) for name, values in made.items()}


def _shuffle(
    made: dict[str, NDArray[np.float64]], stem: str, random: np.random.Generator
) -> None:
    gate, up, down = (f"{stem}{x}_proj.weight" for x in ("gate", "up", "down"))
    order = random.permutation(len(made[gate]))
    scale = np.exp(0.5 * random.normal(size=len(order)))
    scale *= random.choice([-1.0, 1.0], len(order))
    made[gate] = made[gate][order]
    made[up] = made[up][order] * scale[:, None]
    made[down] = made[down][:, order] / scale


def add_decoys(weights: Weights, seed: int, *, gated: bool = True) -> Weights:
    """Add neurons that read as one neuron and write or scale as another, and cancel.

    They come in pairs that write opposite things.  Each row of gate and up (of up and
    down, where there is no gate) then has two equals in neurons that are not its own.

    Args:
        weights: With Llama's names, or GPT-2's if there is no gate.
        seed: Of all that is drawn, also of the order in which all neurons end.
        gated: Whether there is a gate.
    """
    random = np.random.default_rng(seed)
    names = ("gate_proj", "up_proj", "down_proj") if gated else ("c_fc", "c_proj")
    made = dict(weights)
    for first in [x for x in weights if x.endswith(f"{names[0]}.weight")]:
        if not gated and ".mlp." not in first:
            continue
        stem = first.removesuffix(f"{names[0]}.weight")
        size = weights[first].shape[0 if gated else 1]
        reads, other, written = (random.permutation(size) for _ in range(3))
        order = random.permutation(3 * size)
        pick = np.r_[:size]
        at: dict[str, NDArray[np.intp]] = {
            names[0]: np.r_[pick, reads, reads],
            "up_proj": np.r_[pick, other, other],
            names[-1]: np.r_[pick, written, written],
        }
        for name in names:
            key, down = f"{stem}{name}.weight", name == names[-1]
            axis = int(down == gated)
            values = weights[key].take(at[name], axis=axis)
            if down:
                sign = np.repeat([1.0, 1.0, -1.0], size).astype(np.float32)
                values *= sign if axis else sign[:, None]
            made[key] = values.take(order, axis=axis)
            if not gated and not down:
                bias = f"{stem}{name}.bias"
                made[bias] = weights[bias][at[name]][order]
    return made
