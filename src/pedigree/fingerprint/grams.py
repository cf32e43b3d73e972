# SPDX-License-Identifier: Apache-2.0
"""What a neuron is in terms of the model's own directions: features without tokens.

Embeddings can be drawn anew, and residual channels rotated.  But a model has
directions of its own on the residual axis, which turn with it, and do not depend on the
order, sign or scale of its neurons: sums of gate rows, and of rows weighted by inner
products with the neuron's other rows.  Multiplied by the Gram matrix of a role (all its
matrices, as rows on the residual axis) they give more.  A neuron's inner products with
these are features that stay when the model is laundered.

Of a gated block, with g, u, d the gate row, up row and down column of each neuron::

    sum g                  sum (g.d) u            sum (g.u) d        sum (u.d) g
    sum (g.g - mean) g     sum (uu.dd - mean) g   sum (|g.u g.d| - mean) g

with the means over neurons and each weight divided by its mean; none changes with a
factor of any sign on u and its inverse on d.  Of a block without gate::

    sum u    sum (u.d) u    sum (u.u - mean) u    sum (d.d - mean) u    and sums of d
             sum (u.d) d    sum (u.u - mean) d    sum (d.d - mean) d

Directions of a layer and of all layers together are kept, each alone and multiplied by
the Gram matrix of each of the seven roles over all layers: at most
:data:`FEATURES` features.  Gram matrices are never formed: two products with a few
vectors do.

Where norms take off the mean (LayerNorm), the mean over channels is taken off all rows,
as it can be changed at will there.

Measured on laundered models with their embedding drawn anew and int4 weights: of
neurons matched by quadratic features ``x'Mx`` and ``x'M^2x`` of the same Gram matrices,
14 of 51 found the right partner after continued pretraining as long as the pretraining;
by these, 222 of 223.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.sketches import quantise
from pedigree.fingerprint.slots import Part, Role, Slot
from pedigree.fingerprint.spec import FingerprintSpec

Matrix = NDArray[np.float64]
ROLES = (Role.Q, Role.K, Role.V, Role.O, Role.GATE, Role.UP, Role.DOWN)
KINDS = 8
"""Directions of a block, at most."""
FEATURES = 2 * KINDS * (1 + len(ROLES))
"""Of a neuron; those that a model has not are 0."""

MATRIX_MAX_VALUES = 1 << 23
"""64 MiB as float64.  Models with larger matrices have so many layers that they are too
large anyway; one of few layers would take gigabytes of memory."""


def affordable(
    shapes: Mapping[Slot, tuple[int, ...]], tables: int, spec: FingerprintSpec
) -> bool:
    """Whether a model is small enough for directions of all its layers.

    Three matrices of a block are held at once in float64, and copies of one of them.

    Args:
        shapes: Canonical shapes.
        tables: Layers whose neurons are described.
        spec: Holds the limit.
    """
    sizes = [
        shape[0] * shape[1]
        for slot, shape in shapes.items()
        if slot.role in ROLES and slot.part is Part.WEIGHT and len(shape) == 2
    ]
    if max(sizes, default=0) > MATRIX_MAX_VALUES:
        return False
    values = sum(sizes)
    return 2 * values * KINDS * (tables + 1) <= spec.gram_products


class Grams:
    """The directions of a model: first all of :meth:`seed`, then all of :meth:`add`.

    Args:
        width: Residual channels.
        layers: Whose neurons will be described.
        centred: Whether the model's norms take off the mean over channels.
    """

    def __init__(self, width: int, layers: tuple[int, ...], *, centred: bool) -> None:
        self._width, self._layers, self._centred = width, layers, centred
        self._seeds: dict[int, Matrix] = {}
        self._start: Matrix | None = None
        self._images: dict[Role, Matrix] = {}

    def seed(self, layer: int, gate: Matrix | None, up: Matrix, down: Matrix) -> None:
        """Add the neurons of one block, or of one expert; all of a layer, in any order.

        Args:
            layer: Block index.
            gate: Shape (n, width), folded with the norm; None without gate.
            up: The same.
            down: Shape (n, width): the columns of the down matrix.
        """
        views = [self._rows(x) for x in (up, down)]
        found = _plain(*views) if gate is None else _gated(self._rows(gate), *views)
        held = self._seeds.get(layer, np.zeros((KINDS, self._width)))
        held[: len(found)] += _unit(np.array(found))
        self._seeds[layer] = held

    def _rows(self, rows: Matrix) -> Matrix:
        if not self._centred:
            return rows
        centred: Matrix = rows - rows.mean(axis=1, keepdims=True)
        return centred

    def _starts(self) -> Matrix:
        """Shape (width, (tabled layers + 1) * KINDS): of each layer, then of all."""
        if self._start is None:
            zeros = np.zeros((KINDS, self._width))
            each = {layer: _unit(rows) for layer, rows in sorted(self._seeds.items())}
            total = _unit(sum(each.values(), zeros))
            chosen = [each.get(layer, zeros) for layer in self._layers]
            self._start = np.ascontiguousarray(np.concatenate([*chosen, total]).T)
        return self._start

    def add(self, role: Role, rows: Matrix) -> None:
        """Add one matrix of any layer.

        Args:
            role: One of :data:`ROLES`.
            rows: Shape (n, width): rows, folded with their norm, or for O and DOWN
                columns.
        """
        values = self._rows(rows)
        image = values.T @ (values @ self._starts())
        held = self._images.get(role)
        self._images[role] = image if held is None else held + image

    def features(self, rows: Matrix, layer: int) -> NDArray[np.int8]:
        """Features of neurons of a layer.

        Args:
            rows: Shape (n, width), gate or up rows folded with the norm, or columns of
                down.
            layer: One of those given at first.

        Returns:
            Shape (n, :data:`FEATURES`), scaled to 127 in each row.
        """
        return quantise(self._rows(rows) @ self._directions(layer).T)

    def _directions(self, layer: int) -> Matrix:
        """Shape (FEATURES, width), each of length 1 or 0."""
        place = self._layers.index(layer)
        own = slice(place * KINDS, (place + 1) * KINDS)
        total = slice(len(self._layers) * KINDS, None)
        blank = np.zeros_like(self._starts())
        every = [self._starts(), *(self._images.get(role, blank) for role in ROLES)]
        return _unit(np.concatenate([x[:, at].T for x in every for at in (own, total)]))


def _gated(g: Matrix, u: Matrix, d: Matrix) -> list[Matrix]:
    gu, gd, ud = _dot(g, u), _dot(g, d), _dot(u, d)
    return [
        g.sum(axis=0),
        gd @ u,
        gu @ d,
        ud @ g,
        _contrast(_dot(g, g)) @ g,
        _contrast(_dot(u, u) * _dot(d, d)) @ g,
        _contrast(np.abs(gu * gd)) @ g,
    ]


def _plain(u: Matrix, d: Matrix) -> list[Matrix]:
    uu, dd, ud = _contrast(_dot(u, u)), _contrast(_dot(d, d)), _dot(u, d)
    return [
        u.sum(axis=0),
        d.sum(axis=0),
        ud @ u,
        ud @ d,
        uu @ u,
        dd @ d,
        dd @ u,
        uu @ d,
    ]


def _dot(x: Matrix, y: Matrix) -> Matrix:
    result: Matrix = np.einsum("ij,ij->i", x, y)
    return result


def _contrast(weights: Matrix) -> Matrix:
    """Relative to their mean, less 1."""
    mean = weights.mean() if len(weights) else 0.0
    return weights / mean - 1 if mean > 0 else np.zeros_like(weights)


def _unit(rows: Matrix) -> Matrix:
    peak = np.abs(rows).max(axis=1, keepdims=True)
    scaled = rows / np.where(peak > 0, peak, 1)
    length = np.sqrt((scaled * scaled).sum(axis=1, keepdims=True))
    result: Matrix = scaled / np.where(length > 0, length, 1)
    return result
