# SPDX-License-Identifier: Apache-2.0
"""How alike each neuron of one model is to its nearest in the other.

Over *all* neurons of the tabled blocks, in whatever order: unlike the sampled rows,
whose places are public, this cannot be changed without changing most of the model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.anchors import shared_anchors
from pedigree.lineage.mutual import Block
from pedigree.lineage.views import views_of, whole_blocks

_ROWS_MAX = 2048
"""Neurons of B looked at in a block: bounds the time for large models."""


def nearest_likeness(a: Fingerprint, b: Fingerprint) -> float | None:
    """Upper quartile, over the neurons of B, of the cosine with the nearest of A.

    Profiles over shared tokens, centred over tokens, as TSP compares them; only blocks
    of the same label are compared.

    Returns:
        From 0 to 1, the larger of both views; None without whole blocks in both models.
    """
    shared = shared_anchors(a, b)
    roles = views_of(a)
    if shared is None or roles != views_of(b):
        return None
    part = "table" if shared.by_bytes else "tablei"
    limits = [_columns(x, f"{part}.{roles[1]}") for x in (a, b)]
    inside = (shared.a < limits[0]) & (shared.b < limits[1])
    first = {x.label: x for x in whole_blocks(a, part, roles, shared.a[inside])}
    second = {x.label: x for x in whole_blocks(b, part, roles, shared.b[inside])}
    common = [(first[label], second[label]) for label in first if label in second]
    if not common:
        return None
    return max(_upper(common, "first"), _upper(common, "second"))


def _columns(fingerprint: Fingerprint, name: str) -> int:
    found = fingerprint.part(name)
    return 0 if found is None else int(found.shape[-1])


def _upper(blocks: list[tuple[Block, Block]], view: str) -> float:
    nearest = [
        np.abs(_unit(getattr(x, view)) @ _unit(getattr(y, view)[:_ROWS_MAX]).T).max(0)
        for x, y in blocks
    ]
    return float(np.quantile(np.concatenate(nearest), 0.75))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.sqrt((centred * centred).sum(axis=1, keepdims=True))
    length[length == 0] = 1
    result: NDArray[np.float32] = centred / length
    return result
