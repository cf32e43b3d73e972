# SPDX-License-Identifier: Apache-2.0
"""Two views of the neurons of a fingerprint, for the tests that match neurons.

Gated blocks are seen by their gate and their up rows, others by their up rows and
their down columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint

if TYPE_CHECKING:
    from pedigree.lineage.mutual import Block, Rows

GATED = ("gate", "up")
PLAIN = ("up", "down")


def views_of(fingerprint: Fingerprint) -> tuple[str, str]:
    """The two roles a model's neurons are seen by, told from what was kept."""
    for name in ("table.gate", "tablei.gate", "table.qf.gate", "neuron.gate"):
        found = fingerprint.part(name)
        if found is not None and found.any():
            return GATED
    return PLAIN


def has_tables(fingerprint: Fingerprint, part: str) -> bool:
    """Whether whole blocks were kept."""
    return fingerprint.part("table.block") is not None and any(
        fingerprint.part(f"{part}.{role}") is not None for role in ("up", "down")
    )


def whole_blocks(
    fingerprint: Fingerprint,
    part: str,
    roles: tuple[str, str],
    columns: NDArray[np.int64] | None = None,
) -> list[Block]:
    """Blocks of which all neurons are kept.

    Args:
        fingerprint: Of the model.
        part: ``table``, ``tablei`` or ``table.qf``.
        roles: Of the two views.
        columns: Features to take; None for all.

    Returns:
        Rows as they are stored, in float32; empty if a view was not kept.
    """
    from pedigree.lineage.mutual import Block

    table = fingerprint.part("table.block")
    kept = _kept(fingerprint, part, roles, columns)
    if table is None or kept is None:
        return []
    first, second = kept
    return [
        Block(_label(int(layer), int(expert)), True, first[lo:hi], second[lo:hi])
        for layer, expert, lo, hi in table
    ]


def sampled_blocks(
    fingerprint: Fingerprint,
    part: str,
    roles: tuple[str, str],
    columns: NDArray[np.int64],
    *,
    without: frozenset[str],
) -> list[Block]:
    """Blocks of which a few neurons are kept, other than some."""
    from pedigree.lineage.mutual import Block

    kept = _kept(fingerprint, part, roles, columns)
    if kept is None:
        return []
    first, second = kept
    named = [_label(*key) for key in fingerprint.blocks]
    return [
        Block(label, False, x, y)
        for label, x, y in zip(named, first, second, strict=True)
        if label not in without
    ]


def _kept(
    fingerprint: Fingerprint,
    part: str,
    roles: tuple[str, str],
    columns: NDArray[np.int64] | None,
) -> tuple[Rows, Rows] | None:
    """The stored rows of both views, if both were kept."""
    first, second = (fingerprint.part(f"{part}.{role}") for role in roles)
    if first is None or second is None:
        return None
    chosen = (x if columns is None else x[..., columns] for x in (first, second))
    one, other = (np.ascontiguousarray(x, np.float32) for x in chosen)
    return one, other


def _label(layer: int, expert: int) -> str:
    return f"{layer}/{expert}" if expert >= 0 else str(layer)
