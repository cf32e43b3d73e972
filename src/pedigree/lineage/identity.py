# SPDX-License-Identifier: Apache-2.0
"""Matrices that started from an identity: their rows say which index they have.

Row i of such a matrix points at column i, in every model that was started so.  Rows of
equal index are then alike between models that never met, which no permutation of one
model's rows would leave so.  A row of a sketch is compared with the sketch of column i
alone, by the same permutation test as two models are; the whole of an identity repeated
below itself is seen too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.roles import Part, Role
from pedigree.fingerprint.sampling import Axis, order, sketch_matrix
from pedigree.lineage.axis import unit_rows
from pedigree.lineage.permutation import Matrix, centre, tail

FOLLOWS_LOG10 = -6.0
"""log10 p from which on the rows of a part follow their index."""
_SEED = 0x6964656E
_ROLES = {"gate": Role.GATE, "up": Role.UP, "down": Role.DOWN, "o": Role.O}


def shared_identity(a: Fingerprint, b: Fingerprint, names: Iterable[str]) -> list[str]:
    """Those of some parts whose rows follow their index in both models.

    Args:
        a: First model.
        b: Second model.
        names: Parts of sketches, ``neuron.*`` or ``channel.*``, of version 2.
    """
    return [name for name in names if _follows(a, name) and _follows(b, name)]


def _follows(model: Fingerprint, name: str) -> bool:
    rows = model.part(name)
    on_neurons = name.startswith("neuron.")
    role = _ROLES[name.rpartition(".")[2]]
    length = model.shape.width if on_neurons else _columns(model, role)
    if rows is None or length == 0 or rows.shape[1] < 4:
        return False
    spec = model.settings
    axis, size, kept = Axis.CHANNEL, model.shape.width, spec.channel_sketch
    if on_neurons:
        axis, size, kept = Axis.NEURON, model.shape.neurons, spec.sketch
    index = order(spec.seed, axis, size, rows.shape[1])
    if len(index) < rows.shape[1]:
        return False
    ones = sketch_matrix(spec.seed, role, length, kept)[index % length]
    ones = ones[:, : rows.shape[2]]
    blocks: list[Matrix] = [centre(block @ ones.T) for block in unit_rows(rows)]
    blocks = [block for block in blocks if block.any()]
    if not blocks:
        return False
    best = max(blocks, key=_trace)
    together = blocks if on_neurons else [sum(blocks[1:], blocks[0])]
    tails = (tail(tested, seed=_SEED).log10_p for tested in (together, [best]))
    return min(tails) + math.log10(len(blocks) + 1) <= FOLLOWS_LOG10


def _trace(block: Matrix) -> float:
    return float(block.trace())


def _columns(model: Fingerprint, role: Role) -> int:
    """Length of the vectors that a part by channel was sketched from."""
    if role is not Role.O:
        return model.shape.neurons
    found = (
        record.shape[1]
        for record in model.tensors
        if record.slot.role is Role.O
        and record.slot.part is Part.WEIGHT
        and len(record.shape) == 2
    )
    return next(found, 0)
