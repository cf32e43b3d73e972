# SPDX-License-Identifier: Apache-2.0
"""Findings on the command line: advice below them, and controls in both directions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import made_models
from pedigree.cli import main
from pedigree.cli.findings import SHOWN_MAX, TOLD_MAX, finding_dicts, print_findings
from pedigree.evidence import Finding, Severity
from pedigree.evidence.controls import catalogue, guidance


def finding(reason: str = "RemoteCode", path: str = "config.json") -> Finding:
    return Finding(reason, Severity.WARNING, path, "the message " + "of words " * 20)


def printed(capsys: pytest.CaptureFixture[str], *found: Finding, controls: bool) -> str:
    print_findings(found, controls=controls)
    return capsys.readouterr().out


def test_advice_stands_below_each_group_of_findings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [finding(), finding(path="sub/config.json"), finding("HiddenWeights")]
    text = printed(capsys, *found, controls=False)
    known = guidance("RemoteCode")
    assert known is not None
    flat = " ".join(text.split())
    assert flat.count("Warning RemoteCode") == 1
    assert flat.count("advice:") == 2
    assert flat.index("sub/config.json") < flat.index(f"advice: {known.advice}")
    assert flat.index(known.advice) < flat.index("HiddenWeights")
    assert "AML." not in text


def test_a_path_that_the_message_names_is_not_told_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = Finding("RemoteCode", Severity.WARNING, "a.json", "'a.json' asks for code")
    assert printed(capsys, named, controls=False).count("a.json") == 1


def test_controls_are_listed_by_framework_when_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed(capsys, finding(), controls=True)
    assert "\n  OWASP-LLM-2026: LLM04:2026\n" in text
    assert "\n  MITRE-ATLAS: AML.T0011.000, AML.T0018.002, AML.M0014\n" in text
    assert catalogue().notice.split(".")[0] in " ".join(text.split())


def test_lines_fit_a_terminal_of_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    hostile = finding(path="a/" * 20 + "\x1b" * 12)
    text = printed(capsys, hostile, controls=True)
    assert max(map(len, text.splitlines())) <= 80


def test_a_flood_of_findings_and_hostile_names_stay_readable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    many = [finding(path=f"{i}\x1b[31m\n") for i in range(SHOWN_MAX + 5)]
    text = printed(capsys, *many, controls=False)
    assert "\x1b" not in text
    assert "and 5 more" in text
    assert text.count("the message") == SHOWN_MAX


def test_a_reason_of_another_version_is_shown_without_advice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed(capsys, finding("FromTheFuture"), controls=True)
    assert "FromTheFuture" in text
    assert "advice" not in text
    (told,) = finding_dicts([finding("FromTheFuture")])
    assert (told["advice"], told["controls"]) == ("", [])


def test_nothing_found_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, controls=True) == ""


def test_programs_get_advice_and_controls_with_each_finding() -> None:
    (told,) = finding_dicts([finding()])
    known = guidance("RemoteCode")
    assert known is not None
    assert told["reason"] == "RemoteCode"
    assert told["advice"] == known.advice
    assert {"framework", "id", "text"} == set(told["controls"][0])
    assert len(told["controls"]) == len(known.controls)


def test_examine_tells_advice_and_on_demand_controls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_models.write(tmp_path, made_models.llama(1))
    (folder / "modeling.py").write_bytes(b"")
    known = guidance("CodeInModel")
    assert known is not None
    assert main(["examine", str(folder), "--controls"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"advice: {known.advice}" in text
    assert "OWASP-LLM-2026: LLM04:2026" in text
    assert main(["examine", str(folder)]) == 0
    assert "LLM04:2026" not in capsys.readouterr().out
    assert main(["examine", str(folder), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["findings"]
    assert (told["reason"], told["advice"]) == ("CodeInModel", known.advice)


def test_a_document_has_a_bound_on_findings() -> None:
    assert len(finding_dicts([finding()] * (TOLD_MAX + 1))) == TOLD_MAX


def test_explain_says_what_a_finding_is_evidence_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", "RemoteCode"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("RemoteCode (finding)\n")
    assert "\n  OWASP-AISVS: 6.1.1\n" in text
    assert main(["explain", "RemoteCode", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "finding"


def test_explain_says_which_findings_count_for_a_control(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", "aml.t0018.002"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("AML.T0018.002 (control)\n")
    assert "\n  RemoteCode\n" in text
    assert "\n  LicenceDiffersFromBase\n" not in text
    assert "MITRE ATLAS 5.6.1, 2026-05-05" in text
    assert "https://github.com/mitre-atlas/atlas-data" in text


def test_explain_says_what_a_licence_asks_of_derivatives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", "Llama3.1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("llama3.1 (licence)\n")
    assert "Indicator, not legal advice" in text
    assert "\nNames begin with: Llama\n" in text
    assert main(["explain", "mit"]) == 0
    assert "Names begin with" not in capsys.readouterr().out


def test_a_name_that_is_nearly_right_gets_a_hint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", "RemotCode"]) == 2
    assert "hint: try RemoteCode" in capsys.readouterr().err
    assert main(["explain", "\x1b" * 5000]) == 2
    error = capsys.readouterr().err
    assert "\x1b" not in error
    assert len(error) < 1000
