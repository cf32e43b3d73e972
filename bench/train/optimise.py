# SPDX-License-Identifier: Apache-2.0
"""Random initialisation, AdamW, and the loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from bench.train.backward import Tokens, Values, forward, loss_and_gradient
from bench.variants.network import (
    Array,
    Attention,
    Block,
    Linear,
    Network,
    Neurons,
    Norm,
)


@dataclass(frozen=True)
class Sizes:
    """Shape of a model that is trained here."""

    kind: str = "llama"
    tokens: int = 512
    width: int = 64
    layers: int = 4
    heads: int = 4
    groups: int = 2
    neurons: int = 176
    places: int = 128


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    The rate rises over ``warm`` steps and falls along a cosine to a tenth; decoupled
    decay of matrices as in AdamW (Loshchilov & Hutter 2019).
    """

    steps: int = 1500
    rate: float = 3e-3
    batch: int = 16
    length: int = 128
    decay: float = 0.1
    warm: int = 50

    def rate_at(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        if step < self.warm:
            return self.rate * (step + 1) / self.warm
        done = (step - self.warm) / max(1, self.steps - self.warm)
        return self.rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def initial(sizes: Sizes, seed: int) -> Network:
    """Normal matrices of deviation 0.02, norms of ones, biases of zeros."""
    random = np.random.default_rng([seed, 0])
    biased = sizes.kind == "gpt2"

    def matrix(rows: int, columns: int) -> Array:
        return random.normal(0, 0.02, (rows, columns)).astype(np.float32)

    def linear(rows: int, columns: int) -> Linear:
        bias = np.zeros(rows, np.float32) if biased else None
        return Linear(matrix(rows, columns), bias)

    def norm() -> Norm:
        bias = np.zeros(sizes.width, np.float32) if biased else None
        return Norm(np.ones(sizes.width, np.float32), bias)

    width = sizes.width
    groups = sizes.heads if biased else sizes.groups
    narrow = groups * (width // sizes.heads)

    def block() -> Block:
        attention = Attention(
            linear(width, width),
            linear(narrow, width),
            linear(narrow, width),
            linear(width, width),
        )
        gate = None if biased else linear(sizes.neurons, width)
        neurons = Neurons(
            gate, linear(sizes.neurons, width), linear(width, sizes.neurons)
        )
        return Block(norm(), attention, norm(), [neurons])

    return Network(
        kind=sizes.kind,
        embedding=matrix(sizes.tokens, width),
        head=None if biased else matrix(sizes.tokens, width),
        positions=matrix(sizes.places, width) if biased else None,
        blocks=[block() for _ in range(sizes.layers)],
        final=norm(),
        heads=sizes.heads,
        groups=groups,
        head_size=width // sizes.heads,
        theta=10000.0,
        epsilon=1e-5,
        prefix="transformer." if biased else "model.",
    )


def arrays(network: Network) -> Iterator[Values]:
    """All parameters, in a fixed order; the arrays themselves, not copies."""
    yield network.embedding
    for extra in (network.head, network.positions):
        if extra is not None:
            yield extra
    parts: list[Norm | Linear] = [network.final]
    for block in network.blocks:
        parts += [block.before_attention, block.before_neurons, *network.linears(block)]
    for part in parts:
        yield part.weight
        if part.bias is not None:
            yield part.bias


def zeros_like(network: Network) -> Network:
    """A network of the same shapes that holds zeros."""
    made = copy.deepcopy(network)
    for values in arrays(made):
        values[...] = 0
    return made


class AdamW:
    """Adam with decoupled weight decay of everything that has two axes."""

    def __init__(self, network: Network, *, decay: float) -> None:
        self.decay = decay
        self._parameters = list(arrays(network))
        self._first = [np.zeros_like(p) for p in self._parameters]
        self._second = [np.zeros_like(p) for p in self._parameters]
        self._step = 0

    def step(self, gradient: Network, rate: float) -> None:
        """One update; gradients longer than 1 in all are shortened to it."""
        self._step += 1
        gradients = list(arrays(gradient))
        length = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients))
        short = 1 / max(1.0, length)
        correct1, correct2 = 1 - 0.9**self._step, 1 - 0.95**self._step
        for p, g, m, v in zip(
            self._parameters, gradients, self._first, self._second, strict=True
        ):
            g = g * np.float32(short)
            m += 0.1 * (g - m)
            v += 0.05 * (g * g - v)
            if p.ndim == 2:
                p *= 1 - rate * self.decay
            p -= rate * (m / correct1) / (np.sqrt(v / correct2) + 1e-8)


def train(
    network: Network,
    text: Tokens,
    schedule: Schedule,
    *,
    order: int,
    teacher: Network | None = None,
    keep: Callable[[Network], None] | None = None,
    tell: Callable[[int, float], None] | None = None,
) -> float:
    """Train in place on random pieces of a text.

    Args:
        network: Changed in place.
        text: One row of token numbers.
        schedule: How long and how fast.
        order: Seed of the order of the pieces.
        teacher: If given, its predictions are learned instead of the text.
        keep: Called after each step, for example to hold pruned weights at zero.
        tell: Called with the step and the mean loss since the last call.

    Returns:
        Mean loss of the last 50 steps, in nats a token.
    """
    random = np.random.default_rng([order, 1])
    optimiser = AdamW(network, decay=schedule.decay)
    losses: list[float] = []
    for step in range(schedule.steps):
        begins = random.integers(0, len(text) - schedule.length - 1, schedule.batch)
        pieces = text[begins[:, None] + np.arange(schedule.length + 1)]
        tokens, targets = pieces[:, :-1], pieces[:, 1:]
        gradient = zeros_like(network)
        shares = None if teacher is None else _shares(teacher, tokens)
        losses.append(loss_and_gradient(network, gradient, tokens, targets, shares))
        optimiser.step(gradient, schedule.rate_at(step))
        if keep is not None:
            keep(network)
        if tell is not None and step % 100 == 99:
            tell(step + 1, float(np.mean(losses[-100:])))
    return float(np.mean(losses[-50:]))


def _shares(teacher: Network, tokens: Tokens) -> Values:
    scores, _ = forward(teacher, teacher, tokens)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: Values = shares / shares.sum(axis=-1, keepdims=True)
    return result
