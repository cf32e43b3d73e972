# SPDX-License-Identifier: Apache-2.0
"""The program that looks for inputs which break a parser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench import fuzz
from bench.fuzzing.target import Target


def _broken(data: bytes) -> None:
    raise KeyError("x")


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Target]:
    made = {
        "good": Target("good", len, lambda: [b"x"]),
        "bad": Target("bad", _broken, lambda: [b"x"]),
    }
    monkeypatch.setattr(fuzz, "TARGETS", made)
    return made


def _run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, dict[str, Any]]:
    monkeypatch.setattr("sys.argv", ["fuzz", "--executions", "20", *words])
    code = fuzz.main()
    return code, json.loads(capsys.readouterr().out)


def test_a_run_without_findings_ends_with_0(
    targets: dict[str, Target],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, told = _run(monkeypatch, capsys, "--plain", "--targets", "good")
    assert (code, told["executions"], told["findings"]) == (0, 20, 0)
    assert told["targets"]["good"]["executions"] == 20


@pytest.mark.parametrize("engine", ["plain", "guided"])
def test_executions_are_told_of_each_target_and_of_all(
    engine: str,
    targets: dict[str, Target],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts = {"good": 3, "bad": 40}

    def ran(target: Target, *_: object) -> dict[str, Any]:
        count = counts[target.name]
        return {"executions": count, "seconds": 2.0, "findings": {}, "exit": 0}

    found = object() if engine == "guided" else None
    monkeypatch.setattr(fuzz, "find_spec", lambda _: found)
    monkeypatch.setattr(fuzz, engine, ran)
    _, told = _run(monkeypatch, capsys)
    rows = told["targets"]
    assert {name: row["executions"] for name, row in rows.items()} == counts
    assert {name: row["perSecond"] for name, row in rows.items()} == {
        "good": 2,
        "bad": 20,
    }
    assert told["executions"] == 43


def test_findings_are_told_written_and_end_with_1(
    targets: dict[str, Target],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    code, told = _run(monkeypatch, capsys, "--plain", "--work", str(tmp_path))
    assert (code, told["findings"]) == (1, 1)
    assert list(told["targets"]["bad"]["findings"].values()) == [3]
    assert len(list((tmp_path / "findings" / "bad").glob("*.json"))) == 3


def test_a_process_that_ends_early_is_no_success(
    targets: dict[str, Target],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {"executions": 0, "seconds": 1.0, "findings": {}, "exit": 1}
    monkeypatch.setattr(fuzz, "find_spec", lambda _: object())
    monkeypatch.setattr(fuzz, "guided", lambda *_: dict(row))
    code, _ = _run(monkeypatch, capsys, "--targets", "good")
    assert code == 1


def test_a_target_that_is_not_there_is_refused(
    targets: dict[str, Target],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        _run(monkeypatch, capsys, "--targets", "other")
    assert "no target is called other" in capsys.readouterr().err
