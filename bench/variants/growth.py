# SPDX-License-Identifier: Apache-2.0
"""Additions that change every shape and leave the function as it is.

Dead or doubled neurons, heads that write nothing, layers that pass everything through,
and channels that carry nothing.  Alone they show as zeros; after laundering (a rotation
fills the empty channels) they do not.
"""

from __future__ import annotations

import copy
import math

import numpy as np
from bench.variants.network import Array, Linear, Network, Norm
from numpy.typing import NDArray

Random = np.random.Generator


def _like(values: Array, shape: tuple[int, ...], random: Random) -> Array:
    """Values drawn from those of a matrix."""
    return random.choice(values.ravel(), shape)


def _more_outputs(linear: Linear, rows: Array) -> None:
    linear.weight = np.concatenate([linear.weight, rows])
    if linear.bias is not None:
        linear.bias = np.concatenate([linear.bias, np.zeros(len(rows), np.float32)])


def split_neurons(network: Network, random: Random, *, share: float) -> None:
    """Double a share of the neurons; the two together write what the one wrote."""
    for block in network.blocks:
        for expert in block.experts:
            count = len(expert.up.weight)
            chosen = random.permutation(count)[: round(share * count)]
            for linear in (expert.gate, expert.up):
                if linear is not None:
                    bias = linear.bias
                    _more_outputs(linear, linear.weight[chosen])
                    if bias is not None:
                        linear.bias = np.concatenate([bias, bias[chosen]])
            down = expert.down.weight
            part = random.uniform(0.2, 0.8, len(chosen)).astype(np.float32)
            second = down[:, chosen] * part
            down[:, chosen] -= second
            expert.down.weight = np.concatenate([down, second], axis=1)


def pad_neurons(network: Network, random: Random, *, share: float) -> None:
    """Add random neurons that write nothing."""
    for block in network.blocks:
        for expert in block.experts:
            more = round(share * len(expert.up.weight))
            for linear in (expert.gate, expert.up):
                if linear is not None:
                    shape = (more, network.width)
                    _more_outputs(linear, _like(linear.weight, shape, random))
            down = expert.down.weight
            nothing = np.zeros((len(down), more), np.float32)
            expert.down.weight = np.concatenate([down, nothing], axis=1)


def add_decoys(network: Network, random: Random, *, times: float) -> None:
    """Add neurons that read like one real neuron in the gate and like another in up.

    They come in pairs that write opposite things, so that nothing of them is left and
    none is dead.  Aimed at matching: each real row has ``2 * times`` equals among the
    decoys, whose other half belongs to another neuron.  Without a gate, what is written
    takes the place of up.  Part of a time is that share of the neurons.
    """
    for block in network.blocks:
        for expert in block.experts:
            count = len(expert.up.weight)
            gate, up = expert.gate or expert.up, expert.up
            read, other = gate.weight.copy(), up.weight.copy()
            bias, written = gate.bias, expert.down.weight.copy()
            for turn in range(math.ceil(times)):
                size = round(min(1.0, times - turn) * count)
                chosen, order, third = (
                    random.permutation(count)[:size] for _ in range(3)
                )
                for sign in (1, -1):
                    if expert.gate is not None:
                        _more_outputs(expert.gate, read[chosen])
                        _more_outputs(up, other[order])
                    else:
                        _more_outputs(up, read[chosen])
                    if bias is not None and gate.bias is not None:
                        gate.bias[-size:] = bias[chosen]
                    more = np.float32(sign) * written[:, third]
                    expert.down.weight = np.hstack([expert.down.weight, more])


def insert_layers(network: Network, random: Random, *, count: int) -> None:
    """Add layers with random weights that write nothing, at random places."""
    for _ in range(count):
        block = copy.deepcopy(network.blocks[random.integers(len(network.blocks))])
        for linear in network.linears(block):
            linear.weight = random.permutation(linear.weight.ravel()).reshape(
                linear.weight.shape
            )
        for writer in (block.attention.o, *(e.down for e in block.experts)):
            writer.weight = np.zeros_like(writer.weight)
            if writer.bias is not None:
                writer.bias = np.zeros_like(writer.bias)
        network.blocks.insert(int(random.integers(len(network.blocks) + 1)), block)


def pad_heads(network: Network, random: Random) -> None:
    """Add a random group of heads to every layer that writes nothing.

    Raises:
        ValueError: GPT-2, whose heads fill the width.
    """
    _only_llama(network, "heads")
    size, each = network.head_size, network.heads // network.groups
    for block in network.blocks:
        attention = block.attention
        for linear, rows in (
            (attention.q, size * each),
            (attention.k, size),
            (attention.v, size),
        ):
            shape = (rows, network.width)
            _more_outputs(linear, _like(linear.weight, shape, random))
        nothing = np.zeros((network.width, size * each), np.float32)
        attention.o.weight = np.concatenate([attention.o.weight, nothing], axis=1)
    network.groups += 1
    network.heads += each


def pad_channels(network: Network, random: Random, *, share: float) -> None:
    """Widen the residual stream by channels that carry nothing.

    RMSNorm divides by the root of the mean square, which more channels lower by the
    root of the ratio of widths; the norms' weights and the epsilon make up for it.

    Raises:
        ValueError: GPT-2, whose norms take off a mean and whose heads fill the width.
    """
    _only_llama(network, "channels")
    old = network.width
    more = round(share * old)
    ratio = old / (old + more)

    def nothing(rows: Array) -> Array:
        return np.pad(rows, ((0, 0), (0, more)))

    network.embedding = nothing(network.embedding)
    if network.head is not None:
        network.head = nothing(network.head)
    for block in network.blocks:
        readers = [block.attention.q, block.attention.k, block.attention.v]
        readers += [x for e in block.experts for x in (e.gate, e.up) if x is not None]
        readers += [block.router] if block.router is not None else []
        for reader in readers:
            drawn = _like(reader.weight, (len(reader.weight), more), random)
            reader.weight = np.concatenate([reader.weight, drawn], axis=1)
        for writer in (block.attention.o, *(e.down for e in block.experts)):
            writer.weight = np.pad(writer.weight, ((0, more), (0, 0)))
            if writer.bias is not None:
                writer.bias = np.pad(writer.bias, (0, more))
        for norm in (block.before_attention, block.before_neurons):
            _widen(norm, more, ratio)
    _widen(network.final, more, ratio)
    network.epsilon *= ratio


def _widen(norm: Norm, more: int, ratio: float) -> None:
    weights: NDArray[np.float32] = np.pad(norm.weight, (0, more), mode="reflect")
    norm.weight = weights * np.float32(math.sqrt(ratio))


def _only_llama(network: Network, what: str) -> None:
    if network.kind != "llama":
        raise ValueError(f"GPT-2 has no room for more {what}, wanted a Llama")
