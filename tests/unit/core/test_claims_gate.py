# SPDX-License-Identifier: Apache-2.0
"""``pedigree gate`` quotes both sides of a claim, and tells licences beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pedigree.cli import main

EXAMPLES = Path(__file__).parents[3] / "examples"


def _gate(tmp_path: Path, card: str, *flags: str) -> int:
    """Gate the approved example with a card, its base under the terms of Gemma."""
    models = tmp_path / "models"
    shutil.copytree(EXAMPLES / "models", models)
    (models / "llama-a.sft" / "README.md").write_text(f"---\n{card}\n---\n")
    known = list(
        yaml.safe_load_all((EXAMPLES / "policies" / "references.yaml").read_text())
    )
    known[0]["spec"]["license"] = "gemma"
    references = tmp_path / "references.yaml"
    references.write_text(yaml.safe_dump_all(known))
    return main(
        [
            *("gate", "-f", str(EXAMPLES / "manifests" / "approved.yaml")),
            f"--policy={EXAMPLES / 'policies' / 'approved-bases.yaml'}",
            *(f"--reference-models={references}", f"--mount=/models={models}", *flags),
        ]
    )


def _document(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)["objects"][0]


def test_licence_indicators_stand_beside_a_verdict_and_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _gate(tmp_path / "a", "license: mit", "--json") == 0
    found = _document(capsys)
    assert found["verdict"]["reason"] == "LineageVerified"
    (indicator,) = found["models"][0]["licence"]
    assert indicator["reason"] == "LicenceDiffersFromBase"
    assert "indicator, not legal advice" in indicator["message"]
    assert indicator["advice"]
    assert _gate(tmp_path / "b", "license: mit") == 0
    text = capsys.readouterr().out
    assert "  licence Warning: 'base': 'README.md' declares the licence 'mit'" in text


def test_a_model_under_the_terms_of_its_base_gets_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _gate(tmp_path, "license: gemma", "--json") == 0
    assert _document(capsys)["models"][0]["licence"] == []


def test_a_card_that_names_another_base_is_quoted_with_what_the_weights_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _gate(tmp_path, "base_model: other-lab/gpt2-a", "--json")
    messages = [cause["message"] for cause in _document(capsys)["verdict"]["causes"]]
    (told,) = [message for message in messages if "claims in README.md" in message]
    assert "to descend from 'other-lab/gpt2-a', but its weights say it" in told
    assert "'llama-a'" in told
    assert "p < 1e-" in told
