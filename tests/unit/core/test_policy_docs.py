# SPDX-License-Identifier: Apache-2.0
"""docs/policy.md knows every word that a verdict or a policy can hold."""

import re
from pathlib import Path

import pytest
import yaml

from pedigree.policy.rules import Enforcement
from pedigree.policy.verdict import Action, Reason, Result

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "policy.md").read_text()


def rows() -> list[str]:
    table = TEXT.partition("## Reasons")[2].partition("## Offline")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.M)


def test_the_table_has_one_row_for_each_reason_in_the_order_of_the_code() -> None:
    assert rows() == [reason.value for reason in Reason]


@pytest.mark.parametrize("word", [*Result, *Action, *Enforcement])
def test_every_result_action_and_enforcement_is_explained(word: str) -> None:
    assert f"`{word}`" in TEXT


@pytest.mark.parametrize("path", sorted((ROOT / "crds").glob("*.yaml")))
def test_every_kind_is_listed_with_its_short_name(path: Path) -> None:
    spec = yaml.safe_load(path.read_text())["spec"]
    names = spec["names"]
    row = f"`{names['plural']}.{spec['group']}`"
    line = next(line for line in TEXT.splitlines() if row in line)
    assert f"`{names['shortNames'][0]}`" in line
