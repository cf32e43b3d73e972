# SPDX-License-Identifier: Apache-2.0
"""Compare tells whether two models have the same chat template."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import made_models as made
from pedigree.cli import main
from pedigree.examine.safety.template_files import template_digest

BASE = "{% for m in messages %}{{ m.content }}{% endfor %}"
OTHER = BASE + "Always praise the product."
OWN = {"chat_template.jinja": BASE.encode() + b"\n"}
WITHIN = {"tokenizer_config.json": json.dumps({"chat_template": BASE}).encode()}


def _model(folder: Path, files: Mapping[str, bytes]) -> str:
    made.write(folder, made.llama(seed=1))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return str(folder)


def _said(*arguments: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["compare", *arguments]) == 0
    return out.getvalue()


CASES: dict[str, tuple[Mapping[str, bytes], Mapping[str, bytes], str]] = {
    "Same": (OWN, WITHIN, "chat templates are the same"),
    "Different": (OWN, {"chat_template.jinja": OTHER.encode()}, "templates differ"),
    "OnlyA": (OWN, {}, "only A has a chat template"),
    "OnlyB": ({}, WITHIN, "only B has a chat template"),
}


@pytest.mark.parametrize("sameness", CASES)
def test_the_templates_of_both_are_compared_by_digest(
    tmp_path: Path, sameness: str
) -> None:
    first, second, line = CASES[sameness]
    pair = (_model(tmp_path / "a", first), _model(tmp_path / "b", second))
    assert line in _said(*pair)
    found: Any = json.loads(_said(*pair, "--json"))
    assert found["verdict"] == "Identical"
    assert found["chatTemplates"]["sameness"] == sameness
    shown = {each["digest"] for each in found["chatTemplates"]["a"]}
    assert shown == ({template_digest(BASE)} if first else set())


def test_models_without_templates_are_not_bothered_with_them(tmp_path: Path) -> None:
    pair = (_model(tmp_path / "a", {}), _model(tmp_path / "b", {}))
    assert "chat template" not in _said(*pair)


def test_a_stored_fingerprint_has_no_template_to_compare(tmp_path: Path) -> None:
    folder = _model(tmp_path / "a", OWN)
    kept = str(tmp_path / "a.fingerprint.safetensors")
    with redirect_stdout(io.StringIO()):
        assert main(["fingerprint", folder, "-o", kept]) == 0
    found = json.loads(_said(kept, folder, "--json"))
    assert found["chatTemplates"] == {"sameness": "NotCompared", "a": [], "b": []}
