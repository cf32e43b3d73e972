# SPDX-License-Identifier: Apache-2.0
"""The commands, end to end on trained models, as people and programs read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import made_models as made
from pedigree.cli import main
from pedigree.cli.models import to_ref
from pedigree.cli.render import human_bytes, visible
from pedigree.errors import ModelRefError

LLAMA, SFT, TWIN, GPT2 = (
    str(made.EXAMPLES / name)
    for name in ("llama-a", "llama-a.sft", "llama-b", "gpt2-a")
)
DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def run_text(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.fixture
def registry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    folder = str(tmp_path / "registry")
    for name, model in (("llama-a", LLAMA), ("llama-b", TWIN), ("gpt2-a", GPT2)):
        added = ["registry", "add", "--registry", folder, name, model]
        assert main([*added, "--family", name.split("-")[0]]) == 0
    capsys.readouterr()
    return folder


def test_compare_exits_with_0_unless_told_which_classes_fail(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compare", LLAMA, TWIN]) == 0
    assert main(["compare", LLAMA, SFT, "--fail-on", "Identical,Derived"]) == 1
    assert main(["compare", LLAMA, TWIN, "--fail-on", "Identical,Derived"]) == 0
    assert main(["compare", LLAMA, TWIN, "--fail-on", "Cousin"]) == 2
    assert "Cousin" in capsys.readouterr().err


def test_a_kept_fingerprint_stands_for_its_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = str(tmp_path / "a.fingerprint.safetensors")
    made_now = run_json(capsys, "fingerprint", LLAMA, "-o", kept)
    assert made_now["unmappedTensors"] == 0
    found = run_json(capsys, "compare", kept, LLAMA)
    assert found["verdict"] == "Identical"
    assert found["a"]["fingerprint"] == made_now["fingerprint"]


def test_a_fingerprint_needs_a_name_by_which_it_is_known_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["fingerprint", LLAMA, "-o", "x.bin"]) == 2
    assert ".fingerprint.safetensors" in capsys.readouterr().err


def test_scan_lists_every_reference_best_first(
    registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_json(capsys, "scan", SFT, "--registry", registry)
    assert found["schema"] == "pedigree.dev/scan/v1"
    assert found["references"] == 3
    verdicts = [(m["reference"], m["verdict"]) for m in found["matches"]]
    assert verdicts[0] == ("llama-a", "Derived")
    assert sorted(verdicts[1:]) == [("gpt2-a", "NoEvidence"), ("llama-b", "NoEvidence")]
    text = run_text(capsys, "scan", SFT, "--registry", registry)
    assert "Derived from llama-a" in text


def test_scan_of_an_unknown_model_says_so(
    tmp_path: Path, registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(made.write(tmp_path / "m", made.llama(1, width=128)))
    text = run_text(capsys, "scan", other, "--registry", registry)
    assert "no reference is related" in text
    fail_on = ["--fail-on", "Derived"]
    assert main(["scan", other, "--registry", registry, *fail_on]) == 0
    assert main(["scan", SFT, "--registry", registry, *fail_on]) == 1


def test_scan_of_an_empty_registry_checked_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = '{"schema": "pedigree.dev/registry/v1", "references": []}'
    (tmp_path / "catalogue.json").write_text(empty)
    assert main(["scan", SFT, "--registry", str(tmp_path)]) == 4
    assert "nothing was checked" in capsys.readouterr().out


def test_the_registry_is_listed_shown_and_verified(
    registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = run_json(capsys, "registry", "list", "--registry", registry)
    assert [r["name"] for r in listed["references"]] == ["gpt2-a", "llama-a", "llama-b"]
    shown = run_json(capsys, "registry", "show", "--registry", registry, "llama-a")
    assert shown["reference"]["architecture"] == "llama"
    assert shown["reference"]["source"].endswith("/llama-a")
    checked = run_json(capsys, "registry", "verify", "--registry", registry)
    assert (checked["references"], checked["problems"]) == (3, [])
    assert "llama-b" in run_text(capsys, "registry", "list", "--registry", registry)
    assert "parameters" in run_text(
        capsys, "registry", "show", "--registry", registry, "llama-a"
    )


def test_verify_exits_with_1_when_something_is_wrong(
    registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    next(Path(registry).glob("fingerprints/*")).unlink()
    assert main(["registry", "verify", "--registry", registry]) == 1
    assert "NotFound" in capsys.readouterr().out


def test_examine_prints_the_evidence_the_operator_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["examine", f"file://{SFT}", "--store", str(tmp_path)]
    arguments += ["--file-root", str(made.EXAMPLES)]
    first, second = run_json(capsys, *arguments), run_json(capsys, *arguments)
    assert first["schema"] == "pedigree.dev/examination/v1"
    spec = first["evidence"]["spec"]
    assert spec["architecture"] == "llama"
    assert spec["fingerprint"]["spec"] == "pedigree.dev/fingerprint/v2"
    assert first["evidence"]["status"]["resolutions"]
    assert (first["reused"], second["reused"]) == (False, True)
    assert second["evidence"]["spec"]["fingerprint"] == spec["fingerprint"]
    assert "fingerprint" in run_text(capsys, "examine", SFT)


def test_examine_reports_a_malformed_model_as_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = made.llama(1)
    weights["lm_head.weight"][0, 0] = np.nan
    model = str(made.write(tmp_path, weights))
    spec = run_json(capsys, "examine", model)["evidence"]["spec"]
    assert "fingerprint" not in spec
    assert [f["reason"] for f in spec["findings"] if f["severity"] == "Error"] == [
        "NonFiniteTensor"
    ]
    assert "NonFiniteTensor" in run_text(capsys, "examine", model)


def test_examine_refuses_what_is_outside_the_roots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["examine", f"file://{SFT}", "--file-root", str(tmp_path), "--json"])
    assert code == 3
    assert json.loads(capsys.readouterr().out)["error"]["class"] == "SourceRefused"


@pytest.mark.parametrize("model", ["/does/not/exist", "hf://", "ftp://x/y", "gs://b"])
def test_a_model_that_is_not_there_is_told_without_a_traceback(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", model, LLAMA]) in (2, 3)
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert "Traceback" not in printed


def test_paths_need_no_scheme(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(to_ref("./m")) == f"file://{tmp_path}/m"
    assert str(to_ref("a/../m")) == f"file://{tmp_path}/m"
    assert str(to_ref("hf://org/repo@main")) == "hf://org/repo@main"
    for entry in ("ftp://host/x", "models:/support/1"):
        with pytest.raises(ModelRefError):
            to_ref(entry)


def test_control_characters_cannot_reach_the_terminal() -> None:
    assert visible("a\x1b[31mb\u202ec") == "a\\x1b[31mb\\u202ec"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (5_200_000, "5.2 MB")],
)
def test_bytes_are_told_in_the_right_unit(count: int, text: str) -> None:
    assert human_bytes(count) == text


def test_every_schema_and_command_is_documented() -> None:
    text = DOCS.read_text()
    from pedigree.cli import (
        compare_command,
        examine_command,
        explain_command,
        fingerprint_command,
        registry_command,
        scan_command,
        tree_command,
    )

    for schema in (
        compare_command.SCHEMA,
        scan_command.SCHEMA,
        tree_command.SCHEMA,
        fingerprint_command.SCHEMA,
        examine_command.SCHEMA,
        explain_command.SCHEMA,
        registry_command.SCHEMA_LIST,
        registry_command.SCHEMA_ENTRY,
        registry_command.SCHEMA_VERIFY,
        "pedigree.dev/error/v1",
    ):
        assert schema in text
