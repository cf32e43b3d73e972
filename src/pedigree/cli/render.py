# SPDX-License-Identifier: Apache-2.0
"""What people see: tables and sentences.  No decisions are made here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PIPED_WIDTH = 120
"""Columns where there is no terminal to ask."""


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def print_lines(*lines: str) -> None:
    """Sentences on stdout; control characters from outside are made visible."""
    for line in lines:
        sys.stdout.write(visible(line) + "\n")


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()
) -> None:
    """A table on stdout.

    Args:
        headings: One per column.
        rows: Texts.
        right: Columns of numbers, aligned right.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    numbers = set(right)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(
            heading,
            justify="right" if index in numbers else "left",
            no_wrap=index in numbers,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    console.print(table)


def visible(text: str) -> str:
    """Text with control characters shown as escapes: names can be hostile."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def human_bytes(count: int) -> str:
    """Bytes in the largest decimal unit that keeps a whole part."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{count} B"
