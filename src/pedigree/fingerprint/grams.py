# SPDX-License-Identifier: Apache-2.0
"""Features of a neuron in terms of the model's own Gram matrices.

``x' M x`` and ``x' M^2 x`` for a unit row x and a Gram matrix M on the residual axis do
not change when that axis is rotated, and need no embedding.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.slots import Part, Role, Slot
from pedigree.fingerprint.spec import FingerprintSpec

Matrix = NDArray[np.float64]
ROLES = (Role.Q, Role.K, Role.V, Role.O, Role.GATE, Role.UP, Role.DOWN)
FEATURES = 4 * len(ROLES)
_ABSENT = -32.0
_SCALE = 1024
_TINY = 1e-12


def affordable(
    shapes: Mapping[Slot, tuple[int, ...]],
    layers: int,
    width: int,
    spec: FingerprintSpec,
) -> bool:
    """Whether a model is small enough for Gram matrices of all its layers."""
    values = sum(
        shape[0] * shape[1]
        for slot, shape in shapes.items()
        if slot.role in ROLES and slot.part is Part.WEIGHT and len(shape) == 2
    )
    return (
        values * width <= spec.gram_products
        and (layers + 1) * len(ROLES) * width * width <= spec.gram_values
    )


class Grams:
    """Gram matrices of each layer and role, and of all layers of a role.

    Args:
        width: Residual channels.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._by_layer: dict[tuple[int, Role], Matrix] = {}
        self._total: dict[Role, Matrix] = {}

    def add(self, layer: int, role: Role, rows: Matrix) -> None:
        """Add one matrix.

        Args:
            layer: Block index.
            role: One of :data:`ROLES`.
            rows: Shape (n, width): rows, folded with their norm, or for O and DOWN
                columns.
        """
        gram = rows.T @ rows
        key = (layer, role)
        held = self._by_layer.get(key)
        self._by_layer[key] = gram if held is None else held + gram
        total = self._total.get(role)
        self._total[role] = gram if total is None else total + gram

    def features(self, rows: Matrix, layer: int) -> NDArray[np.int16]:
        """Features of neurons of a layer.

        Args:
            rows: Shape (n, width).
            layer: Block index.

        Returns:
            Shape (n, 28), int16, logarithms times 1024.
        """
        length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
        unit = rows / np.maximum(length, 1e-30)
        out = np.full((len(rows), FEATURES), _ABSENT)
        grams = [
            gram
            for role in ROLES
            for gram in (self._by_layer.get((layer, role)), self._total.get(role))
        ]
        for place, gram in enumerate(grams):
            trace = 0.0 if gram is None else float(np.trace(gram))
            if gram is None or trace <= 0:
                continue
            image = unit @ (gram * (self._width / trace))
            out[:, 2 * place] = np.log((unit * image).sum(axis=1) + _TINY)
            out[:, 2 * place + 1] = np.log((image * image).sum(axis=1) + _TINY)
        scaled = np.rint(np.clip(out * _SCALE, -32767, 32767))
        result: NDArray[np.int16] = scaled.astype(np.int16)
        return result
