# SPDX-License-Identifier: Apache-2.0
"""Changes that need more than one call: rounding, storage, merges, healing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from bench.variants import merging
from bench.variants.files import Model
from bench.variants.network import Array
from bench.variants.rounding import fp8, integers

Random = np.random.Generator
Change = Callable[[Model, float, Random, Sequence[Model]], None]


def to_integers(bits: int, group: int | None) -> Change:
    """Round to integers with a scale for each group, so many times."""

    def change(model: Model, times: float, _: Random, __: Sequence[Model]) -> None:
        for turn in range(int(times)):
            # A second rounding on the same lattice changes nothing: shift the groups.
            size = group if turn % 2 == 0 or group is None else group + 8

            def rounded(values: Array, size: int | None = size) -> Array:
                return integers(values, bits, size)

            model.network.map_matrices(rounded, embeddings=False)

    return change


def to_fp8(model: Model, _: float, __: Random, ___: Sequence[Model]) -> None:
    """Round every matrix of the blocks to fp8."""
    model.network.map_matrices(fp8, embeddings=False)


def stored_as(dtype: str) -> Change:
    """Store as another type."""

    def change(model: Model, _: float, __: Random, ___: Sequence[Model]) -> None:
        model.dtype = dtype

    return change


def in_shards(model: Model, count: float, _: Random, __: Sequence[Model]) -> None:
    """Split into so many files."""
    model.shards = int(count)


def merge_linear(
    model: Model, share: float, _: Random, others: Sequence[Model]
) -> None:
    """Sum of two models."""
    parts = [model.network, others[0].network]
    model.network = merging.linear(parts, [1 - share, share])


def merge_slerp(model: Model, share: float, _: Random, others: Sequence[Model]) -> None:
    """Between two models, on a circle."""
    model.network = merging.slerp([model.network, others[0].network], share)


def merge_ties(model: Model, share: float, _: Random, others: Sequence[Model]) -> None:
    """TIES of two other models on this base."""
    parts = [model.network, *(other.network for other in others[:2])]
    model.network = merging.ties(parts, [1 - share, share])


def merge_dare(
    model: Model, share: float, random: Random, others: Sequence[Model]
) -> None:
    """DARE of two other models on this base."""
    parts = [model.network, *(other.network for other in others[:2])]
    model.network = merging.dare(parts, [1 - share, share], random)


def stack_layers(
    model: Model, share: float, random: Random, others: Sequence[Model]
) -> None:
    """Take a share of the layers from another model."""
    layers = len(model.network.blocks)
    count = round(share * layers)
    foreign = set(random.permutation(layers)[:count].tolist())
    plan = [(int(layer in foreign), layer) for layer in range(layers)]
    parts = [model.network, others[0].network]
    model.network = merging.passthrough(parts, plan)


def train_on(model: Model, steps: float, random: Random, _: Sequence[Model]) -> None:
    """Train further."""
    # The trainer is needed for this step alone, and reads variants itself.
    from bench.train.healing import heal

    heal(model, steps=int(steps), seed=int(random.integers(1 << 31)))
