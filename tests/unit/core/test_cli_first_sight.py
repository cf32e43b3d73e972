# SPDX-License-Identifier: Apache-2.0
"""What somebody sees who has never run the command before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import made_models
from pedigree.cli import main
from pedigree.cli.explain_command import definition, topics
from pedigree.cli.plain_words import related_to
from pedigree.cli.render import counted
from pedigree.lineage.classes import LineageClass


def _out(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_a_clean_model_is_said_to_have_no_findings_and_no_signatures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_models.write(tmp_path, made_models.llama(1))
    lines = _out(["examine", str(tmp_path)], capsys).splitlines()
    assert "signatures   none" in lines
    assert "findings     none" in lines


def test_findings_and_signatures_are_counted_before_they_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_models.write(tmp_path, made_models.llama(1))
    (tmp_path / "model.sig").write_bytes(b"{}")
    (tmp_path / "run.py").write_bytes(b"pass\n")
    (tmp_path / "config.json").write_bytes(b"{,}")
    lines = _out(["examine", str(tmp_path)], capsys).splitlines()
    assert "signatures   0 valid of 1" in lines
    (told,) = [line for line in lines if line.startswith("findings ")]
    assert told.startswith("findings     2 Error, ")
    assert told.endswith(" Warning")


@pytest.mark.parametrize("columns", [60, 100])
def test_tables_are_as_wide_as_columns_says(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = _out(["explain"], capsys).splitlines()
    assert max(map(len, lines)) == columns


def test_definitions_are_shown_without_the_marks_of_docstrings() -> None:
    found = [definition(topic) for topic in topics().values()]
    assert any("pedigree.lineage.mutual" in text for text in found)
    assert not [text for text in found if "`" in text]


@pytest.mark.parametrize("command", ["gate", "audit"])
def test_help_is_for_people_and_not_for_readers_of_code(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "``" not in _out([command, "--help"], capsys)


@pytest.mark.parametrize("command", ["examine", "fingerprint"])
def test_an_empty_name_is_not_the_folder_one_happens_to_be_in(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, ""]) == 2
    assert "wanted a folder" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "nan", "soon"])
def test_a_deadline_that_is_no_time_is_wrong_usage(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["examine", "/nowhere/to/be/found", "--deadline", number]) == 2
    assert number in capsys.readouterr().err


def test_one_thing_is_not_told_as_several() -> None:
    assert [counted(n, "reference") for n in (0, 1, 2)] == [
        "0 references",
        "1 reference",
        "2 references",
    ]


def test_a_verdict_and_its_reference_make_a_phrase() -> None:
    assert [related_to(lineage, "x") for lineage in LineageClass][:3] == [
        "Identical to x",
        "Derived from x",
        "CommonAncestor with x",
    ]


def test_the_same_weights_are_identical_to_and_not_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, known = str(tmp_path / "model"), str(tmp_path / "known")
    made_models.write(Path(model), made_models.llama(1))
    assert main(["registry", "add", "--registry", known, "base", model]) == 0
    capsys.readouterr()
    text = _out(["scan", "--registry", known, model], capsys)
    assert "Identical to base: the closest of all" in text
    assert "1 reference: 1 compared" in text


def test_the_kind_of_descent_that_is_printed_can_be_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = _out(["explain", "finetuned"], capsys)
    assert text.startswith("FineTuned (relation)\n")


def test_the_list_says_what_a_signal_is_and_its_page_that_it_never_decides(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "Context, never decides" not in _out(["explain"], capsys)
    assert "Context, never decides" in _out(["explain", "MFI"], capsys)


@pytest.mark.parametrize("wrong", ["first", "second"])
def test_of_two_models_the_one_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    for name in ("first", "second"):
        made_models.write(tmp_path / name, made_models.llama(1))
    (tmp_path / wrong / "model.safetensors").write_bytes(b"nothing of weights")
    assert main(["compare", str(tmp_path / "first"), str(tmp_path / "second")]) == 3
    assert f"error: model '{tmp_path / wrong}': " in capsys.readouterr().err


def test_an_adapter_is_called_one_and_not_a_model_of_unknown_make(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    stem = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    factors = {
        stem.format(layer, part): rng.standard_normal(shape).astype(np.float32)
        for layer in range(2)
        for part, shape in (("A", (4, 64)), ("B", (64, 4)))
    }
    made_models.write(tmp_path / "adapter", factors)
    made_models.write(tmp_path / "model", made_models.llama(1))
    main(["compare", str(tmp_path / "adapter"), str(tmp_path / "model")])
    said = capsys.readouterr().out
    assert "an adapter" in said
    assert "unknown architecture" not in said
