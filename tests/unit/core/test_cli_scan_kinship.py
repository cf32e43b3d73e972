# SPDX-License-Identifier: Apache-2.0
"""What a scan shows of relatives together: siblings, merges, the line of descent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import made_models as made
from pedigree.cli import main

ROOT = made.read(made.EXAMPLES / "llama-a")
TUNED = made.read(made.EXAMPLES / "llama-a.sft")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("registry"))
    for name, *parent in (
        ("llama-a",),
        ("llama-a.sft", "--parent", "llama-a:FineTuned"),
        ("llama-b",),
    ):
        add = ["registry", "add", "--registry", folder, name]
        assert main([*add, str(made.EXAMPLES / name), *parent]) == 0
    return folder


def _model(folder: Path, weights: made.Weights) -> str:
    shutil.copytree(made.EXAMPLES / "llama-a", folder)
    return str(made.write(folder, weights))


def _scan(
    capsys: pytest.CaptureFixture[str], model: str, registry: str
) -> tuple[Any, str]:
    capsys.readouterr()
    assert main(["scan", model, "--registry", registry, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["scan", model, "--registry", registry]) == 0
    return found, capsys.readouterr().out


def test_a_sibling_is_a_common_ancestor_and_the_root_comes_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], registry: str
) -> None:
    model = _model(tmp_path / "own", made.noise(ROOT, 0.1, seed=1))
    found, text = _scan(capsys, model, registry)
    verdicts = {m["reference"]: m["verdict"] for m in found["matches"]}
    assert verdicts["llama-a"] == "Derived"
    assert verdicts["llama-a.sft"] == "CommonAncestor"
    assert verdicts["llama-b"] == "NoEvidence"
    assert found["matches"][0]["reference"] == "llama-a"
    assert [s["reference"] for s in found["siblings"]] == ["llama-a.sft"]
    assert "sibling llama-a.sft: both come from llama-a: the model carries" in text
    assert f"path: llama-a -> {model}" in text


def test_a_child_of_the_tuned_model_keeps_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], registry: str
) -> None:
    model = _model(tmp_path / "child", made.noise(TUNED, 0.03, seed=1))
    found, text = _scan(capsys, model, registry)
    assert [m["verdict"] for m in found["matches"][:2]] == ["Derived", "Derived"]
    assert found["matches"][0]["reference"] == "llama-a.sft"
    assert found["siblings"] == []
    assert found["merge"] is None
    assert f"path: llama-a -> llama-a.sft -> {model}" in text


def test_the_parents_of_a_merge_are_shown_with_their_shares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], registry: str
) -> None:
    mixed = {name: 0.7 * ROOT[name] + 0.3 * TUNED[name] for name in ROOT}
    found, text = _scan(capsys, _model(tmp_path / "mixed", mixed), registry)
    shares = {s["reference"]: s["share"] for s in found["merge"]["shares"]}
    assert shares == pytest.approx({"llama-a": 0.7, "llama-a.sft": 0.3}, abs=0.1)
    assert {m["relation"] for m in found["matches"][:2]} == {"Merged"}
    assert "merged (linear): its weights are 0.70 of llama-a" in text


def test_stacked_layers_are_shown_with_where_they_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], registry: str
) -> None:
    stacked = {n: TUNED[n] if ".layers.1." in n else ROOT[n] for n in ROOT}
    found, text = _scan(capsys, _model(tmp_path / "stacked", stacked), registry)
    assert found["merge"]["kind"] == "passthrough"
    origins = [layer["shares"][0]["reference"] for layer in found["merge"]["layers"]]
    assert origins == ["llama-a", "llama-a.sft", "llama-a", "llama-a"]
    assert "  layer 1: 1.00 llama-a.sft (layer 1)" in text
