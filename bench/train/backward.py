# SPDX-License-Identifier: Apache-2.0
"""Loss and gradient of a dense network, differentiated by hand.

Each layer function returns its output and a function from the output's gradient to the
input's, which adds the parameters' gradients to a network of the same shape.  Arrays
are (batch, length, channels); any floating type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bench.variants.network import Attention, Block, Linear, Network, Neurons, Norm
from numpy.typing import NDArray

Values = NDArray[Any]
Back = Callable[[Values], Values]
Tokens = NDArray[np.int64]

_GELU = 0.7978845608028654
"""sqrt(2 / pi), of the tanh form of GELU (Hendrycks & Gimpel 2016)."""


def loss_and_gradient(
    network: Network,
    gradient: Network,
    tokens: Tokens,
    targets: Tokens | None,
    teacher: Values | None = None,
) -> float:
    """Cross-entropy in nats a token; adds to ``gradient``.

    Args:
        network: The model.
        gradient: Arrays of the same shapes, which are added to.
        tokens: (batch, length).
        targets: The next token at each place.
        teacher: Instead of targets, (batch, length, tokens) probabilities.
    """
    scores, back = forward(network, gradient, tokens)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    count = tokens.size
    if teacher is not None:
        loss = -float((teacher * np.log(shares + 1e-30)).sum()) / count
        back((shares - teacher) / count)
        return loss
    if targets is None:
        raise ValueError("neither targets nor a teacher")
    places = targets[..., None]
    likely = np.take_along_axis(shares, places, -1)
    loss = -float(np.log(likely + 1e-30).mean())
    np.put_along_axis(shares, places, likely - 1, -1)
    back(shares / count)
    return loss


def forward(
    network: Network, gradient: Network, tokens: Tokens
) -> tuple[Values, Callable[[Values], None]]:
    """Logits (batch, length, tokens), and what takes their gradient back."""
    x = network.embedding[tokens]
    if network.positions is not None:
        x = x + network.positions[: tokens.shape[1]]
    backs: list[Back] = []
    for block, into in zip(network.blocks, gradient.blocks, strict=True):
        x, back = _block(network, block, into, x)
        backs.append(back)
    x, back = _norm(network.final, gradient.final, x, network.epsilon)
    backs.append(back)
    output = network.output
    last = x

    def backward(dy: Values) -> None:
        flat = dy.reshape(-1, dy.shape[-1])
        gradient.output[...] += flat.T @ last.reshape(len(flat), -1)
        dx = dy @ output
        for step in reversed(backs):
            dx = step(dx)
        _scatter(gradient.embedding, tokens, dx)
        if gradient.positions is not None:
            gradient.positions[: tokens.shape[1]] += dx.sum(axis=0)

    return x @ output.T, backward


def _scatter(into: Values, tokens: Tokens, dx: Values) -> None:
    """Add rows to the rows of their tokens, sorted so that each is summed once."""
    flat = tokens.ravel()
    order = np.argsort(flat, kind="stable")
    known, begins = np.unique(flat[order], return_index=True)
    rows = dx.reshape(len(flat), -1)[order]
    into[known] += np.add.reduceat(rows, begins, axis=0)


def _block(
    network: Network, block: Block, into: Block, x: Values
) -> tuple[Values, Back]:
    epsilon = network.epsilon
    normed, back1 = _norm(block.before_attention, into.before_attention, x, epsilon)
    mixed, back2 = _attention(network, block.attention, into.attention, normed)
    x = x + mixed
    normed, back3 = _norm(block.before_neurons, into.before_neurons, x, epsilon)
    y, back4 = _neurons(block.experts[0], into.experts[0], normed)

    def backward(dy: Values) -> Values:
        dx = dy + back3(back4(dy))
        result: Values = dx + back1(back2(dx))
        return result

    return x + y, backward


def _norm(norm: Norm, into: Norm, x: Values, epsilon: float) -> tuple[Values, Back]:
    mean = 0 if norm.bias is None else x.mean(axis=-1, keepdims=True)
    centred = x - mean
    size = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    unit = centred * size
    y = unit * norm.weight

    def backward(dy: Values) -> Values:
        into.weight += (dy * unit).sum(axis=(0, 1))
        dz = dy * norm.weight
        dx = dz - unit * (dz * unit).mean(axis=-1, keepdims=True)
        if into.bias is not None:
            into.bias += dy.sum(axis=(0, 1))
            dx -= dz.mean(axis=-1, keepdims=True)
        result: Values = dx * size
        return result

    return (y if norm.bias is None else y + norm.bias), backward


def _linear(linear: Linear, into: Linear, x: Values) -> tuple[Values, Back]:
    y = x @ linear.weight.T

    def backward(dy: Values) -> Values:
        flat = dy.reshape(-1, dy.shape[-1])
        into.weight += flat.T @ x.reshape(len(flat), -1)
        if into.bias is not None:
            into.bias += flat.sum(axis=0)
        result: Values = dy @ linear.weight
        return result

    return (y if linear.bias is None else y + linear.bias), backward


def _attention(
    network: Network, attention: Attention, into: Attention, x: Values
) -> tuple[Values, Back]:
    batch, length, _ = x.shape
    size, groups = network.head_size, network.groups
    each = network.heads // groups
    q, back_q = _linear(attention.q, into.q, x)
    k, back_k = _linear(attention.k, into.k, x)
    v, back_v = _linear(attention.v, into.v, x)
    # (batch, groups, heads of a group, length, size): k and v broadcast over heads.
    q = q.reshape(batch, length, groups, each, size).transpose(0, 2, 3, 1, 4)
    k = k.reshape(batch, length, groups, 1, size).transpose(0, 2, 3, 1, 4)
    v = v.reshape(batch, length, groups, 1, size).transpose(0, 2, 3, 1, 4)
    turns = _turns(network, length, x.dtype)
    q, k = _turned(q, turns, 1), _turned(k, turns, 1)
    scores = q @ k.swapaxes(-1, -2) * size**-0.5
    future = np.triu(np.ones((length, length), bool), 1)
    scores = np.where(future, -np.inf, scores).astype(x.dtype)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    joined = (shares @ v).transpose(0, 3, 1, 2, 4).reshape(batch, length, -1)
    y, back_o = _linear(attention.o, into.o, joined)

    def backward(dy: Values) -> Values:
        dmixed = back_o(dy).reshape(batch, length, groups, each, size)
        dmixed = dmixed.transpose(0, 2, 3, 1, 4)
        dv = (shares.swapaxes(-1, -2) @ dmixed).sum(axis=2)
        dshares = dmixed @ v.swapaxes(-1, -2)
        dscores = shares * (dshares - (dshares * shares).sum(axis=-1, keepdims=True))
        dscores *= size**-0.5
        dq = _turned(dscores @ k, turns, -1)
        dk = _turned(
            (dscores.swapaxes(-1, -2) @ q).sum(axis=2, keepdims=True), turns, -1
        )
        wide, narrow = (batch, length, -1), (0, 2, 1, 3)
        return (
            back_q(dq.transpose(0, 3, 1, 2, 4).reshape(wide))
            + back_k(dk[:, :, 0].transpose(narrow).reshape(wide))
            + back_v(dv.transpose(narrow).reshape(wide))
        )

    return y, backward


def _turns(
    network: Network, length: int, dtype: np.dtype[Any]
) -> tuple[Values, Values] | None:
    """Cosines and sines (length, half) of rotary places; None without them."""
    if network.kind == "gpt2":
        return None
    half = network.head_size // 2
    angle = np.outer(np.arange(length), network.theta ** (-np.arange(half) / half))
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)


def _turned(x: Values, turns: tuple[Values, Values] | None, sign: int) -> Values:
    if turns is None:
        return x
    cosine, sine = turns[0], sign * turns[1]
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cosine - b * sine, b * cosine + a * sine], axis=-1)


def _neurons(neurons: Neurons, into: Neurons, x: Values) -> tuple[Values, Back]:
    up, back_up = _linear(neurons.up, into.up, x)
    if neurons.gate is None or into.gate is None:
        inner = np.tanh(_GELU * (up + 0.044715 * up * up * up))
        y, back_down = _linear(neurons.down, into.down, 0.5 * up * (1 + inner))

        def backward_gelu(dy: Values) -> Values:
            slope = _GELU * (1 + 3 * 0.044715 * up * up) * (1 - inner**2)
            return back_up(back_down(dy) * 0.5 * (1 + inner + up * slope))

        return y, backward_gelu
    gate, back_gate = _linear(neurons.gate, into.gate, x)
    sigmoid = 1 / (1 + np.exp(-gate))
    active = gate * sigmoid
    y, back_down = _linear(neurons.down, into.down, active * up)

    def backward(dy: Values) -> Values:
        dinner = back_down(dy)
        slope = sigmoid * (1 + gate * (1 - sigmoid))
        result: Values = back_gate(dinner * up * slope) + back_up(dinner * active)
        return result

    return y, backward
