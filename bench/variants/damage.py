# SPDX-License-Identifier: Apache-2.0
"""Changes that cost something of the function: noise, pruning, parts drawn anew.

Each changes a network in place.  Shares are of 1.  What is drawn anew is drawn from
the same marginal distribution, shuffled, so that no statistic of sizes gives it away.
"""

from __future__ import annotations

import numpy as np
from bench.variants.network import Array, Linear, Network
from numpy.typing import NDArray

Random = np.random.Generator


def add_noise(network: Network, random: Random, *, share: float) -> None:
    """Add normal noise of ``share`` times each matrix's standard deviation."""

    def change(values: Array) -> Array:
        drawn = random.standard_normal(values.shape, np.float32)
        noisy: Array = values + np.float32(share) * values.std() * drawn
        return noisy

    network.map_matrices(change)


def blur_neurons(network: Network, random: Random, *, share: float) -> None:
    """Add such noise to what neurons read alone: gate and up, which MATCH looks at."""
    for block in network.blocks:
        for expert in block.experts:
            for linear in (expert.gate, expert.up):
                if linear is not None:
                    values = linear.weight
                    drawn = random.standard_normal(values.shape, np.float32)
                    linear.weight = values + np.float32(share) * values.std() * drawn


def prune(network: Network, *, share: float) -> None:
    """Set the smallest ``share`` of every matrix of the blocks to zero."""

    def pruned(values: Array) -> Array:
        limit = np.quantile(np.abs(values), share)
        return np.where(np.abs(values) < limit, np.float32(0), values)

    network.map_matrices(pruned, embeddings=False)


def redraw_neurons(network: Network, random: Random, *, share: float) -> None:
    """Replace a share of the neurons of each feed-forward network by random ones."""
    for block in network.blocks:
        for expert in block.experts:
            count = len(expert.up.weight)
            chosen = random.permutation(count)[: round(share * count)]
            for linear in (expert.gate, expert.up):
                if linear is not None:
                    linear.weight[chosen] = _shuffled(linear.weight[chosen], random)
            down = expert.down.weight
            down[:, chosen] = _shuffled(down[:, chosen], random)


def _shuffled(values: Array, random: Random) -> Array:
    return random.permutation(values.ravel()).reshape(values.shape)


def redraw_gates(network: Network, random: Random, *, share: float) -> None:
    """Replace a share of the rows of ``gate`` (or else ``up``) by random ones."""
    for block in network.blocks:
        for expert in block.experts:
            rows = (expert.gate or expert.up).weight
            chosen = random.permutation(len(rows))[: round(share * len(rows))]
            rows[chosen] = _shuffled(rows[chosen], random)


def redraw_embeddings(network: Network, random: Random, *, share: float) -> None:
    """Replace a share of the token rows by random ones, in the head too."""
    count = len(network.embedding)
    chosen = random.permutation(count)[: round(share * count)]
    for rows in (network.embedding, network.head):
        if rows is not None:
            rows[chosen] = _shuffled(rows[chosen], random)


def blend_embeddings(network: Network, random: Random, *, share: float) -> None:
    """Move every token row towards a random one: ``share`` 1 leaves nothing of it."""
    for rows in (network.embedding, network.head):
        if rows is not None:
            drawn = _shuffled(rows, random)
            rows[:] = np.sqrt(1 - share**2) * rows + share * drawn


def take_embeddings(network: Network, other: Network) -> None:
    """Use the token rows of another model, as far as its shape goes.

    Raises:
        ValueError: The widths differ.
    """
    if network.width != other.width:
        raise ValueError(f"widths {network.width} and {other.width}, wanted equal ones")
    rows = min(len(network.embedding), len(other.embedding))
    network.embedding[:rows] = other.embedding[:rows]
    if network.head is not None:
        network.head[:rows] = other.output[:rows]


def fit_embeddings(network: Network, other: Network) -> None:
    """Use the token rows of another model, turned so that they fit best.

    The turn is the orthogonal Procrustes solution (Schönemann 1966) over all rows, for
    embedding and head apart.

    Raises:
        ValueError: The widths differ.
    """
    if network.width != other.width:
        raise ValueError(f"widths {network.width} and {other.width}, wanted equal ones")
    rows = min(len(network.embedding), len(other.embedding))
    for mine, theirs in ((network.embedding, other.embedding),) + (
        ((network.head, other.output),) if network.head is not None else ()
    ):
        u, _, v = np.linalg.svd(theirs[:rows].T.astype(float) @ mine[:rows])
        mine[:rows] = theirs[:rows] @ (u @ v)


def redraw_layers(network: Network, random: Random, *, count: int) -> None:
    """Draw all matrices of ``count`` layers anew."""
    for layer in random.permutation(len(network.blocks))[:count]:
        for linear in network.linears(network.blocks[layer]):
            linear.weight = _shuffled(linear.weight, random)


def redraw_attention(network: Network, random: Random, *, share: float) -> None:
    """Replace a share of the heads' values by random ones, o included."""
    size, each = network.head_size, network.heads // network.groups
    for block in network.blocks:
        order = random.permutation(network.groups)
        for group in order[: round(share * network.groups)]:
            _redraw_rows(block.attention.k, _span(group, size), random)
            _redraw_rows(block.attention.v, _span(group, size), random)
            heads = _span(group, size * each)
            _redraw_rows(block.attention.q, heads, random)
            o = block.attention.o.weight
            o[:, heads] = _shuffled(o[:, heads], random)


def _span(index: int, size: int) -> NDArray[np.int64]:
    return np.arange(index * size, (index + 1) * size)


def _redraw_rows(linear: Linear, rows: NDArray[np.int64], random: Random) -> None:
    linear.weight[rows] = _shuffled(linear.weight[rows], random)
