# SPDX-License-Identifier: Apache-2.0
"""What of two fingerprints can be laid side by side, or why it cannot.

The rules are fixed before any weight is seen: they look at shapes, profiles and token
identities only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.roles import Part, Role
from pedigree.fingerprint.sampling import Axis, order
from pedigree.fingerprint.spec import SPEC_V1
from pedigree.lineage.axis import Rows, unit_rows
from pedigree.lineage.results import NotRun, TestResult

TABLE_ROWS = 128
"""Neurons of a block that are compared if tables of all neurons exist: evidence grows
with the rows, and cost with their square (measured: 128 rows of a fine-tune already
reach p-values below 1e-200)."""
ROLES = ("gate", "up", "down")


def unknown_roles(name: str, a: Fingerprint, b: Fingerprint) -> TestResult | None:
    """The result of a test that needs roles, if those of one model are not known."""
    for label, model in (("A", a), ("B", b)):
        if not model.architecture:
            return TestResult(
                name=name,
                reason=NotRun(model.reason or NotRun.UNKNOWN_ARCHITECTURE),
                detail=f"the roles of the tensors of {label} are not known",
            )
    return None


def width_differs(name: str, a: Fingerprint, b: Fingerprint) -> TestResult | None:
    """The result of a test that needs known models of one width, if it cannot run."""
    refused = unknown_roles(name, a, b)
    if refused is None and a.shape.width != b.shape.width:
        refused = TestResult(
            name=name,
            reason=NotRun.WIDTH_DIFFERS,
            detail=f"A has {a.shape.width} residual channels, B has {b.shape.width}",
        )
    return refused


def neurons_differ(name: str, a: Fingerprint, b: Fingerprint) -> TestResult | None:
    """The result of a test that pairs neurons by index, if it cannot run."""
    refused = unknown_roles(name, a, b)
    if refused is None and a.shape.neurons != b.shape.neurons:
        refused = TestResult(
            name=name,
            reason=NotRun.NEURONS_DIFFER,
            detail=f"the blocks of A have {a.shape.neurons} neurons, "
            f"those of B {b.shape.neurons}",
        )
    return refused


def nothing_shared(name: str, what: str) -> TestResult:
    """The result of a test whose features the two models do not both have."""
    return TestResult(
        name=name,
        reason=NotRun.NOTHING_SHARED,
        detail=f"the models do not both have {what}",
    )


@dataclass(frozen=True, slots=True, eq=False)
class Neurons:
    """Rows of the same neurons in every block of one model.

    Attributes:
        labels: Of each block, ``layer`` or ``layer/expert``.
        tabled: Whether the rows come from tables of all neurons.
    """

    labels: tuple[str, ...]
    tabled: bool
    _model: Fingerprint
    _index: NDArray[np.int64]
    """Of the parts by block: (blocks,).  Of tables: (blocks, rows)."""

    def values(self, kind: str, role: str) -> NDArray[Any] | None:
        """Shape (blocks, rows, values), or None if not kept.

        Parts of a smaller profile have fewer rows: the first ones.

        Args:
            kind: ``tsp`` or ``tspi``: projections on anchors chosen by bytes or by
                index; ``sketch``; ``scalars``, which have no role.
            role: ``gate``, ``up``, ``down`` or empty.
        """
        if self.tabled:
            stem = {"tsp": "table", "tspi": "tablei", "scalars": "table.scalars"}
            found = self._model.part(f"{stem[kind]}.{role}" if role else stem[kind])
            return None if found is None else found[self._index]
        stem = {
            "tsp": "neuron.tsp",
            "tspi": "neuron.tspi",
            "sketch": "neuron",
            "scalars": "neuron.scalars",
        }
        found = self._model.part(f"{stem[kind]}.{role}" if role else stem[kind])
        return None if found is None else found[self._index]


def neurons(
    a: Fingerprint, b: Fingerprint, *, tables: bool = True
) -> tuple[Neurons, Neurons]:
    """The same neurons of both models, whose blocks have the same number of neurons.

    Tables of all neurons are used if both models have them for every block, else the
    sampled neurons.
    """
    chosen = [regular_blocks(x) for x in (a, b)]
    if tables:
        tabled = [_tabled(x, used) for x, used in zip((a, b), chosen, strict=True)]
        if all(len(rows) for rows in tabled):
            first, second = (
                Neurons(labels(x, used), True, x, rows)
                for x, used, rows in zip((a, b), chosen, tabled, strict=True)
            )
            return first, second
    first, second = (
        Neurons(labels(x, used), False, x, used)
        for x, used in zip((a, b), chosen, strict=True)
    )
    return first, second


def _tabled(fingerprint: Fingerprint, used: NDArray[np.int64]) -> NDArray[np.int64]:
    """Shape (blocks, rows): rows of the tables; empty if not all blocks have one."""
    table = fingerprint.part("table.block")
    if table is None or not len(used):
        return np.zeros((0, 0), np.int64)
    size = fingerprint.shape.neurons
    begins = {(x, e): lo for x, e, lo, hi in table.tolist() if hi - lo == size}
    begin = [begins.get(fingerprint.blocks[i], -1) for i in used]
    if min(begin) < 0:
        return np.zeros((0, 0), np.int64)
    rows = order(fingerprint.settings.seed, Axis.NEURON, size, TABLE_ROWS)
    return np.array(begin, np.int64)[:, None] + rows


def regular_blocks(fingerprint: Fingerprint) -> NDArray[np.int64]:
    """Blocks with as many neurons as the first; others were sampled elsewhere."""
    shape = fingerprint.shape
    sizes = {
        (r.slot.layer, r.slot.expert): r.size
        for r in fingerprint.tensors
        if r.slot.role is Role.UP and r.slot.part is Part.WEIGHT
    }
    wanted = shape.neurons * shape.width
    return np.array(
        [i for i, key in enumerate(fingerprint.blocks) if sizes.get(key) == wanted],
        np.int64,
    )


def labels(fingerprint: Fingerprint, used: NDArray[np.int64]) -> tuple[str, ...]:
    """Of some blocks, ``layer`` or ``layer/expert``."""
    return tuple(
        f"{layer}/{expert}" if expert >= 0 else str(layer)
        for layer, expert in (fingerprint.blocks[i] for i in used)
    )


def joined(
    pairs: Sequence[tuple[NDArray[Any] | None, NDArray[Any] | None]],
) -> tuple[Rows, Rows] | None:
    """Rows over the parts that both models have, each part of length 1.

    Args:
        pairs: For each part those of A and of B, shapes (..., rows, values); None or
            zeros where nothing was kept.  A smaller profile keeps the first rows, and
            the first values of each: all are cut to what is everywhere.

    Returns:
        Shapes (..., rows, values of all shared parts); None without shared parts.
    """
    kept = [
        (x, y)
        for x, y in pairs
        if x is not None and y is not None and x.any() and y.any()
    ]
    if not kept:
        return None
    rows = min(side.shape[-2] for pair in kept for side in pair)
    shared = []
    for x, y in kept:
        values = min(x.shape[-1], y.shape[-1])
        shared.append(
            (unit_rows(x[..., :rows, :values]), unit_rows(y[..., :rows, :values]))
        )
    scale = np.float32(1 / np.sqrt(len(shared)))
    first, second = (
        np.concatenate([pair[side] for pair in shared], axis=-1) * scale
        for side in (0, 1)
    )
    return first, second


def is_v1(fingerprint: Fingerprint) -> bool:
    """Whether the parts are those of the first version."""
    return fingerprint.spec == SPEC_V1
