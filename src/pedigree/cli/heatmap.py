# SPDX-License-Identifier: Apache-2.0
"""Which layer of B is like which of A, as shaded text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pedigree.lineage.findings import LayerMap

SHADES = " ·░▒▓█"
"""From nothing to the best score of the map."""
COLUMNS_MAX = 64
ROWS_MAX = 32
_WIDE_COLUMNS_MAX = 32
"""Up to here a cell is two letters wide, which makes it about square."""

_CORNER = "B \\ A"


def heatmap(found: LayerMap) -> list[str]:
    """Lines of a picture of the map: rows are blocks of B, columns blocks of A.

    A map too large for a page shows the best score of neighbouring blocks.

    Args:
        found: Scores with one row per block of A and one column per block of B.
    """
    across = [list(column) for column in zip(*found.scores, strict=True)]  # B by A
    if not across or not across[0]:
        return []
    rows = _steps(len(across), ROWS_MAX)
    columns = _steps(len(across[0]), COLUMNS_MAX)
    cells = [
        [max(max(line[x:y]) for line in across[top:bottom]) for x, y in columns]
        for top, bottom in rows
    ]
    best = max(max(line) for line in cells)
    wide = 2 if len(columns) <= _WIDE_COLUMNS_MAX else 1
    names = [_span(found.labels_b, begin, end) for begin, end in rows]
    margin = max(len(_CORNER), *map(len, names))
    head = _ruler([_span(found.labels_a, x, y) for x, y in columns], wide)
    return [
        f"layers: rows of B, columns of A; shade is the score of {found.test}, "
        f"{SHADES[-1]} is {best:.0f}",
        f"{_CORNER:>{margin}} {head}".rstrip(),
        *(
            f"{name:>{margin}} " + "".join(shade(x, best) * wide for x in line)
            for name, line in zip(names, cells, strict=True)
        ),
        *found.remarks,
    ]


def shade(score: float, best: float) -> str:
    """Letter of one score; what is below 0 is as empty as 0.

    Args:
        score: Of a cell.
        best: Of all cells.
    """
    if best <= 0 or score <= 0:
        return SHADES[0]
    return SHADES[min(len(SHADES) - 1, int(score / best * (len(SHADES) - 1) + 0.5))]


def _steps(count: int, most: int) -> list[tuple[int, int]]:
    """At most ``most`` ranges of neighbours that cover all."""
    size = -(-count // most)
    return [(at, min(at + size, count)) for at in range(0, count, size)]


def _span(labels: Sequence[str], begin: int, end: int) -> str:
    return labels[begin] if end - begin == 1 else f"{labels[begin]}-{labels[end - 1]}"


def _ruler(labels: Sequence[str], wide: int) -> str:
    """Labels over their columns, as many as there is room for."""
    line = ""
    for index, label in enumerate(labels):
        at = index * wide
        if not line or at > len(line):
            line = f"{line:<{at}}{label}"
    return line
