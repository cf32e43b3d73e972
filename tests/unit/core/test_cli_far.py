# SPDX-License-Identifier: Apache-2.0
"""Options for far models, and what a command says of its reading."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import made_models
from artifact_world.hub import Fault, SimulatedHub, serve_commands
from pedigree.cli import main
from pedigree.cli.far import usage_words
from pedigree.errors import ConfigError
from pedigree.ranges import Usage
from pedigree.sources import SourceSettings
from pedigree.sources.settings import MEMORY_LEAST_BYTES

EXAMPLES = Path(__file__).parents[3] / "examples"
SERVED = "file:///models/llama-a.sft"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedHub]:
    with serve_commands(tmp_path, monkeypatch) as served:
        yield served


def _asked(hub: SimulatedHub) -> int:
    count = len([each for each in hub.asked if "/api/" not in each.path])
    hub.asked.clear()
    return count


@pytest.mark.parametrize(
    "command",
    [
        ["examine"],
        ["fingerprint"],
        ["compare", "hf://org/model"],
        ["tree", str(made_models.EXAMPLES / "llama-a")],
    ],
    ids=lambda command: command[0],
)
def test_a_command_reads_nothing_twice_with_a_cache(
    hub: SimulatedHub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    arguments = [*command, "hf://org/model", "--cache", str(tmp_path / "c"), "--json"]
    assert main(arguments) == 0
    assert _asked(hub) > 0
    first = json.loads(capsys.readouterr().out)
    assert main(arguments) == 0
    assert _asked(hub) == 0
    second = json.loads(capsys.readouterr().out)
    assert first["bytesRead"] > second["bytesRead"]
    commit = hub.branches["main"]
    pinned = [part.replace("org/model", f"org/model@{commit}") for part in arguments]
    assert main([*pinned, "--offline"]) == 0
    assert hub.asked == []


def test_a_manifest_is_judged_the_same_from_the_cache_alone(
    hub: SimulatedHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = hub.branches["main"]
    folder = made_models.write(tmp_path / "other", made_models.llama(6))
    other = hub.commit({path.name: path.read_bytes() for path in folder.iterdir()})
    for name, commit in (("approved", base), ("unknown", other)):
        text = (EXAMPLES / "manifests" / "approved.yaml").read_text()
        assert SERVED in text
        text = text.replace(SERVED, f"hf://org/model@{commit}")
        (tmp_path / f"{name}.yaml").write_text(text)
    policy = (EXAMPLES / "policies" / "approved-bases.yaml").read_text()
    policy = policy.replace("references: [gpt2-a]", "references: [llama-a]")
    policy = policy.replace("deniedAncestors", "allowedAncestors")
    (tmp_path / "policy.yaml").write_text(policy)
    known = (EXAMPLES / "policies" / "references.yaml").read_text().partition("---")[0]
    known = known.replace("file:///models/llama-a", f"hf://org/model@{base}")
    (tmp_path / "references.yaml").write_text(known)
    codes = {}
    for name in ("approved", "unknown"):
        arguments = [
            *("gate", "-f", str(tmp_path / f"{name}.yaml"), "--json"),
            f"--policy={tmp_path / 'policy.yaml'}",
            f"--reference-models={tmp_path / 'references.yaml'}",
            f"--cache={tmp_path / 'c'}",
        ]
        codes[name] = main(arguments)
        first = json.loads(capsys.readouterr().out)["objects"]
        assert _asked(hub) > 0
        assert main([*arguments, "--offline"]) == codes[name]
        assert json.loads(capsys.readouterr().out)["objects"] == first
        assert hub.asked == []
    assert codes == {"approved": 0, "unknown": 1}


def test_a_known_model_is_added_from_the_cache_alone(
    hub: SimulatedHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = hub.branches["main"]
    kept = []
    for number, flags in enumerate(([], ["--offline"])):
        arguments = [
            *("registry", "add", f"--registry={tmp_path / str(number)}", "--json"),
            *(f"--cache={tmp_path / 'c'}", "base", f"hf://org/model@{commit}"),
        ]
        hub.asked.clear()
        assert main([*arguments, *flags]) == 0
        kept.append(json.loads(capsys.readouterr().out)["reference"]["fingerprint"])
    assert kept[0] == kept[1]
    assert hub.asked == []


def test_an_examination_tells_requests_waits_and_what_was_kept(
    hub: SimulatedHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["examine", "hf://org/model", "--cache", str(tmp_path / "c"), "--json"]
    main(arguments)
    first = json.loads(capsys.readouterr().out)
    assert first["requests"] == len(hub.asked)
    assert first["rateLimitedSeconds"] == 0
    main(arguments)
    second = json.loads(capsys.readouterr().out)
    assert second["requests"] == len(hub.asked) - first["requests"] == 2
    assert second["bytesKept"] >= first["bytesKept"]
    del (
        first["evidence"]["spec"]["examinedAt"],
        second["evidence"]["spec"]["examinedAt"],
    )
    assert first["evidence"]["spec"] == second["evidence"]["spec"]


def test_nothing_is_kept_unless_somebody_asks(
    hub: SimulatedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert main(["examine", "hf://org/model"]) == 0
    assert not (tmp_path / "home").exists()
    monkeypatch.setenv("PEDIGREE_CACHE", str(tmp_path / "cache"))
    assert main(["examine", "hf://org/model"]) == 0
    assert any((tmp_path / "cache").rglob("*.log"))


def test_what_reading_took_is_one_phrase() -> None:
    assert usage_words(Usage(bytes_read=0)) == "0 B read"
    words = usage_words(
        Usage(requests=7, bytes_read=2_000_000, bytes_kept=3000, limited_s=12.4)
    )
    assert words == (
        "2.0 MB read in 7 requests, 3.0 kB from the cache, "
        "12 s waited for a busy source"
    )


def test_sizes_of_the_environment_are_numbers_of_bytes() -> None:
    made = SourceSettings.from_env(
        {
            "PEDIGREE_CACHE": "/c",
            "PEDIGREE_CACHE_MAX_BYTES": "7",
            "PEDIGREE_MEMORY_BYTES": str(MEMORY_LEAST_BYTES),
        }
    )
    assert made.cache is not None
    assert (made.cache.folder, made.cache.max_bytes) == (Path("/c"), 7)
    assert made.limits.read_max_bytes == MEMORY_LEAST_BYTES
    wrong = {"PEDIGREE_CACHE": "/c", "PEDIGREE_CACHE_MAX_BYTES": "7G"}
    for env in (wrong, {"PEDIGREE_MEMORY_BYTES": "-1"}):
        with pytest.raises(ConfigError, match="wanted a number of bytes"):
            SourceSettings.from_env(env)


def test_too_little_memory_is_a_wrong_setting(
    hub: SimulatedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["examine", "hf://org/model", "--memory", "1000"]) == 2
    assert "memory is 1000 bytes, wanted at least" in capsys.readouterr().err
    assert hub.asked == []


def _on_a_terminal(arguments: list[str], folder: Path) -> str:
    """What a command writes to a terminal that is its stderr."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "pedigree", *arguments]
    # An empty folder, so that the Hub's client would ask for what it has not kept.
    home = tempfile.mkdtemp(dir=folder)
    environment = {**os.environ, "COLUMNS": "160", "TERM": "xterm", "HF_HOME": home}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while data := os.read(ours, 65536):
            seen += data
    os.close(ours)
    assert process.wait(60) == 0, seen
    return seen.decode()


@pytest.mark.parametrize("command", ["examine", "fingerprint"])
def test_a_bar_tells_what_was_received_of_a_model_that_is_far(
    hub: SimulatedHub, tmp_path: Path, command: str
) -> None:
    hub.faults.append(Fault("/cdn/", delay_s=0.3))
    shown = _on_a_terminal([command, "hf://org/model"], tmp_path)
    assert "read in" in shown
    requests = [int(found) for found in re.findall(r"read in (\d+) requests", shown)]
    assert requests[-1] == len(hub.asked)
    assert requests == sorted(requests)
    here = _on_a_terminal([command, str(tmp_path / "m")], tmp_path)
    assert "fingerprint" in here or "reading" in here
    assert "read in" not in here
