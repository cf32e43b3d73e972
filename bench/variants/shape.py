# SPDX-License-Identifier: Apache-2.0
"""Changes of shape and of names: layers, neurons, tokens, and the config's claims."""

from __future__ import annotations

import copy
import json

import numpy as np
from bench.variants.files import Model
from bench.variants.network import Linear, Network

Random = np.random.Generator


def drop_layers(network: Network, random: Random, *, count: int) -> None:
    """Leave out ``count`` layers, neither the first nor the last if others will do."""
    layers = len(network.blocks)
    inner = random.permutation(np.arange(1, layers - 1))
    outer = random.permutation([0, layers - 1])
    gone = set(np.concatenate([inner, outer])[: min(count, layers - 1)].tolist())
    network.blocks = [
        network.blocks[layer] for layer in range(layers) if layer not in gone
    ]


def duplicate_layers(network: Network, *, count: int) -> None:
    """Repeat the ``count`` layers in the middle, as depth up-scaling does."""
    layers = len(network.blocks)
    begin = (layers - count) // 2
    end = begin + count
    order = [*range(end), *range(begin, layers)]
    network.blocks = [copy.deepcopy(network.blocks[layer]) for layer in order]


def reverse_layers(network: Network) -> None:
    """Put the layers into the opposite order; costs the function."""
    network.blocks.reverse()


def prune_neurons(network: Network, random: Random, *, share: float) -> None:
    """Leave out a share of the neurons of every layer, without healing."""
    for block in network.blocks:
        for expert in block.experts:
            count = len(expert.up.weight)
            kept = np.sort(random.permutation(count)[round(share * count) :])
            for linear in (expert.gate, expert.up):
                if linear is not None:
                    linear.weight = linear.weight[kept]
                    if linear.bias is not None:
                        linear.bias = linear.bias[kept]
            expert.down.weight = expert.down.weight[:, kept]


def permute_vocabulary(model: Model, random: Random) -> None:
    """Give every token another number, in the tokenizer too; keeps the function.

    Raises:
        KeyError: There is no ``tokenizer.json``.
    """
    network = model.network
    order = random.permutation(len(network.embedding))
    number = np.argsort(order)  # old number -> new number
    network.embedding = network.embedding[order]
    if network.head is not None:
        network.head = network.head[order]
    tokenizer = json.loads(model.files["tokenizer.json"])
    vocabulary = tokenizer["model"]["vocab"]
    moved = {token: int(number[old]) for token, old in vocabulary.items()}
    tokenizer["model"]["vocab"] = dict(sorted(moved.items(), key=lambda item: item[1]))
    for added in tokenizer.get("added_tokens", ()):
        added["id"] = int(number[added["id"]])
    text = json.dumps(tokenizer, ensure_ascii=False)
    model.files["tokenizer.json"] = text.encode()
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        old = model.config.get(name)
        if isinstance(old, int):
            model.config[name] = int(number[old])


def upcycle(model: Model, random: Random, *, experts: int, noise: float = 0.0) -> None:
    """Turn every feed-forward network into equal experts behind a random router.

    With equal experts the function stays, whatever the router says: its shares add up
    to one.

    Raises:
        ValueError: Not a model with Llama's names and one network for each layer.
    """
    network = model.network
    if network.kind != "llama" or network.blocks[0].router is not None:
        raise ValueError("only a dense Llama becomes a Mixtral")
    for block in network.blocks:
        block.experts = [copy.deepcopy(block.experts[0]) for _ in range(experts)]
        rows = random.normal(0, 0.02, (experts, network.width)).astype(np.float32)
        block.router = Linear(rows)
        for expert in block.experts:
            for linear in (expert.gate, expert.up, expert.down):
                if linear is not None and noise:
                    drawn = random.standard_normal(linear.weight.shape, np.float32)
                    linear.weight += np.float32(noise) * linear.weight.std() * drawn
    network.experts_used = min(2, experts)
    model.config |= {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "num_local_experts": experts,
        "num_experts_per_tok": network.experts_used,
    }


def relabel(model: Model) -> None:
    """Claim in the config to be another model; the weights stay as they are."""
    if model.network.kind == "gpt2":
        model.config |= {"_name_or_path": "somebody/else", "n_ctx": 4096}
        return
    model.config |= {
        "_name_or_path": "somebody/else",
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "max_position_embeddings": 32768,
    }
