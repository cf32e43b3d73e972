# SPDX-License-Identifier: Apache-2.0
"""Next-token predictions of small models, in numpy: what of a function a variant keeps.

Llama-like models with grouped heads, Mixtral-like experts, and GPT-2.  Slow and plain;
nothing outside the benchmarks uses it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from bench.texts import READING, Encoder, library
from bench.variants.files import Model
from bench.variants.network import (
    Array,
    Attention,
    Block,
    Linear,
    Network,
    Neurons,
    Norm,
)
from numpy.typing import NDArray

Tokens = NDArray[np.int64]

SEQUENCES, LENGTH = 16, 128


def agreement(
    parent: Model,
    child: Model,
    tokens: Tokens | None = None,
    known: Tokens | None = None,
) -> float:
    """Share of positions at which both models hold the same next token likeliest.

    Args:
        parent: One model; its tokenizer cuts the text.
        child: The other.  If its tokenizer has the same tokens under other numbers,
            its predictions are compared by token.
        tokens: (sequences, length) in the parent's numbers; None for
            :func:`reading`.
        known: The parent's :func:`predictions` for them, if they are known.
    """
    given = reading(parent) if tokens is None else tokens
    there, back = _renumbering(parent, child)
    mine = predictions(parent.network, given) if known is None else known
    theirs = predictions(child.network, there[given])
    return float((mine == back[theirs]).mean())


def reading(
    model: Model, *, sequences: int = SEQUENCES, length: int = LENGTH, seed: int = 0
) -> Tokens:
    """Fixed token sequences: text cut by the model's own tokenizer.

    Without a tokenizer that :class:`Encoder` knows: random numbers of tokens with
    frequencies 1/rank, the same for every model of that vocabulary size.
    """
    count = len(model.network.embedding)
    content = model.files.get("tokenizer.json")
    if content is not None:
        tokens = _encoded(content, 8 * sequences * length)
        known = tokens[tokens < count][: sequences * length]
        if len(known) == sequences * length:
            return known.reshape(sequences, length)
    random = np.random.default_rng([seed, count])
    weights = 1 / np.arange(1, count + 1)
    return random.choice(count, (sequences, length), p=weights / weights.sum())


@lru_cache(maxsize=8)
def _encoded(content: bytes, letters: int) -> Tokens:
    """The beginning of each text, as long as all together must be."""
    each = letters // len(READING)
    text = "\n".join(library((name,))[:each] for name in READING)
    return Encoder(content).encode(text)


def _renumbering(parent: Model, child: Model) -> tuple[Tokens, Tokens]:
    """For each number of a token in one model, its number in the other; -1 if none."""
    sizes = len(parent.network.embedding), len(child.network.embedding)
    contents = [m.files.get("tokenizer.json") for m in (parent, child)]
    if contents[0] == contents[1] or None in contents:
        common = min(sizes)
        there, back = np.arange(sizes[0]), np.full(sizes[1], -1)
        there[common:] = 0
        back[:common] = np.arange(common)
        return there, back
    first, second = (Encoder(content) for content in contents if content is not None)
    there, back = np.zeros(sizes[0], np.int64), np.full(sizes[1], -1)
    for token, number in first.vocabulary.items():
        other = second.vocabulary.get(token)
        if other is not None and number < sizes[0] and other < sizes[1]:
            there[number] = other
            back[other] = number
    return there, back


def predictions(network: Network, tokens: Tokens) -> Tokens:
    """The likeliest next token at each position, of the shape of ``tokens``."""
    return np.stack([logits(network, row).argmax(axis=-1) for row in tokens])


def logits(network: Network, tokens: Tokens) -> Array:
    """(length, tokens) of one sequence."""
    x = network.embedding[tokens]
    if network.positions is not None:
        x = x + network.positions[: len(tokens)]
    for block in network.blocks:
        x = x + _attend(network, block.attention, _norm(network, block, 0, x))
        x = x + _neurons(network, block, _norm(network, block, 1, x))
    result: Array = _normed(x, network.final, network.epsilon) @ network.output.T
    return result


def _norm(network: Network, block: Block, place: int, x: Array) -> Array:
    norm = block.before_neurons if place else block.before_attention
    return _normed(x, norm, network.epsilon)


def _normed(x: Array, norm: Norm, epsilon: float) -> Array:
    if norm.bias is None:
        size = np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon)
        scaled: Array = x / size * norm.weight
        return scaled
    centred = x - x.mean(axis=-1, keepdims=True)
    size = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    result: Array = centred / size * norm.weight + norm.bias
    return result


def _apply(linear: Linear, x: Array) -> Array:
    y: Array = x @ linear.weight.T
    return y if linear.bias is None else y + linear.bias


def _attend(network: Network, attention: Attention, x: Array) -> Array:
    length, size = len(x), network.head_size
    q = _apply(attention.q, x).reshape(length, network.heads, size)
    k = _apply(attention.k, x).reshape(length, network.groups, size)
    v = _apply(attention.v, x).reshape(length, network.groups, size)
    if network.kind == "llama":
        q, k = rotary(q, network.theta), rotary(k, network.theta)
    each = network.heads // network.groups
    k, v = (np.repeat(part, each, axis=1) for part in (k, v))
    q, k, v = (part.swapaxes(0, 1) for part in (q, k, v))  # heads first
    scores = q @ k.swapaxes(1, 2) * size**-0.5
    future = np.triu(np.ones((length, length), bool), 1)
    shares = softmax(np.where(future, -np.inf, scores))
    mixed = (shares @ v).swapaxes(0, 1).reshape(length, -1)
    return _apply(attention.o, mixed)


def rotary(x: Array, theta: float) -> Array:
    """Turn pairs (i, i + half) of each head by the place (Su et al. 2021).

    Args:
        x: (length, heads, size).
        theta: Base of the frequencies.
    """
    half = x.shape[2] // 2
    angle = np.outer(np.arange(len(x)), theta ** (-np.arange(half) / half))
    cosine = np.cos(angle).astype(np.float32)[:, None]
    sine = np.sin(angle).astype(np.float32)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cosine - b * sine, b * cosine + a * sine], axis=-1)


def softmax(x: Array) -> Array:
    """Shares along the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = e / e.sum(axis=-1, keepdims=True)
    return result


def _neurons(network: Network, block: Block, x: Array) -> Array:
    if block.router is None:
        return _expert(block.experts[0], x)
    scores = _apply(block.router, x)
    used = np.argsort(-scores, axis=1, kind="stable")[:, : network.experts_used]
    chosen = np.full_like(scores, -np.inf)
    np.put_along_axis(chosen, used, np.take_along_axis(scores, used, 1), 1)
    shares = softmax(chosen)
    outputs = np.stack([_expert(expert, x) for expert in block.experts], axis=1)
    mixed: Array = np.einsum("te,ted->td", shares, outputs)
    return mixed


def _expert(expert: Neurons, x: Array) -> Array:
    up = _apply(expert.up, x)
    if expert.gate is None:
        inner = 0.5 * up * (1 + np.tanh(0.7978845608 * (up + 0.044715 * up**3)))
        return _apply(expert.down, inner)
    gate = _apply(expert.gate, x)
    with np.errstate(over="ignore"):
        return _apply(expert.down, gate / (1 + np.exp(-gate)) * up)
