# SPDX-License-Identifier: Apache-2.0
"""Changes of the weights that leave the function as it is.

Each takes a network and changes it in place.  They are the symmetries of the blocks: of
neurons, heads, channels and norms, of the product of q and k, and of v and o.  Work is
done in float64, so that only storage rounds.
"""

from __future__ import annotations

import numpy as np
from bench.variants.network import Array, Block, Linear, Network, Norm
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Random = np.random.Generator


def _f32(values: NDArray[np.floating]) -> Array:
    return np.ascontiguousarray(values, np.float32)


def _reorder(linear: Linear, order: NDArray[np.int64]) -> None:
    """Reorder the outputs."""
    linear.weight = linear.weight[order]
    if linear.bias is not None:
        linear.bias = linear.bias[order]


def permute_neurons(network: Network, random: Random) -> None:
    """Permute the neurons of every feed-forward network, and the experts."""
    for block in network.blocks:
        for expert in block.experts:
            order = random.permutation(len(expert.up.weight))
            _reorder(expert.up, order)
            if expert.gate is not None:
                _reorder(expert.gate, order)
            expert.down.weight = expert.down.weight[:, order]
        if block.router is not None:
            order = random.permutation(len(block.experts))
            block.experts = [block.experts[k] for k in order]
            _reorder(block.router, order)


def permute_heads(network: Network, random: Random) -> None:
    """Permute groups of heads, and the query heads inside each group."""
    size, each = network.head_size, network.heads // network.groups
    for block in network.blocks:
        groups = random.permutation(network.groups)
        heads = np.concatenate([g * each + random.permutation(each) for g in groups])
        wide = (heads[:, None] * size + np.arange(size)).ravel()
        narrow = (groups[:, None] * size + np.arange(size)).ravel()
        _reorder(block.attention.q, wide)
        _reorder(block.attention.k, narrow)
        _reorder(block.attention.v, narrow)
        block.attention.o.weight = block.attention.o.weight[:, wide]


def permute_channels(network: Network, random: Random) -> None:
    """Permute the channels of the residual stream."""
    order = random.permutation(network.width)
    _to_basis(network, np.eye(network.width)[order])
    for norm in _norms(network):
        norm.weight = norm.weight[order]
        if norm.bias is not None:
            norm.bias = norm.bias[order]


def _norms(network: Network) -> list[Norm]:
    inner = [n for b in network.blocks for n in (b.before_attention, b.before_neurons)]
    return [*inner, network.final]


def rotate_channels(
    network: Network, random: Random, *, turn: float = 1.0, block: int | None = None
) -> None:
    """Rotate the residual stream; norms are folded first, so they commute with it.

    LayerNorm takes off the mean, so its rotation keeps the direction of all ones.

    Args:
        network: Changed in place.
        random: Where the rotation comes from.
        turn: The power of a random rotation that is taken, from 0 (none) to 1.
        block: Rotate blocks of this many channels apart from each other; None for one
            rotation of all.
    """
    fold_norms(network)
    width = network.width
    mean = network.kind == "gpt2"
    free = width - 1 if mean else width
    size = block or free
    inner = np.zeros((free, free))
    for begin in range(0, free, size):
        part = slice(begin, min(begin + size, free))
        inner[part, part] = power(orthogonal(part.stop - begin, random), turn)
    if mean:
        ones = np.full((width, 1), width**-0.5)
        whole = np.linalg.qr(np.hstack([ones, np.eye(width)[:, 1:]]))[0]
        rest = whole[:, 1:]
        inner = ones @ ones.T + rest @ inner @ rest.T
    _to_basis(network, inner)
    if network.final.bias is not None:
        network.final.bias = _f32(inner @ network.final.bias)


def _to_basis(network: Network, basis: Matrix) -> None:
    """Multiply the residual stream by an orthogonal matrix; norms are left alone."""
    network.embedding = _f32(network.embedding @ basis.T)
    if network.head is not None:
        network.head = _f32(network.head @ basis.T)
    if network.positions is not None:
        network.positions = _f32(network.positions @ basis.T)
    for block in network.blocks:
        for reader in _attention_readers(block) + _neuron_readers(block):
            reader.weight = _f32(reader.weight @ basis.T)
        for writer in (block.attention.o, *(e.down for e in block.experts)):
            writer.weight = _f32(basis @ writer.weight)
            if writer.bias is not None:
                writer.bias = _f32(basis @ writer.bias)


def _attention_readers(block: Block) -> list[Linear]:
    return [block.attention.q, block.attention.k, block.attention.v]


def _neuron_readers(block: Block) -> list[Linear]:
    found = [x for e in block.experts for x in (e.gate, e.up) if x is not None]
    return found if block.router is None else [*found, block.router]


def orthogonal(size: int, random: Random) -> Matrix:
    """A rotation drawn uniformly (Stewart 1980): QR with the signs of R taken out."""
    q, r = np.linalg.qr(random.normal(size=(size, size)))
    q = q * np.sign(np.diag(r))
    if np.linalg.det(q) < 0:
        q[:, 0] = -q[:, 0]
    return np.asarray(q)


def power(rotation: Matrix, exponent: float) -> Matrix:
    """A real power of a rotation: 0 gives the identity, 1 the rotation."""
    if exponent == 1:
        return rotation
    values, vectors = np.linalg.eig(rotation)
    turned = np.exp(1j * exponent * np.angle(values))
    return np.real((vectors * turned) @ np.linalg.inv(vectors))


def fold_norms(network: Network) -> None:
    """Move the weights of every norm into the matrices that read it.

    The last norm's bias stays, divided by its weight: a head has no bias to take it.
    """
    for block in network.blocks:
        _fold(block.before_attention, _attention_readers(block))
        _fold(block.before_neurons, _neuron_readers(block))
    final = network.final
    if not np.all(final.weight == 1):
        network.head = _f32(network.output.astype(float) * final.weight)
        if final.bias is not None:
            final.bias = _f32(final.bias.astype(float) / final.weight)
        final.weight = np.ones_like(final.weight)


def _fold(norm: Norm, readers: list[Linear]) -> None:
    for reader in readers:
        weight = reader.weight.astype(float)
        if norm.bias is not None and reader.bias is not None:
            reader.bias = _f32(reader.bias + weight @ norm.bias)
        reader.weight = _f32(weight * norm.weight)
    norm.weight = np.ones_like(norm.weight)
    if norm.bias is not None:
        norm.bias = np.zeros_like(norm.bias)


def scale_norms(network: Network, random: Random, *, spread: float = 0.5) -> None:
    """Scale the channels of every norm but the last, and undo it in what reads it."""
    for block in network.blocks:
        for norm, readers in (
            (block.before_attention, _attention_readers(block)),
            (block.before_neurons, _neuron_readers(block)),
        ):
            scale = np.exp(spread * random.normal(size=network.width))
            norm.weight = _f32(norm.weight * scale)
            if norm.bias is not None:
                norm.bias = _f32(norm.bias * scale)
            for reader in readers:
                reader.weight = _f32(reader.weight / scale)


def scale_neurons(network: Network, random: Random, *, spread: float = 0.5) -> None:
    """Scale ``up`` by factors of any sign and ``down`` by their inverses.

    Only where a gate goes through the activation: otherwise ``up`` does, and is fixed.
    """
    for block in network.blocks:
        for expert in block.experts:
            if expert.gate is None:
                continue
            count = len(expert.up.weight)
            scale = np.exp(spread * random.normal(size=count))
            scale *= random.choice([-1.0, 1.0], count)
            expert.up.weight = _f32(expert.up.weight * scale[:, None])
            if expert.up.bias is not None:
                expert.up.bias = _f32(expert.up.bias * scale)
            expert.down.weight = _f32(expert.down.weight / scale)


def mix_queries(network: Network, random: Random, *, spread: float = 0.5) -> None:
    """Change q and k of each group so that their products stay.

    With rotary places only what commutes with the rotation of a pair does that: a
    turn and a factor for each pair.  Without, any invertible matrix.
    """
    size, each = network.head_size, network.heads // network.groups
    for block in network.blocks:
        changes = []
        for _ in range(network.groups):
            if network.kind == "gpt2":
                changes.append(_invertible(size, random, spread))
            else:
                changes.append(_of_pairs(size, random, spread))
        queries = [m for m in changes for _ in range(each)]
        _mix_outputs(block.attention.q, queries, size)
        keys = [np.asarray(np.linalg.inv(m).T, float) for m in changes]
        _mix_outputs(block.attention.k, keys, size)


def _of_pairs(size: int, random: Random, spread: float) -> Matrix:
    half = size // 2
    angle = random.uniform(0, 2 * np.pi, half)
    factor = np.exp(spread * random.normal(size=half))
    cosine, sine = np.diag(factor * np.cos(angle)), np.diag(factor * np.sin(angle))
    return np.block([[cosine, -sine], [sine, cosine]])


def _invertible(size: int, random: Random, spread: float) -> Matrix:
    factor = np.exp(spread * random.normal(size=size))
    return orthogonal(size, random) * factor @ orthogonal(size, random)


def mix_values(network: Network, random: Random, *, spread: float = 0.5) -> None:
    """Multiply v of each group by an invertible matrix, and o by its inverse.

    With ``spread`` 0 the matrix is orthogonal.
    """
    size, each = network.head_size, network.heads // network.groups
    for block in network.blocks:
        changes = [_invertible(size, random, spread) for _ in range(network.groups)]
        _mix_outputs(block.attention.v, changes, size)
        back = [np.linalg.inv(m) for m in changes for _ in range(each)]
        o = block.attention.o.weight.reshape(network.width, network.heads, size)
        mixed = [o[:, h] @ m for h, m in enumerate(back)]
        block.attention.o.weight = _f32(np.concatenate(mixed, axis=1))


def _mix_outputs(linear: Linear, changes: list[Matrix], size: int) -> None:
    """Multiply the outputs of each head by its matrix."""
    parts = np.split(linear.weight, len(changes))
    linear.weight = _f32(
        np.concatenate([m @ p for m, p in zip(changes, parts, strict=True)])
    )
    if linear.bias is not None:
        biases = linear.bias.reshape(len(changes), size)
        linear.bias = _f32(
            np.concatenate([m @ b for m, b in zip(changes, biases, strict=True)])
        )


def launder(network: Network, random: Random, *, spread: float = 0.5) -> None:
    """All of it, with a rotation of the whole residual stream."""
    rotate_channels(network, random)
    permute_neurons(network, random)
    scale_neurons(network, random, spread=spread)
    permute_heads(network, random)
    mix_queries(network, random, spread=spread)
    mix_values(network, random, spread=spread)
