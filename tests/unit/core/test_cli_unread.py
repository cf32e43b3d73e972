# SPDX-License-Identifier: Apache-2.0
"""Weights that a command did not compare are told beside its answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import made_models as made
from pedigree.cli import main
from pedigree.cli.unread import SHOWN_MAX, warn_of
from pedigree.tensors.remarks import Remark

WHOLE = made.EXAMPLES / "llama-a"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that is read whole."""
    return Path(shutil.copytree(WHOLE, tmp_path / "model"))


def _compared(model: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    """What is warned of, and the reasons in the document."""
    assert main(["compare", str(model), str(WHOLE), "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["verdict"] == "Identical"
    assert found["b"]["unread"] == []
    return told.err, [each["reason"] for each in found["a"]["unread"]]


def test_a_model_that_is_read_whole_gives_no_warning(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _compared(model, capsys) == ("", [])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other.gguf", "UnreadFormat"),
        ("deep/other.onnx", "UnsupportedFormat"),
        ("adapter_config.json", "UnreadWeights"),
    ],
)
def test_weights_beside_those_that_were_read_are_told(
    model: Path, name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("{}")
    warned, reasons = _compared(model, capsys)
    assert reasons == [reason]
    assert warned.startswith(f"warning: {model}: {reason}: ")
    assert name in warned


def test_a_scan_of_the_innocent_half_of_a_model_says_that_it_was_a_half(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = str(tmp_path / "known")
    other = str(made.EXAMPLES / "gpt2-a")
    assert main(["registry", "add", "--registry", known, "gpt2-a", other]) == 0
    (model / "denied.gguf").write_bytes(b"GGUF")
    assert main(["scan", str(model), "--registry", known]) == 0
    told = capsys.readouterr()
    assert "NoEvidence" in told.out
    assert "denied.gguf" in told.err


def test_many_warnings_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    warn_of("m\x1b", [Remark("UnreadWeights", "x", "x")] * (SHOWN_MAX + 2))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == SHOWN_MAX + 1
    assert lines[-1] == "warning: m\\x1b: and 2 more"
