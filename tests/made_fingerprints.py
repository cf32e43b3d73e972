# SPDX-License-Identifier: Apache-2.0
"""Fingerprints made of random parts, without any weights behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint, Shape, TensorRecord
from pedigree.fingerprint.roles import Role, Slot
from pedigree.fingerprint.spec import V2, Profile

Parts = dict[str, NDArray[Any]]
NEURONS = 96
WIDTH = 128
ROLES = ("gate", "up", "down")


def record(layer: int, *, neurons: int = NEURONS, width: int = WIDTH) -> TensorRecord:
    """The up matrix of a layer; its digests are made from its place."""
    mark = bytes([layer, neurons % 256, width % 256]) + bytes(13)
    size = neurons * width
    slot = Slot(Role.UP, layer, -1)
    return TensorRecord(slot, (neurons, width), mark, mark, size, 0, 999)


def random_parts(seed: int, layers: int = 2) -> Parts:
    """Every part that an exact test looks at."""
    random = np.random.default_rng(seed)

    def values(*shape: int) -> NDArray[np.int8]:
        return random.integers(-127, 128, shape).astype(np.int8)

    parts: Parts = {
        "anchor.bytes": np.arange(100, 148, dtype=np.uint32),
        "anchor.index": np.arange(64, dtype=np.int32),
        "neuron.scalars": random.integers(-9999, 9999, (layers, 32, 6)).astype("<i2"),
        "norm.ranks": values(layers, 2, 128),
        "norm.final": values(128),
    }
    for role in ROLES:
        parts[f"neuron.{role}"] = values(layers, 32, 32)
        parts[f"neuron.tsp.{role}"] = values(layers, 32, 48)
        parts[f"neuron.tspi.{role}"] = values(layers, 32, 48)
    for role in ("o", "down", "up"):
        parts[f"channel.{role}"] = values(layers, 64, 16)
    for table in ("embedding", "head"):
        parts[f"{table}.bytes"] = values(64, 48)
        parts[f"{table}.index"] = values(64, 64)
    return parts


def with_tables(parts: Parts, seed: int, neurons: int = NEURONS) -> Parts:
    """The same with tables of all neurons."""
    random = np.random.default_rng(seed)
    layers = len(parts["neuron.up"])
    rows = layers * neurons
    begin = np.arange(layers) * neurons
    tables: Parts = {
        "table.block": np.stack(
            [np.arange(layers), np.full(layers, -1), begin, begin + neurons], axis=1
        ).astype(np.int32),
        "table.scalars": random.integers(-9999, 9999, (rows, 6)).astype("<i2"),
    }
    for role in ROLES:
        for stem in ("table", "tablei"):
            tables[f"{stem}.{role}"] = random.integers(-127, 128, (rows, 48)).astype(
                np.int8
            )
    return parts | tables


def noisy(parts: Parts, seed: int, share: float = 0.3) -> Parts:
    """The parts of a relative: every number moves by a share of its deviation."""
    random = np.random.default_rng(seed)
    result: Parts = {}
    for name, values in parts.items():
        if name.startswith("anchor") or name == "table.block":
            result[name] = values
            continue
        limit = 127 if values.dtype == np.int8 else 32000
        moved = values + share * values.std() * random.normal(size=values.shape)
        result[name] = np.clip(np.rint(moved), -limit, limit).astype(values.dtype)
    return result


def fingerprint(
    parts: Parts, *, neurons: int = NEURONS, width: int = WIDTH, **changes: Any
) -> Fingerprint:
    """A Llama with these parts."""
    layers = len(parts.get("neuron.up", np.zeros(2)))
    made = Fingerprint(
        settings=V2,
        profile=Profile.DEEP,
        architecture="llama",
        reason="",
        shape=Shape(layers, width, neurons, 512),
        tensors=tuple(record(k, neurons=neurons, width=width) for k in range(layers)),
        layers=tuple(range(layers)),
        blocks=tuple((k, -1) for k in range(layers)),
        parts=parts,
    )
    return replace(made, **changes)
