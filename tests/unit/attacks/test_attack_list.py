# SPDX-License-Identifier: Apache-2.0
"""The list of known attacks and the tests of them name each other."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
ROWS = [
    row
    for row in (HERE / "README.md").read_text().splitlines()
    if row.startswith("|") and "test_" in row
]
CVE = re.compile(r"CVE[-_](\d{4})[-_](\d{4,})", re.IGNORECASE)
GHSA = re.compile(r"GHSA(?:-[0-9a-z]{4}){3}")
FILE = re.compile(r"`((?:\.\./\w+/)?test_\w+\.py)`")


def _numbers(text: str) -> set[str]:
    found = {f"CVE-{year}-{number}" for year, number in CVE.findall(text)}
    return found | set(GHSA.findall(text))


def test_every_attack_test_is_listed() -> None:
    listed = {name for row in ROWS for name in FILE.findall(row)}
    there = {path.name for path in HERE.glob("test_attack_*.py")} - {
        Path(__file__).name
    }
    assert there <= listed
    assert all((HERE / name).is_file() for name in listed)


def test_the_test_of_a_row_holds_its_number() -> None:
    for row in ROWS:
        held = "".join((HERE / name).read_text() for name in FILE.findall(row))
        assert _numbers(row) <= _numbers(held), row


def test_every_number_in_a_test_is_listed() -> None:
    held = "".join(path.read_text() for path in HERE.glob("test_attack_*.py"))
    assert _numbers(held) == _numbers("".join(ROWS))
