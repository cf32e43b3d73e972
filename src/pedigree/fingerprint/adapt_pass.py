# SPDX-License-Identifier: Apache-2.0
"""The parts ``adapt.*``, from the samples of one pass; see ``adapters``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.adapters import (
    NEURON_KINDS,
    READS,
    RESIDUAL_KINDS,
    Kind,
    adapter_modules,
    adapter_parts,
    adapter_widths,
    halves,
    kept_layers,
)
from pedigree.fingerprint.bits import Bits, values_of
from pedigree.fingerprint.canonical import canonical
from pedigree.fingerprint.model import Fingerprint, Shape
from pedigree.fingerprint.plan import Plan
from pedigree.fingerprint.sampling import Axis
from pedigree.fingerprint.sketches import quantise
from pedigree.fingerprint.slots import Part, Role, Slot
from pedigree.tensors.checkpoint import Checkpoint

_GROUPS = {"adapt.residual": RESIDUAL_KINDS, "adapt.neuron": NEURON_KINDS}


class AdaptPass:
    """Gram matrices of a model, layer by layer."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._layers = kept_layers(plan.layers) if plan.deep else []
        self._sizes = {Axis.CHANNEL: plan.shape.width, Axis.NEURON: _neurons(plan)}
        self._out: dict[str, NDArray[np.int8]] = {}
        for name, kinds in _GROUPS.items():
            size = self._sizes[kinds[0].axis]
            first, second = halves(kinds[0].axis, size, plan.spec)
            shape = (len(self._layers), len(kinds), len(first), len(second))
            self._out[name] = np.zeros(shape, np.int8)

    def take(
        self, layer: int, rows: Mapping[Slot, Bits], columns: Mapping[Slot, Bits]
    ) -> None:
        """Add one layer.

        Args:
            layer: Block index.
            rows: Sampled rows of its matrices, in the order of their axis.
            columns: Sampled columns, each as a row.
        """
        if layer not in self._layers:
            return
        place = self._layers.index(layer)
        for name, kinds in _GROUPS.items():
            out = self._out[name]
            for j, kind in enumerate(kinds):
                if out.size:
                    out[place, j] = self._gram(kind, layer, rows, columns)

    def _gram(
        self,
        kind: Kind,
        layer: int,
        rows: Mapping[Slot, Bits],
        columns: Mapping[Slot, Bits],
    ) -> NDArray[np.int8]:
        size = self._sizes[kind.axis]
        first, second = (len(x) for x in halves(kind.axis, size, self._plan.spec))
        total = np.zeros((first, second))
        for role in kind.roles:
            slot = Slot(role, layer)
            reads = kind.side == READS
            found = (columns if reads else rows).get(slot)
            if found is None or self._plan.shapes[slot][int(reads)] != size:
                continue
            values = values_of(np.ascontiguousarray(found[: first + second]))
            sample = values.astype(np.float64)  # (first + second, any)
            gram = sample[:first] @ sample[first:].T
            norm = float(np.sqrt((gram * gram).sum()))
            total += gram / norm if norm > 0 else 0.0
        return quantise(total)

    def parts(self) -> dict[str, NDArray[Any]]:
        """Arrays by name."""
        if not self._layers:
            return {}
        return {"adapt.layers": np.array(self._layers, np.int32), **self._out}


def _neurons(plan: Plan) -> int:
    """Neurons of a block; 0 when blocks differ or have experts."""
    sizes = {
        shape[0]
        for slot, shape in plan.shapes.items()
        if slot.role is Role.UP and slot.part is Part.WEIGHT
    }
    dense = all(expert < 0 for _, expert in plan.blocks)
    return sizes.pop() if dense and len(sizes) == 1 else 0


def adapter_fingerprint(made: Fingerprint, checkpoint: Checkpoint) -> Fingerprint:
    """The fingerprint of an adapter: records, and what tells its base."""
    shapes = {name: info.shape for name, info in checkpoint.tensors.items()}
    modules = adapter_modules(shapes)
    if not modules:
        return made
    width, neurons = adapter_widths(modules, shapes)

    def read(name: str) -> NDArray[np.float32]:
        return canonical(checkpoint.read(name))

    found = adapter_parts(
        read, modules, width=width, neurons=neurons, spec=made.settings
    )
    layers = tuple(sorted({module.layer for module in modules}))
    shape = Shape(len(layers), width, neurons, 0, made.shape.parameters)
    parts: dict[str, NDArray[Any]] = {n: a for n, a in found.items() if a.size}
    return replace(made, shape=shape, layers=layers, parts=parts)
