# SPDX-License-Identifier: Apache-2.0
"""``pedigree tree``, end to end on trained models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import made_models as made
from pedigree.cli import main
from pedigree.cli.models import Subject
from pedigree.cli.tree_command import models_at, unique_names
from storages import PLAIN, QUANTISED

NAMES = ("llama-a", "llama-a.sft", "llama-b")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parent, its child and a stranger, and a folder that cannot be read."""
    folder = tmp_path_factory.mktemp("family")
    for name in NAMES:
        shutil.copytree(made.EXAMPLES / name, folder / name)
    (folder / "broken").mkdir()
    (folder / "broken" / "model.safetensors").write_bytes(b"not a model")
    (folder / "notes").mkdir()
    return folder


def test_the_tree_is_told_as_text(
    family: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tree", str(family)]) == 0
    printed = capsys.readouterr()
    assert "`-- llama-a.sft  FineTuned" in printed.out
    assert "llama-b  (no relatives here)" in printed.out
    assert "3 models, 3 pairs" in printed.out
    assert "left out" in printed.err
    assert "broken" in printed.err


def test_the_tree_is_a_json_document(
    family: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tree", str(family), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "pedigree.dev/tree/v1"
    assert [(edge["parent"], edge["child"]) for edge in found["edges"]] == [
        ("llama-a", "llama-a.sft")
    ]
    assert [model["name"] for model in found["models"]] == list(NAMES)
    assert [Path(refusal["model"]).name for refusal in found["refused"]] == ["broken"]


def test_one_model_is_nothing_to_compare(
    family: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tree", str(family / "llama-a"), "--dot"]) == 4
    assert '"llama-a";' in capsys.readouterr().out


def test_a_folder_without_models_is_told(
    family: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tree", str(family / "notes")]) == 2
    assert "holds no model" in capsys.readouterr().err


def test_a_folder_of_kept_fingerprints_is_a_set_of_models(
    family: Path, tmp_path: Path
) -> None:
    for name in NAMES[:2]:
        kept = tmp_path / f"{name}.fingerprint.safetensors"
        kept.write_bytes(made.fingerprint(family / name).encoded)
    assert [Path(place).name for place in models_at(str(tmp_path))] == [
        f"{name}.fingerprint.safetensors" for name in NAMES[:2]
    ]


def test_models_of_every_format_that_is_read_are_models(
    family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = made.llama(seed=1, width=256, neurons=512, tokens=320)
    for kind, write in (("gguf", QUANTISED["gguf-q8_0"]), ("torch", PLAIN["zip"])):
        write(tmp_path / kind, weights)
    shutil.copytree(family / "llama-a", tmp_path / "plain")
    (tmp_path / "notes.bin").write_bytes(b"no model")
    named = [str(tmp_path / name) for name in ("gguf", "plain", "torch")]
    assert models_at(str(tmp_path)) == named
    assert [models_at(name) for name in named] == [[name] for name in named]
    assert main(["tree", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in found["models"]] == ["gguf", "plain", "torch"]
    assert [edge["relation"] for edge in found["edges"]] == ["Quantised"]


def test_models_of_one_name_keep_their_paths() -> None:
    fingerprint = made.fingerprint(made.EXAMPLES / "llama-a")
    subjects = [Subject(name, "", fingerprint, 0, 0) for name in ("x/m", "y/m", "z/n/")]
    assert unique_names(subjects) == ["x/m", "y/m", "n"]
