# SPDX-License-Identifier: Apache-2.0
"""Examinations whose network or process dies: nothing half, and nothing read twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

import made_models
from artifact_world.cut import Network, between
from artifact_world.hub import Fault, SimulatedHub, serve
from pedigree.digests import Digest
from pedigree.errors import SourceUnavailable
from pedigree.evidence import to_spec
from pedigree.examine import Examination, ExamineSettings, examine
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.spec import Profile
from pedigree.refs import parse
from pedigree.sources import SourceSettings, spans
from pedigree.sources.settings import CacheSettings

NOW = datetime(2026, 11, 23, tzinfo=UTC)
REF = "hf://org/model"


@dataclass
class _Store:
    """Fingerprints in memory."""

    kept: dict[Digest, Fingerprint] = field(default_factory=dict)

    def get(self, model_digest: Digest) -> Fingerprint | None:
        return self.kept.get(model_digest)

    def put(self, model_digest: Digest, fingerprint: Fingerprint) -> None:
        self.kept[model_digest] = fingerprint


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A model with large tensors, of which little is sampled, and far between."""
    folder = tmp_path_factory.mktemp("model")
    weights = made_models.llama(5, layers=2, width=96, neurons=128)
    made_models.write(folder, weights, shards=2)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def network(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Network]:
    monkeypatch.setattr(spans, "GAP_BYTES", 256)  # small models take many requests too
    with serve(SimulatedHub()) as hub, between(hub.port) as network:
        hub.commit(files)
        hub.port = network.port  # so that redirects lead through the network
        yield network


def _examine(network: Network, cache: Path | None, store: _Store) -> Examination:
    sources = SourceSettings(
        hub_endpoint=f"http://127.0.0.1:{network.port}",
        timeout_s=5,
        attempts=1,
        connections=4,
        cache=CacheSettings(folder=cache) if cache else None,
    )
    settings = ExamineSettings(sources=sources, profile=Profile.FAST)
    return examine(parse(REF), settings=settings, store=store, now=NOW)


def _bytes_of(path: str, asked: tuple[int, int] | None) -> set[tuple[str, int]]:
    name = path.rpartition("/")[2]
    first, last = asked if asked else (0, 0)
    return {(name, at) for at in range(first, last + 1)}


def test_a_network_that_dies_at_any_byte_leaves_nothing_and_a_retry_finishes(
    network: Network, files: dict[str, bytes], tmp_path: Path
) -> None:
    undisturbed = _examine(network, tmp_path / "undisturbed", _Store())
    total = network.passed
    assert undisturbed.fingerprint is not None
    wanted = to_spec(undisturbed.evidence)
    grid = {0, 1, 17, 200, total - 1, *range(0, total, total // 37)}
    reached: set[str] = set()
    for number, budget in enumerate(sorted(grid)):
        network.heal()
        network.budget = budget
        store, cache = _Store(), tmp_path / str(number)
        with pytest.raises(SourceUnavailable):
            _examine(network, cache, store)
        assert store.kept == {}
        before = network.exchanges()
        network.heal()
        found = _examine(network, cache, store)
        assert to_spec(found.evidence) == wanted
        assert list(store.kept) == [undisturbed.evidence.digest]
        got: set[tuple[str, int]] = set()
        for path, asked, whole in before:
            if whole and "/api/" not in path:
                name = path.rpartition("/")[2]
                every = (0, len(files[name]) - 1)
                got |= _bytes_of(path, asked or every)
            reached.add("list" if "/api/" in path else path.rpartition("/")[2])
        for path, asked, _ in network.exchanges():
            if "/api/" not in path and "/cdn/" in path:
                assert not got & _bytes_of(path, asked), f"{path} after {budget} bytes"
    assert reached >= {"list", "config.json", "model-00001-of-00002.safetensors"}


def test_a_process_that_is_killed_is_taken_up_by_the_next(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    with serve(SimulatedHub()) as hub:
        hub.commit(files)
        environment = {
            "PATH": os.environ["PATH"],
            "HF_ENDPOINT": hub.endpoint,
            "PEDIGREE_CACHE": str(tmp_path / "cache"),
        }
        store = tmp_path / "store"
        command = [sys.executable, "-m", "pedigree", "examine", REF, "--json"]
        command += ["--store", str(store)]
        hub.faults.append(Fault("/cdn/", delay_s=0.2))
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        end = time.monotonic() + 60
        while len(hub.paths_asked("/cdn/")) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.communicate()[0] == b""
        assert process.returncode == -signal.SIGKILL
        assert not store.exists() or not any(store.rglob("*.safetensors"))
        hub.faults.clear()
        kept = sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*.log"))
        assert kept > 1000
        hub.asked.clear()
        retried = _run(command, environment)
        second = len([each for each in hub.asked if "/api/" not in each.path])
        hub.asked.clear()
        environment["PEDIGREE_CACHE"] = str(tmp_path / "other")
        fresh = _run([*command[:-1], str(tmp_path / "fresh")], environment)
        anew = len([each for each in hub.asked if "/api/" not in each.path])
    for found in (retried, fresh):
        del found["evidence"]["spec"]["examinedAt"]
    assert retried["evidence"]["spec"] == fresh["evidence"]["spec"]
    assert second < anew


def _run(
    command: list[str], environment: dict[str, str]
) -> dict[str, dict[str, dict[str, str]]]:
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    found: dict[str, dict[str, dict[str, str]]] = json.loads(done.stdout)
    return found
