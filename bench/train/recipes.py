# SPDX-License-Identifier: Apache-2.0
"""The models of the small zoo: bases, twins from one seed, and descendants."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from bench.train.corpus import encoded, tokenizer
from bench.train.optimise import Schedule, Sizes, initial, train
from bench.variants.files import Model, read_model, write_model
from bench.variants.network import Network

BASE = Schedule(steps=1200)


@dataclass(frozen=True)
class Recipe:
    """How a model of the small zoo is made.

    Attributes:
        how: In words.
        text: What it is trained on.
        order: Seed of the order of the pieces.
        seed: Seed of the initialisation; ignored with weights of a parent.
        kind: ``llama`` or ``gpt2``.
        parent: The model that it has to do with, if any.
        linked: True: starts from the parent's weights.  ``shared-init``: from the
            parent's seed.  ``distilled``: from its own seed, taught by the parent.
        pruned: Share of the smallest weights that are held at zero.
    """

    how: str
    text: str = "code-1"
    order: int = 1
    seed: int = 0
    kind: str = "llama"
    parent: str | None = None
    linked: bool | str = True
    schedule: Schedule = BASE
    pruned: float = 0.0

    @property
    def sizes(self) -> Sizes:
        """GPT-2 has no gate, so a few more neurons."""
        return Sizes(kind=self.kind, neurons=256 if self.kind == "gpt2" else 176)


def _base(seed: int, kind: str = "llama", text: str = "code-1") -> Recipe:
    return Recipe("trained from scratch", text=text, seed=seed, kind=kind)


def _twin(parent: str, seed: int, text: str, kind: str = "llama") -> Recipe:
    return Recipe(
        f"from the initialisation of {parent}, trained apart",
        text=text,
        order=2,
        seed=seed,
        kind=kind,
        parent=parent,
        linked="shared-init",
    )


def _child(parent: str, how: str, steps: int, rate: float, **other: Any) -> Recipe:
    schedule = replace(BASE, steps=steps, rate=rate)
    given: dict[str, Any] = {"text": "prose", "order": 3} | other
    return Recipe(how, parent=parent, schedule=schedule, **given)


RECIPES: dict[str, Recipe] = {
    "llama-s1": _base(1),
    "llama-s1.twin-text": _twin("llama-s1", 1, "code-2"),
    "llama-s2": _base(2),
    "llama-s3": _base(3),
    "llama-s1.twin-order": _twin("llama-s1", 1, "code-1"),
    "llama-s1.cpt": _child("llama-s1", "continued as long, on prose", 1200, 3e-3),
    "llama-s1.sft": _child("llama-s1", "fine-tuned on prose", 300, 3e-4),
    "gpt2-s1": _base(11, "gpt2"),
    "gpt2-s1.twin-text": _twin("gpt2-s1", 11, "code-2", "gpt2"),
    "gpt2-s2": _base(12, "gpt2"),
    "llama-s1.prune": _child(
        "llama-s1", "half pruned and healed", 200, 1e-3, text="code-1", pruned=0.5
    ),
    "llama-s1.student": _child(
        "llama-s1", "distilled", 700, 3e-3, text="code-1", seed=31, linked="distilled"
    ),
    "gpt2-s1.cpt": _child(
        "gpt2-s1", "continued as long, on prose", 1200, 3e-3, kind="gpt2"
    ),
    "llama-s4": _base(4, text="code-2"),
    "llama-s5": _base(5),
    "llama-s6": _base(6, text="code-2"),
    "gpt2-s3": _base(13, "gpt2", "code-2"),
}


def make_model(
    name: str,
    folder: Path,
    *,
    shorter: float = 1.0,
    tell: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Train a model of the zoo and write it.

    Args:
        name: One of :data:`RECIPES`.
        folder: The zoo; parents must be there.
        shorter: Share of the steps that are taken.
        tell: Called with the step and the loss.

    Returns:
        What ``zoo.json`` says.
    """
    recipe = RECIPES[name]
    parent = None if recipe.parent is None else read_model(folder / recipe.parent)
    if parent is not None and recipe.linked is True:
        network = copy.deepcopy(parent.network)
    else:
        network = initial(recipe.sizes, recipe.seed)
    steps = max(1, round(recipe.schedule.steps * shorter))
    loss = train(
        network,
        encoded(recipe.text),
        replace(recipe.schedule, steps=steps),
        order=recipe.order,
        teacher=parent.network if parent and recipe.linked == "distilled" else None,
        keep=_mask(network, recipe.pruned) if recipe.pruned else None,
        tell=tell,
    )
    model = Model(network, config_of(network), {"tokenizer.json": tokenizer()})
    write_model(folder / name, model)
    facts: dict[str, Any] = {
        "parents": [] if recipe.parent is None else [recipe.parent],
        "how": f"{recipe.how}; {recipe.text}, order {recipe.order}, {steps} steps",
        "seed": recipe.seed,
        "loss": round(loss, 4),
        "name": name,
    }
    if recipe.parent is not None:
        facts["linked"] = recipe.linked
    (folder / name / "zoo.json").write_text(json.dumps(facts, indent=1) + "\n")
    return facts


def _mask(network: Network, share: float) -> Callable[[Network], None]:
    """Set the smallest weights of each matrix of the blocks to zero, and keep them."""
    linears = [linear for block in network.blocks for linear in network.linears(block)]
    masks = [
        np.abs(linear.weight) >= np.quantile(np.abs(linear.weight), share)
        for linear in linears
    ]

    def keep(_: Network) -> None:
        for linear, mask in zip(linears, masks, strict=True):
            linear.weight *= mask

    keep(network)
    return keep


def config_of(network: Network) -> dict[str, Any]:
    """A ``config.json`` for a network that was made here."""
    common = {"bos_token_id": 0, "eos_token_id": 0}
    places = network.positions
    if network.kind == "gpt2":
        return common | {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": "gelu_new",
            "n_embd": network.width,
            "n_head": network.heads,
            "n_positions": 0 if places is None else len(places),
            "layer_norm_epsilon": network.epsilon,
        }
    return common | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": network.width,
        "num_attention_heads": network.heads,
        "num_key_value_heads": network.groups,
        "head_dim": network.head_size,
        "max_position_embeddings": 128,
        "rms_norm_eps": network.epsilon,
        "rope_theta": network.theta,
    }
