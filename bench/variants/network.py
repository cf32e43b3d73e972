# SPDX-License-Identifier: Apache-2.0
"""One form for Llama-like, Mixtral-like and GPT-2 models, to and from names.

Every matrix is (outputs, inputs), whatever the file says: GPT-2 stores the transpose
and fuses q, k and v.  A change written once then serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Tensors = dict[str, Array]


@dataclass
class Norm:
    """RMSNorm, or LayerNorm if there is a bias.  Both of shape (width,)."""

    weight: Array
    bias: Array | None = None


@dataclass
class Linear:
    """``weight`` (outputs, inputs) and ``bias`` (outputs,)."""

    weight: Array
    bias: Array | None = None


@dataclass
class Attention:
    """Heads in order; k and v have a head for each group of query heads."""

    q: Linear
    k: Linear
    v: Linear
    o: Linear


@dataclass
class Neurons:
    """A feed-forward network; without a gate, ``up`` goes through the activation."""

    gate: Linear | None
    up: Linear
    down: Linear


@dataclass
class Block:
    """One layer.  ``router`` (experts, width) only if there are several experts."""

    before_attention: Norm
    attention: Attention
    before_neurons: Norm
    experts: list[Neurons]
    router: Linear | None = None


@dataclass
class Network:
    """A whole model.

    Attributes:
        kind: ``llama`` (also Mistral, Qwen2 and Mixtral) or ``gpt2``.
        embedding: (tokens, width).
        head: The same; None if it is the embedding.
        positions: (places, width) of learned places, else None.
    """

    kind: str
    embedding: Array
    head: Array | None
    positions: Array | None
    blocks: list[Block]
    final: Norm
    heads: int
    groups: int
    head_size: int
    theta: float
    epsilon: float
    experts_used: int = 1
    prefix: str = field(default="model.")

    @property
    def width(self) -> int:
        """Channels of the residual stream."""
        return int(self.embedding.shape[1])

    @property
    def output(self) -> Array:
        """The matrix that makes logits, (tokens, width)."""
        return self.embedding if self.head is None else self.head

    def linears(self, block: Block) -> list[Linear]:
        """All matrices of a block but the router's."""
        found = [getattr(block.attention, part) for part in "qkvo"]
        for expert in block.experts:
            found += [expert.up, expert.down] + ([expert.gate] if expert.gate else [])
        return found

    def map_matrices(
        self, change: Callable[[Array], Array], *, embeddings: bool = True
    ) -> None:
        """Replace every matrix by ``change`` of it, in a fixed order."""
        if embeddings:
            self.embedding = change(self.embedding)
            if self.head is not None:
                self.head = change(self.head)
        for block in self.blocks:
            for linear in self.linears(block):
                linear.weight = change(linear.weight)


def network_of(tensors: Mapping[str, Array], config: Mapping[str, Any]) -> Network:
    """Bring a model into the one form.

    Raises:
        ValueError: The model is of another kind, or has a tensor without a place.
    """
    left = dict(tensors)
    made = _gpt2(left, config) if "n_embd" in config else _llama(left, config)
    # Old GPT-2 files hold the causal mask and the head that equals the embedding.
    for name in [name for name in left if name.endswith((".attn.bias", "masked_bias"))]:
        del left[name]
    if left:
        raise ValueError(f"no place for {sorted(left)[:3]}, wanted Llama's or GPT-2's")
    return made


def _take(left: Tensors, stem: str, *, turn: bool = False) -> Linear:
    weight = left.pop(f"{stem}.weight")
    return Linear(weight.T.copy() if turn else weight, left.pop(f"{stem}.bias", None))


def _norm(left: Tensors, stem: str) -> Norm:
    return Norm(left.pop(f"{stem}.weight"), left.pop(f"{stem}.bias", None))


def _llama(left: Tensors, config: Mapping[str, Any]) -> Network:
    heads = int(config["num_attention_heads"])
    rope = config.get("rope_parameters") or {}
    embedding = left.pop("model.embed_tokens.weight")
    head = left.pop("lm_head.weight", None)
    return Network(
        kind="llama",
        embedding=embedding,
        head=None if config.get("tie_word_embeddings") else head,
        positions=None,
        blocks=[
            _llama_block(left, f"model.layers.{layer}.", config)
            for layer in range(int(config["num_hidden_layers"]))
        ],
        final=_norm(left, "model.norm"),
        heads=heads,
        groups=int(config.get("num_key_value_heads") or heads),
        head_size=int(config.get("head_dim") or config["hidden_size"] // heads),
        theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
        epsilon=float(config.get("rms_norm_eps", 1e-6)),
        experts_used=int(config.get("num_experts_per_tok", 1)),
    )


def _llama_block(left: Tensors, stem: str, config: Mapping[str, Any]) -> Block:
    q, k, v, o = (_take(left, f"{stem}self_attn.{part}_proj") for part in "qkvo")
    count = int(config.get("num_local_experts", 0))
    names = [f"{stem}block_sparse_moe.experts.{e}.w{{}}" for e in range(count)]
    experts = [
        Neurons(*(_take(left, name.format(part)) for part in (1, 3, 2)))
        for name in names
    ] or [
        Neurons(*(_take(left, f"{stem}mlp.{p}_proj") for p in ("gate", "up", "down")))
    ]
    return Block(
        before_attention=_norm(left, f"{stem}input_layernorm"),
        attention=Attention(q, k, v, o),
        before_neurons=_norm(left, f"{stem}post_attention_layernorm"),
        experts=experts,
        router=_take(left, f"{stem}block_sparse_moe.gate") if count else None,
    )


def _gpt2(left: Tensors, config: Mapping[str, Any]) -> Network:
    prefix = "transformer." if "transformer.wte.weight" in left else ""
    heads, width = int(config["n_head"]), int(config["n_embd"])
    embedding = left.pop(f"{prefix}wte.weight")
    head = left.pop("lm_head.weight", None)
    return Network(
        kind="gpt2",
        embedding=embedding,
        head=None if config.get("tie_word_embeddings", True) else head,
        positions=left.pop(f"{prefix}wpe.weight"),
        blocks=[
            _gpt2_block(left, f"{prefix}h.{layer}.")
            for layer in range(int(config["n_layer"]))
        ],
        final=_norm(left, f"{prefix}ln_f"),
        heads=heads,
        groups=heads,
        head_size=width // heads,
        theta=0.0,
        epsilon=float(config.get("layer_norm_epsilon", 1e-5)),
        prefix=prefix,
    )


def _gpt2_block(left: Tensors, stem: str) -> Block:
    fused = _take(left, f"{stem}attn.c_attn", turn=True)
    weights = np.split(fused.weight, 3)
    biases = [None] * 3 if fused.bias is None else np.split(fused.bias, 3)
    q, k, v = (Linear(w, b) for w, b in zip(weights, biases, strict=True))
    return Block(
        before_attention=_norm(left, f"{stem}ln_1"),
        attention=Attention(q, k, v, _take(left, f"{stem}attn.c_proj", turn=True)),
        before_neurons=_norm(left, f"{stem}ln_2"),
        experts=[
            Neurons(
                None,
                _take(left, f"{stem}mlp.c_fc", turn=True),
                _take(left, f"{stem}mlp.c_proj", turn=True),
            )
        ],
    )


def tensors_of(network: Network) -> Tensors:
    """The names and shapes that the files of this kind have."""
    return _gpt2_tensors(network) if network.kind == "gpt2" else _llama_tensors(network)


def _give(
    found: Tensors, stem: str, part: Linear | Norm, *, turn: bool = False
) -> None:
    found[f"{stem}.weight"] = part.weight.T.copy() if turn else part.weight
    if part.bias is not None:
        found[f"{stem}.bias"] = part.bias


def _llama_tensors(network: Network) -> Tensors:
    found = {"model.embed_tokens.weight": network.embedding}
    for layer, block in enumerate(network.blocks):
        stem = f"model.layers.{layer}."
        _give(found, f"{stem}input_layernorm", block.before_attention)
        for part in "qkvo":
            _give(found, f"{stem}self_attn.{part}_proj", getattr(block.attention, part))
        _give(found, f"{stem}post_attention_layernorm", block.before_neurons)
        names = ("gate", "up", "down")
        if block.router is not None:
            _give(found, f"{stem}block_sparse_moe.gate", block.router)
        for number, expert in enumerate(block.experts):
            for name, mixtral in zip(names, (1, 3, 2), strict=True):
                where = (
                    f"{stem}mlp.{name}_proj"
                    if block.router is None
                    else f"{stem}block_sparse_moe.experts.{number}.w{mixtral}"
                )
                _give(found, where, getattr(expert, name))
    _give(found, "model.norm", network.final)
    if network.head is not None:
        found["lm_head.weight"] = network.head
    return found


def _gpt2_tensors(network: Network) -> Tensors:
    prefix = network.prefix
    found = {f"{prefix}wte.weight": network.embedding}
    if network.positions is not None:
        found[f"{prefix}wpe.weight"] = network.positions
    for layer, block in enumerate(network.blocks):
        stem = f"{prefix}h.{layer}."
        _give(found, f"{stem}ln_1", block.before_attention)
        parts = [getattr(block.attention, part) for part in "qkv"]
        biases = [part.bias for part in parts if part.bias is not None]
        fused = Linear(
            np.concatenate([part.weight for part in parts]),
            np.concatenate(biases) if biases else None,
        )
        _give(found, f"{stem}attn.c_attn", fused, turn=True)
        _give(found, f"{stem}attn.c_proj", block.attention.o, turn=True)
        _give(found, f"{stem}ln_2", block.before_neurons)
        _give(found, f"{stem}mlp.c_fc", block.experts[0].up, turn=True)
        _give(found, f"{stem}mlp.c_proj", block.experts[0].down, turn=True)
    _give(found, f"{prefix}ln_f", network.final)
    if network.head is not None:
        found["lm_head.weight"] = network.head
    return found
