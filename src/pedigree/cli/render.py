# SPDX-License-Identifier: Apache-2.0
"""What people see: tables and sentences.  No decisions are made here."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pedigree.cli.table import lay_out

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
    """A table on stdout, with an empty line before and after.

    Args:
        headings: One per column.
        rows: Texts.
        right: Columns of numbers, aligned right.
    """
    shown = [[visible(cell) for cell in row] for row in rows]
    lines = lay_out(headings, shown, width=page_width(), right=frozenset(right))
    sys.stdout.write("\n".join(["", *lines, "", ""]))


def page_width() -> int:
    """Columns to fill: ``COLUMNS``, else the terminal's, else what suits a pipe."""
    return shutil.get_terminal_size((PIPED_WIDTH, 24)).columns


def counted(count: int, one: str, several: str = "") -> str:
    """A number and its noun, such as ``1 reference`` and ``2 references``."""
    return f"{count} {one if count == 1 else several or one + 's'}"


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
