# SPDX-License-Identifier: Apache-2.0
"""The command's frame: exit codes, errors, and what it does not load."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pedigree.cli
from pedigree.cli import main
from pedigree.cli.failure import exit_code, failure_document
from pedigree.errors import (
    ArtifactError,
    ConfigError,
    LedgerError,
    ModelRefError,
    PedigreeError,
    PolicyError,
    SourceRefused,
    SourceUnavailable,
)


def _command_that(monkeypatch: pytest.MonkeyPatch, run: Callable[[], int]) -> None:
    def parser(arguments: object) -> argparse.ArgumentParser:
        made = argparse.ArgumentParser()
        made.add_argument("--json", action="store_true")
        made.set_defaults(run=lambda args: run())
        return made

    monkeypatch.setattr(pedigree.cli, "_parser", parser)


def _raising(error: BaseException) -> Callable[[], int]:
    def run() -> int:
        raise error

    return run


def test_help_names_every_command_and_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in pedigree.cli.COMMANDS:
        assert f"\n    {name}" in text
    assert "exit codes" in text


def test_help_loads_no_numerics_and_no_tables() -> None:
    code = (
        "import sys; from pedigree.cli import main; main(['--help']);"
        "heavy = {'numpy', 'rich', 'huggingface_hub', 'ml_dtypes', 'yaml'};"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "required"),
        (["nonsense"], "invalid choice"),
        (["compare", "one"], "B"),
        (["scan", "m"], "--registry"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_to_do(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert text in printed
    assert "error: " in printed
    assert "hint: " in printed


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (ModelRefError("x"), 2),
        (ArtifactError("x"), 3),
        (SourceRefused("x"), 3),
        (SourceUnavailable("x"), 3),
        (PolicyError("x", field="spec"), 3),
        (LedgerError("x"), 3),
    ],
)
def test_exit_codes_tell_who_must_act(error: PedigreeError, code: int) -> None:
    assert exit_code(error) == code


def test_an_error_is_told_on_stderr_with_its_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _command_that(monkeypatch, _raising(ArtifactError("it broke", hint="mend it")))
    assert main([]) == 3
    printed = capsys.readouterr()
    assert printed.err == "error: it broke\nhint: mend it\n"
    assert printed.out == ""


def test_an_error_is_also_json_when_json_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = SourceUnavailable("busy", retry_after_s=5, hint="wait")
    _command_that(monkeypatch, _raising(error))
    assert main(["--json"]) == 3
    assert json.loads(capsys.readouterr().out) == {
        "schema": "pedigree.dev/error/v1",
        "error": {
            "class": "SourceUnavailable",
            "reason": "SourceUnavailable",
            "message": "busy",
            "hint": "wait",
            "retryAfterSeconds": 5,
        },
    }


def test_a_bug_exits_with_70_and_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _command_that(monkeypatch, _raising(RuntimeError("oops")))
    assert main(["--json"]) == 70
    printed = capsys.readouterr()
    assert "Traceback" in printed.err
    assert json.loads(printed.out)["error"]["reason"] == "InternalError"


def test_an_interrupt_exits_as_shells_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    _command_that(monkeypatch, _raising(KeyboardInterrupt()))
    assert main([]) == 130


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    code = "import sys; from pedigree.cli import main; sys.exit(main(sys.argv[1:]))"
    command = f'{sys.executable} -c "{code}" explain ALIGN-neuron | head -1'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, check=False
    )
    assert b"Traceback" not in done.stderr


def test_every_error_has_a_document() -> None:
    assert failure_document(ValueError("x"))["error"]["class"] == "ValueError"
