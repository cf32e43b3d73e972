# SPDX-License-Identifier: Apache-2.0
"""The parts that are made of sampled rows: neurons, channels, norms.

Filled layer by layer in float64 and rounded to integers once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.anchors import Anchors
from pedigree.fingerprint.bits import Bits, values_of
from pedigree.fingerprint.canonical import canonical
from pedigree.fingerprint.invariants import COUNT, UNKNOWN, invariants
from pedigree.fingerprint.plan import Plan
from pedigree.fingerprint.sampling import sketch_matrix
from pedigree.fingerprint.sketches import centred_ranks, quantise
from pedigree.fingerprint.slots import Role

Matrix = NDArray[np.float64]
_LARGEST = np.float32(3.3895314e38)
"""Of bfloat16."""
FEED_FORWARD = {"gate": Role.GATE, "up": Role.UP, "down": Role.DOWN}


def folded(rows: Bits, gamma: NDArray[np.float32] | None) -> Matrix:
    """Rows times the norm's weight, rounded to canonical values again.

    The rounding keeps all later sums exact.

    Args:
        rows: Shape (n, d).
        gamma: Shape (d,), or None.
    """
    values = values_of(rows)
    if gamma is not None:
        with np.errstate(over="ignore"):
            values = values * gamma
        values = canonical(np.clip(values, -_LARGEST, _LARGEST))
    return values.astype(np.float64)


class NeuronFeatures:
    """Sketches, token-space projections and invariants of sampled neurons.

    Args:
        plan: Of the model.
        anchors: By suffix of the part's name: ``tsp`` and ``tspi``.
    """

    def __init__(self, plan: Plan, anchors: Mapping[str, Anchors]) -> None:
        spec = plan.spec
        self._plan, self._anchors = plan, anchors
        self._count = spec.neurons if plan.deep else spec.projected_neurons
        blocks = len(plan.blocks)
        self._sketch: dict[str, Matrix] = {}
        self._projected: dict[tuple[str, str], Matrix] = {}
        self._shape = (blocks, spec.neurons, spec.sketch)
        self._scalars = np.full((blocks, self._count, COUNT), UNKNOWN, np.int16)

    def take(
        self,
        block: int,
        gate: Matrix | None,
        up: Matrix,
        down: Matrix | None,
    ) -> None:
        """Keep what is kept of the sampled neurons of one block.

        Args:
            block: Place among the plan's blocks.
            gate: Shape (n, d), folded; or None.
            up: Shape (n, d), folded.
            down: Shape (n, d): their columns of down; or None.
        """
        spec, m = self._plan.spec, self._count
        for name, rows in (("gate", gate), ("up", up), ("down", down)):
            if rows is None:
                continue
            matrix = sketch_matrix(
                spec.seed, FEED_FORWARD[name], rows.shape[1], spec.sketch
            )
            out = self._sketch.setdefault(name, np.zeros(self._shape))
            np.matmul(rows, matrix, out=out[block, : len(rows)])
            for kind, anchors in self._anchors.items():
                if anchors.count:
                    size = (*self._shape[:1], m, anchors.count)
                    into = self._projected.setdefault((kind, name), np.zeros(size))
                    into[block, : len(rows[:m])] = anchors.project(rows[:m])
        kept = invariants(
            None if gate is None else gate[:m],
            up[:m],
            None if down is None else down[:m],
        )
        self._scalars[block, : len(kept)] = kept

    def parts(self) -> dict[str, NDArray[Any]]:
        """Arrays by name."""
        result: dict[str, NDArray[Any]] = {
            f"neuron.{name}": quantise(values) for name, values in self._sketch.items()
        }
        for (kind, name), values in self._projected.items():
            fast = self._anchors[kind].fast
            result[f"neuron.{kind}.{name}"] = quantise(values, fast)
        result["neuron.scalars"] = self._scalars
        return result


class ChannelFeatures:
    """Sketches of rows and columns along the residual channels, of dense layers."""

    def __init__(self, plan: Plan) -> None:
        spec = plan.spec
        self._plan = plan
        channels = min(spec.channels, plan.shape.width)
        self._shape = (len(plan.layers), channels, spec.channel_sketch)
        self._sketch: dict[str, Matrix] = {}
        self._wide, self._double = np.zeros(0, np.uint32), np.zeros(0)

    def take(self, layer: int, role: Role, rows: Bits) -> None:
        """Sketch rows by channel.

        Args:
            layer: Place among the plan's layers.
            role: O, DOWN, or UP (whose columns these are).
            rows: Shape (channels, any).
        """
        spec = self._plan.spec
        name = role.name.lower()
        out = self._sketch.setdefault(name, np.zeros(self._shape))
        kept = rows[: self._shape[1]]
        matrix = sketch_matrix(spec.seed, role, kept.shape[1], spec.channel_sketch)
        np.matmul(self._values(kept), matrix, out=out[layer, : len(kept)])

    def _values(self, bits: Bits) -> Matrix:
        """What bits stand for, until the next call: fresh memory costs more."""
        if bits.size > self._wide.size:
            self._wide = np.empty(bits.size, np.uint32)
            self._double = np.empty(bits.size)
        wide = self._wide[: bits.size].reshape(bits.shape)
        values = self._double[: bits.size].reshape(bits.shape)
        np.left_shift(bits, np.uint32(16), out=wide)
        np.copyto(values, wide.view(np.float32))
        return values

    def parts(self) -> dict[str, NDArray[Any]]:
        """Arrays by name."""
        return {
            f"channel.{name}": quantise(values) for name, values in self._sketch.items()
        }


class NormFeatures:
    """Ranks of norm vectors at sampled channels."""

    def __init__(self, plan: Plan) -> None:
        self._at = plan.channels(plan.spec.norm_channels)
        self._width = plan.shape.width
        self._ranks = np.zeros((len(plan.layers), 2, len(self._at)), np.int8)
        self._final = np.zeros(len(self._at), np.int8)

    def take(self, layer: int, role: Role, values: NDArray[np.float32]) -> None:
        """Keep the ranks of one vector, shape (width,); others are left out.

        Args:
            layer: Place among the plan's layers; unused for the final norm.
            role: Of the norm.
            values: Its weight.
        """
        if len(values) != self._width:
            return
        ranks = centred_ranks(values[self._at])
        if role is Role.NORM_FINAL:
            self._final = ranks
        elif role in (Role.NORM_ATTENTION, Role.NORM_MLP):
            self._ranks[layer, int(role is Role.NORM_MLP)] = ranks

    def parts(self) -> dict[str, NDArray[Any]]:
        """Arrays by name."""
        return {"norm.ranks": self._ranks, "norm.final": self._final}
