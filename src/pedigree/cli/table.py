# SPDX-License-Identifier: Apache-2.0
"""Rows of text in columns, within a width.

Written here because a table library takes longer to load than two large models take
to compare.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

GAP = "   "
_NARROWEST = 8
"""Letters that a column with running text keeps."""


def lay_out(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int,
    right: Collection[int] = (),
) -> list[str]:
    """Lines of a table: headings, a rule, rows.

    Long texts are wrapped in columns that are not numbers, the widest first, until
    the table fits; one that cannot be made to fit is wider.

    Args:
        headings: One per column.
        rows: Texts.
        width: Letters across.
        right: Columns of numbers, aligned right and never wrapped.
    """
    table = [list(headings), *map(list, rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(headings))]
    room = width - len(GAP) * (len(widths) - 1)
    texts = [i for i in range(len(widths)) if i not in right]
    while sum(widths) > room and texts:
        widest = max(texts, key=lambda i: widths[i])
        if widths[widest] <= _NARROWEST:
            break
        excess = sum(widths) - room
        second = max((widths[i] for i in texts if i != widest), default=0)
        target = max(_NARROWEST, widths[widest] - excess, min(second, widths[widest]))
        widths[widest] = min(target, widths[widest] - 1)
    lines = [line for row in table for line in _wrapped(row, widths, right)]
    head = len(_wrapped(table[0], widths, right))
    rule = "─" * (sum(widths) + len(GAP) * (len(widths) - 1))
    return [*lines[:head], rule, *lines[head:]]


def _wrapped(
    row: Sequence[str], widths: Sequence[int], right: Collection[int]
) -> list[str]:
    """One row as lines of full width, without trailing spaces."""
    cells = [
        [text] if len(text) <= width else textwrap.wrap(text, width)
        for text, width in zip(row, widths, strict=True)
    ]
    lines = []
    for at in range(max(1, *map(len, cells))):
        parts = [cell[at] if at < len(cell) else "" for cell in cells]
        placed = [
            f"{part:>{width}}" if i in right else f"{part:<{width}}"
            for i, (part, width) in enumerate(zip(parts, widths, strict=True))
        ]
        lines.append(GAP.join(placed).rstrip())
    return lines
