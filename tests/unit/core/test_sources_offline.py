# SPDX-License-Identifier: Apache-2.0
"""Models of the Hub without a network: what was kept, what was downloaded, or a no."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import made_models
from artifact_world.hub import SimulatedHub, serve
from pedigree.digests import sha256
from pedigree.errors import ArtifactError, SourceUnavailable
from pedigree.evidence import to_spec
from pedigree.examine import ExamineSettings, examine
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source, resolve_identity
from pedigree.sources.settings import CacheSettings

BODY = bytes(range(256)) * 64
FILES = {"config.json": b"{}", "model.safetensors": BODY, "sub/notes.txt": b"inner"}
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def hub() -> Iterator[SimulatedHub]:
    with serve(SimulatedHub()) as served:
        served.commit(FILES)
        yield served


def _settings(hub: SimulatedHub, folder: Path, **changes: object) -> SourceSettings:
    settings = SourceSettings(
        hub_endpoint=hub.endpoint,
        timeout_s=2,
        attempts=1,
        cache=CacheSettings(folder=folder / "cache"),
        hub_folder=folder / "hub",
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def _download(folder: Path, commit: str, files: dict[str, bytes]) -> Path:
    """Files where the Hub's client puts them."""
    repo = folder / "hub" / "models--org--model"
    for path, body in files.items():
        blob = repo / "blobs" / sha256(body).hex
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(body)
        link = repo / "snapshots" / commit / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    ref = repo / "refs" / "main"
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit)
    return repo


def test_a_model_that_was_examined_once_is_examined_again_without_a_network(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    made_models.write(tmp_path / "m", made_models.llama(5))
    commit = hub.commit(
        {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    )
    ref = parse(f"hf://org/model@{commit}")
    settings = _settings(hub, tmp_path)
    with_network = examine(ref, settings=ExamineSettings(sources=settings), now=NOW)
    hub.asked.clear()
    offline = ExamineSettings(sources=replace(settings, offline=True))
    without = examine(ref, settings=offline, now=NOW)
    assert hub.asked == []
    assert to_spec(without.evidence) == to_spec(with_network.evidence)
    assert without.usage.requests == 0
    assert without.usage.bytes_kept > 0
    assert resolve_identity(ref, offline.sources) == (ref, f"commit:{commit}")
    assert hub.asked == []


def test_bytes_that_were_not_kept_are_said_to_be_missing(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    settings = _settings(hub, tmp_path)
    ref = parse(f"hf://org/model@{hub.branches['main']}")
    open_source(ref, settings).open("model.safetensors").read(0, 100)
    file = open_source(ref, replace(settings, offline=True)).open("model.safetensors")
    assert file.read(0, 100) == BODY[:100]
    with pytest.raises(SourceUnavailable, match="10 bytes of") as caught:
        file.read(95, 15)
    assert caught.value.reason == "Offline"


@pytest.mark.parametrize("name", ["hf://org/model", "hf://org/model@" + "ab" * 20])
def test_what_is_not_known_is_refused_with_what_to_do(
    hub: SimulatedHub, tmp_path: Path, name: str
) -> None:
    for cache in (None, CacheSettings(folder=tmp_path / "cache")):
        settings = _settings(hub, tmp_path, offline=True, cache=cache)
        for call in (open_source, resolve_identity):
            with pytest.raises(SourceUnavailable, match="without a network") as caught:
                call(parse(name), settings)
            assert caught.value.reason == "Offline"
            assert caught.value.hint
    assert hub.asked == []


def test_a_listing_is_given_to_the_access_that_had_it(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    settings = _settings(hub, tmp_path, hub_token="mine")
    ref = parse(f"hf://org/model@{hub.branches['main']}")
    open_source(ref, settings)
    assert open_source(ref, replace(settings, offline=True)).files()
    for token in (None, "other"):
        with pytest.raises(SourceUnavailable, match="nothing of commit"):
            open_source(ref, replace(settings, offline=True, hub_token=token))


def test_what_the_client_of_the_hub_downloaded_is_read(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    commit = hub.branches["main"]
    _download(tmp_path, commit, FILES)
    settings = _settings(hub, tmp_path, offline=True, cache=None)
    source = open_source(parse("hf://org/model"), settings)
    assert str(source.ref) == f"hf://org/model@{commit}"
    assert [(it.path, it.size, it.digest) for it in source.files()] == [
        (path, len(body), None) for path, body in sorted(FILES.items())
    ]
    assert source.open("sub/notes.txt").read(1, 3) == b"nne"
    # Not the commit: nobody here knows whether these are all of its files.
    assert source.identity.startswith(f"snapshot:{commit}:sha256:")
    assert resolve_identity(parse("hf://org/model"), settings)[1] == source.identity
    assert hub.asked == []


def test_an_identity_of_downloaded_files_changes_with_them(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    commit = hub.branches["main"]
    _download(tmp_path, commit, {"config.json": b"{}"})
    settings = _settings(hub, tmp_path, offline=True, cache=None)
    ref = parse("hf://org/model")
    first = resolve_identity(ref, settings)[1]
    assert resolve_identity(ref, settings)[1] == first
    _download(tmp_path, commit, {"more.txt": b"more"})
    assert resolve_identity(ref, settings)[1] != first


def test_a_link_out_of_the_clients_folder_is_not_followed(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    commit = hub.branches["main"]
    repo = _download(tmp_path, commit, FILES)
    (tmp_path / "secret").write_text("x")
    (repo / "snapshots" / commit / "out.txt").symlink_to(tmp_path / "secret")
    settings = _settings(hub, tmp_path, offline=True, cache=None)
    names = [
        entry.path for entry in open_source(parse("hf://org/model"), settings).files()
    ]
    assert names == sorted(FILES)


def test_a_false_blob_of_the_client_is_not_taken_for_what_it_is_named_after(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    commit = hub.branches["main"]
    settings = _settings(hub, tmp_path)
    ref = parse(f"hf://org/model@{commit}")
    open_source(ref, settings)  # so that the list with its digests is kept
    repo = _download(tmp_path, commit, FILES)
    (repo / "blobs" / sha256(BODY).hex).write_bytes(b"\0" * len(BODY))
    source = open_source(ref, replace(settings, offline=True))
    assert source.identity == f"commit:{commit}"
    listed = {entry.path: entry.digest for entry in source.files()}
    assert listed["model.safetensors"] is None  # so that the examination hashes it
    with pytest.raises(ArtifactError, match="has the digest"):
        source.open("model.safetensors").read(0, len(BODY))


@pytest.mark.parametrize("damage", [b"", b"[", b'[["a"]]', b'[["a",-1,""]]', b"{}"])
def test_a_damaged_list_is_none(
    hub: SimulatedHub, tmp_path: Path, damage: bytes
) -> None:
    settings = _settings(hub, tmp_path)
    ref = parse(f"hf://org/model@{hub.branches['main']}")
    open_source(ref, settings)
    (note,) = (tmp_path / "cache" / "extents-1").glob("*.json")
    note.write_bytes(damage)
    with pytest.raises(SourceUnavailable, match="nothing of commit"):
        open_source(ref, replace(settings, offline=True))


def test_the_clients_own_variables_are_understood() -> None:
    made = SourceSettings.from_env
    assert made({"HF_HUB_OFFLINE": "1"}).offline
    assert made({"HF_HUB_OFFLINE": "true"}).offline
    assert not made({"HF_HUB_OFFLINE": "0"}).offline
    assert made({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}).hub_folder == Path("/a")
    assert made({"HF_HOME": "/b"}).hub_folder == Path("/b/hub")
    assert made({"HOME": "/c"}).hub_folder == Path("/c/.cache/huggingface/hub")
