# SPDX-License-Identifier: Apache-2.0
"""What one command receives is kept while it runs, and deleted with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import made_models
from artifact_world.hub import SimulatedHub, serve, serve_commands
from pedigree.cli import main
from pedigree.cli.passing import passing_cache


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedHub]:
    with serve_commands(tmp_path, monkeypatch) as served:
        yield served


def _gone_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_far_model_is_received_once_and_nothing_stays(tmp_path: Path) -> None:
    folder = made_models.write(tmp_path / "m", made_models.llama(5))
    size = sum(path.stat().st_size for path in folder.iterdir())
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with serve(SimulatedHub()) as hub:
        hub.commit({path.name: path.read_bytes() for path in folder.iterdir()})
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PEDIGREE_")},
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "TMPDIR": str(temporary),
        }
        command = [sys.executable, "-m", "pedigree", "examine", "hf://org/model"]
        done = subprocess.run(
            [*command, "--json"], env=environment, capture_output=True, check=True
        )
    found = json.loads(done.stdout)
    assert found["bytesRead"] <= size + 20_000  # the listing, and no byte twice
    assert found["bytesKept"] > 0
    assert list(temporary.iterdir()) == []


def test_a_command_that_reads_no_far_model_looks_at_no_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_models.write(tmp_path / "m", made_models.llama(5))
    temporary = tmp_path / "tmp"
    left = temporary / f"pedigree-{_gone_pid()}-0123456789abcdef"
    left.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for command in (["examine"], ["compare", str(folder)], ["tree", str(folder)]):
        main([*command, str(folder), "--json"])
        assert left.exists()


def test_the_models_of_one_command_share_one_folder(
    hub: SimulatedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert main(["compare", "hf://org/model", "hf://org/model@main"]) == 0
    assert len(list(temporary.iterdir())) == 1


def test_what_killed_commands_left_is_deleted_and_what_runs_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mark = "0123456789abcdef"
    for name in (
        f"pedigree-{_gone_pid()}-{mark}",
        f"pedigree-{os.getpid()}-{mark}",
        f"pedigree-{_gone_pid()}-other",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log").write_bytes(b"x")
    (tmp_path / f"pedigree-1{_gone_pid()}-{mark}").symlink_to(tmp_path / "elsewhere")
    before = {path.name for path in tmp_path.iterdir()}
    cache = passing_cache()
    assert cache is not None
    assert not cache.folder.exists()  # made by whoever reads a far model
    gone = before - {path.name for path in tmp_path.iterdir()}
    assert len(gone) == 1
    assert next(iter(gone)).endswith(mark)
    assert f"pedigree-{os.getpid()}-{mark}" not in gone


def test_without_a_place_for_temporary_files_nothing_is_kept(
    hub: SimulatedHub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert passing_cache() is None
    assert main(["examine", "hf://org/model", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytesKept"] == 0
    assert found["evidence"]["spec"]["fingerprint"]
