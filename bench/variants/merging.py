# SPDX-License-Identifier: Apache-2.0
"""Merges of models of one shape: by values (linear, SLERP, TIES, DARE) and by layers.

TIES (Yadav et al. 2023) and DARE (Yu et al. 2024) merge what models changed of a base;
the first model given is that base.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
from bench.variants.network import Array, Network, Tensors, network_of, tensors_of
from numpy.typing import NDArray

Random = np.random.Generator


def _merged(
    networks: Sequence[Network], merge: Callable[[list[Array]], Array]
) -> Network:
    """Apply ``merge`` to each tensor of all models.

    Raises:
        ValueError: The models differ in their tensors' shapes.
    """
    parts: list[Tensors] = [tensors_of(network) for network in networks]
    shapes = [{name: t.shape for name, t in part.items()} for part in parts]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("the models differ in shape, wanted equal ones")
    mixed = {
        name: np.ascontiguousarray(merge([part[name] for part in parts]), np.float32)
        for name in parts[0]
    }
    return network_of(mixed, _config(networks[0]))


def _config(network: Network) -> dict[str, object]:
    """As much of a config as brings the names back into the one form."""
    block = network.blocks[0]
    if network.kind == "gpt2":
        return {
            "n_embd": network.width,
            "n_head": network.heads,
            "n_layer": len(network.blocks),
            "layer_norm_epsilon": network.epsilon,
            "tie_word_embeddings": network.head is None,
        }
    return {
        "hidden_size": network.width,
        "num_attention_heads": network.heads,
        "num_key_value_heads": network.groups,
        "head_dim": network.head_size,
        "num_hidden_layers": len(network.blocks),
        "rope_theta": network.theta,
        "rms_norm_eps": network.epsilon,
        "tie_word_embeddings": network.head is None,
        "num_local_experts": len(block.experts) if block.router is not None else 0,
        "num_experts_per_tok": network.experts_used,
    }


def linear(networks: Sequence[Network], shares: Sequence[float]) -> Network:
    """Sum of the models times their shares."""
    weights = np.asarray(shares, np.float32)
    return _merged(networks, lambda parts: np.tensordot(weights, np.stack(parts), 1))


def slerp(networks: Sequence[Network], share: float) -> Network:
    """On the great circle between two models, ``share`` of the way to the second."""

    def merge(parts: list[Array]) -> Array:
        a, b = (part.astype(float).ravel() for part in parts)
        cosine = a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30)
        angle = float(np.arccos(np.clip(cosine, -1, 1)))
        if angle < 1e-4:
            mixed = (1 - share) * a + share * b
        else:
            mixed = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / (
                np.sin(angle)
            )
        return mixed.reshape(parts[0].shape).astype(np.float32)

    return _merged(networks[:2], merge)


def ties(
    networks: Sequence[Network], shares: Sequence[float], *, density: float = 0.3
) -> Network:
    """Keep each model's largest changes, elect a sign, and average what agrees.

    Args:
        networks: The base, and the models whose changes are merged.
        shares: One for each of those models.
        density: Share of the changes of each tensor that are kept.
    """
    weights = np.asarray(shares, float)

    def merge(parts: list[Array]) -> Array:
        base = parts[0].astype(float)
        changes = np.stack([_largest(p - base, density) for p in parts[1:]])
        column = weights.reshape(-1, *[1] * base.ndim)
        scaled = changes * column
        sign = np.sign(scaled.sum(axis=0))
        agreed = np.where(np.sign(scaled) == sign, scaled, 0)
        total = ((agreed != 0) * column).sum(axis=0)
        mean = agreed.sum(axis=0) / np.where(total == 0, 1, total)
        return np.asarray(base + mean, np.float32)

    return _merged(networks, merge)


def _largest(values: NDArray[np.float64], density: float) -> NDArray[np.float64]:
    limit = np.quantile(np.abs(values), 1 - density)
    return np.where(np.abs(values) >= limit, values, 0)


def dare(
    networks: Sequence[Network],
    shares: Sequence[float],
    random: Random,
    *,
    drop: float = 0.5,
) -> Network:
    """Drop changes at random, scale up the others, and add the shares to the base.

    Args:
        networks: The base, and the models whose changes are merged.
        shares: One for each of those models.
        random: What is dropped.
        drop: Probability of being dropped.
    """

    def merge(parts: list[Array]) -> Array:
        result = parts[0].astype(float)
        for share, part in zip(shares, parts[1:], strict=True):
            kept = random.random(part.shape) >= drop
            result = result + share * np.where(kept, part - parts[0], 0) / (1 - drop)
        return result.astype(np.float32)

    return _merged(networks, merge)


def passthrough(
    networks: Sequence[Network], plan: Sequence[tuple[int, int]]
) -> Network:
    """Stack layers of several models; all else is the first one's.

    Args:
        networks: The models.
        plan: For each layer of the result, the model and its layer.
    """
    made = copy.deepcopy(networks[0])
    made.blocks = [copy.deepcopy(networks[m].blocks[layer]) for m, layer in plan]
    return made
