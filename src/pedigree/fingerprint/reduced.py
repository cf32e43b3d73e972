# SPDX-License-Identifier: Apache-2.0
"""Smaller profiles out of larger ones, without the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import NO_DIGEST, Fingerprint
from pedigree.fingerprint.slots import Part, Role, Slot
from pedigree.fingerprint.spec import FingerprintSpec, Profile

_ROLES = (Role.EMBEDDING, Role.HEAD, Role.UP, Role.DOWN)


def minimal_cuts(spec: FingerprintSpec) -> dict[str, tuple[int | None, ...]]:
    """Parts of the minimal profile, and how many of each dimension it keeps."""
    tokens, norms = spec.minimal_tokens, spec.minimal_norm_channels
    sketch = (None, spec.minimal_neurons, spec.minimal_sketch)
    return {
        "anchor.bytes": (tokens,),
        "anchor.index": (tokens,),
        "neuron.gate": sketch,
        "neuron.up": sketch,
        "embedding.bytes": (None, tokens),
        "embedding.index": (None, tokens),
        "norm.ranks": (None, None, norms),
        "norm.final": (norms,),
        "code.e": (None,),
        "code.r": (None,),
        "code.v": (None,),
    }


def reduced(fingerprint: Fingerprint) -> Fingerprint:
    """The minimal fingerprint of a fast or deep one.

    It keeps coarse codes, the beginnings of some arrays for a few layers, spread
    evenly, and records of the embedding, the head, and the first of these layers.
    """
    if fingerprint.profile is Profile.MINIMAL:
        return fingerprint
    spec = fingerprint.settings
    layers = _spread(fingerprint.layers, spec.minimal_layers)
    by_layer = [fingerprint.layers.index(layer) for layer in layers]
    taken: dict[int, int] = {}  # layer to its first block
    for place, (layer, _) in enumerate(fingerprint.blocks):
        taken.setdefault(layer, place)
    by_block = [taken[layer] for layer in layers if layer in taken]
    places = {"norm.ranks": by_layer, "neuron.gate": by_block, "neuron.up": by_block}
    parts: dict[str, NDArray[Any]] = {}
    for name, cut in minimal_cuts(spec).items():
        found = fingerprint.part(name)
        if found is not None:
            rows = found[places[name]] if name in places else found
            parts[name] = rows[tuple(slice(most) for most in cut)]
    kept = {Slot(role, layer) for role in _ROLES for layer in (-1, *layers[:1])}
    return replace(
        fingerprint,
        profile=Profile.MINIMAL,
        tensors=tuple(
            replace(record, full_digest=NO_DIGEST)
            for record in fingerprint.tensors
            if record.slot in kept and record.slot.part is Part.WEIGHT
        ),
        layers=tuple(layers),
        blocks=tuple(fingerprint.blocks[place] for place in by_block),
        parts={name: array for name, array in parts.items() if array.size},
    )


def _spread(layers: tuple[int, ...], most: int) -> list[int]:
    """At most ``most`` of some layers, spread evenly."""
    if len(layers) <= most:
        return list(layers)
    places = np.arange(most) * (len(layers) - 1) // (most - 1)
    return [layers[place] for place in places.tolist()]


def fast_view(
    parts: Mapping[str, NDArray[Any]], spec: FingerprintSpec, row_major: bool
) -> dict[str, NDArray[Any]]:
    """The parts as the fast profile has them, of those of a deep fingerprint.

    Args:
        parts: By name.
        spec: Of the fingerprint.
        row_major: Whether columns of down cannot be read without its rows.
    """
    tokens, rows = spec.byte_tokens, spec.index_tokens
    projected, index = spec.projected_neurons, spec.projected_index_tokens
    cuts: dict[str, tuple[int | None, ...]] = {
        "anchor.bytes": (tokens,),
        "anchor.index": (rows,),
        "neuron.scalars": (None, projected),
        "raw": (None, spec.raw, spec.raw),
        "fossil.index": (spec.fossils,),
        "fossil.head": (spec.fossils,),
        "fossil.rows": (spec.fossils,),
    }
    for name in ("gate", "up", "down"):
        cuts[f"neuron.tsp.{name}"] = (None, projected, tokens)
        cuts[f"neuron.tspi.{name}"] = (None, projected, index)
    for name in ("embedding", "head"):
        cuts[f"{name}.bytes"] = (None, tokens)
        cuts[f"{name}.index"] = (None, rows)
    result: dict[str, NDArray[Any]] = {}
    for name, array in parts.items():
        deep = name.startswith(("table", "adapt.")) or name == "channel.up"
        of_down = name.startswith("neuron.") and name.endswith(".down")
        if not deep and not (of_down and row_major):
            result[name] = array[tuple(slice(most) for most in cuts.get(name, ()))]
    if row_major and "neuron.scalars" in result:
        scalars = result["neuron.scalars"].copy()
        scalars[:, :, [1, 2, 3, 5]] = -32768
        result["neuron.scalars"] = scalars
    return result
