# SPDX-License-Identifier: Apache-2.0
"""Far models read through a cache: what is asked again, and who is given what."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from artifact_world import registry as registries
from artifact_world import web as webs
from artifact_world.hub import Fault, SimulatedHub, serve
from artifact_world.tar import tar_of
from pedigree.errors import ArtifactError, ConfigError, SourceError
from pedigree.limits import Limits
from pedigree.ranges import ModelSource
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source
from pedigree.sources.settings import CacheSettings

BODY = bytes(range(256)) * 64
FILES = {"config.json": b"{}", "model.safetensors": BODY}


@pytest.fixture
def hub() -> Iterator[SimulatedHub]:
    with serve(SimulatedHub()) as served:
        served.commit(FILES)
        yield served


def _settings(hub: SimulatedHub, cache: Path, **changes: object) -> SourceSettings:
    settings = SourceSettings(
        hub_endpoint=hub.endpoint,
        timeout_s=2,
        attempts=1,
        cache=CacheSettings(folder=cache),
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def _open(hub: SimulatedHub, cache: Path, **changes: object) -> ModelSource:
    return open_source(parse("hf://org/model"), _settings(hub, cache, **changes))


def _asked(hub: SimulatedHub) -> list[str]:
    """Ranges of files that were asked for since the last call.

    Each once: the Hub leads to where the bytes are, and a second request for a file may
    go there at once.
    """
    found = [
        asked.headers.get("range", "whole")
        for asked in hub.asked
        if "/api/" not in asked.path
    ]
    hub.asked.clear()
    return list(dict.fromkeys(found))


def test_what_was_read_once_is_not_asked_for_again(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    first = _open(hub, tmp_path).open("model.safetensors")
    assert first.read(100, 50) == BODY[100:150]
    assert _asked(hub) == ["bytes=100-149"]
    again = _open(hub, tmp_path).open("model.safetensors")
    assert again.read(110, 20) == BODY[110:130]
    assert _asked(hub) == []
    assert again.read_many([(90, 70)]) == [BODY[90:160]]
    assert sorted(_asked(hub)) == ["bytes=150-159", "bytes=90-99"]


def test_small_files_without_a_digest_are_kept_with_their_commit(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    assert _open(hub, tmp_path).open("config.json").read(0, 2) == b"{}"
    hub.commit({**FILES, "config.json": b"[]"})
    assert _open(hub, tmp_path).open("config.json").read(0, 2) == b"[]"
    _asked(hub)
    assert _open(hub, tmp_path).open("config.json").read(0, 2) == b"[]"
    assert _asked(hub) == []


def test_equal_content_of_a_later_commit_is_kept_already(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    _open(hub, tmp_path).open("model.safetensors").read(0, 100)
    hub.commit({"renamed.safetensors": BODY})
    _asked(hub)
    assert _open(hub, tmp_path).open("renamed.safetensors").read(0, 9) == BODY[:9]
    assert _asked(hub) == []


def test_an_access_is_given_nothing_that_another_one_read(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    hub.token = "mine"
    _open(hub, tmp_path, hub_token="mine").open("model.safetensors").read(0, 100)
    hub.token = None  # the listing is open to all, as that of a gated model is
    _asked(hub)
    hub.faults.append(Fault("/resolve/", status=403))
    for token in ("other", None):
        file = _open(hub, tmp_path, hub_token=token).open("model.safetensors")
        with pytest.raises(SourceError, match="answered 403"):
            file.read(0, 100)
    mine = _open(hub, tmp_path, hub_token="mine").open("model.safetensors")
    assert mine.read(0, 100) == BODY[:100]


def test_the_source_is_asked_for_leave_before_kept_bytes_are_given(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    _open(hub, tmp_path).open("model.safetensors").read(0, 100)
    hub.faults.append(Fault("/api/", status=403))
    with pytest.raises(SourceError, match="answered 403"):
        _open(hub, tmp_path)


def test_no_secret_is_in_the_cache(hub: SimulatedHub, tmp_path: Path) -> None:
    secret = "hf_notToBeSeen"
    _open(hub, tmp_path, hub_token=secret).open("model.safetensors").read(0, 100)
    for path in tmp_path.rglob("*"):
        assert secret not in path.name
        assert path.is_dir() or secret.encode() not in path.read_bytes()


def test_a_cache_that_cannot_be_used_is_an_error_of_the_setting(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cache folder"):
        _open(hub, tmp_path / "file")


def test_another_place_cannot_answer_for_a_digest(tmp_path: Path) -> None:
    """A registry may claim any digest; only its own readers may be deceived."""
    with registries.serve(registries.Registry()) as mine:
        layer = mine.layer(BODY, path="model.safetensors")
        mine.push([layer])
        settings = SourceSettings(
            timeout_s=2, attempts=1, cache=CacheSettings(folder=tmp_path)
        )
        ref = parse(f"oci://{mine.host}/org/model:v1")
        assert open_source(ref, settings).open("model.safetensors").read(5, 9)
        with registries.serve(registries.Registry()) as other:
            false = other.layer(BODY, path="model.safetensors")
            other.push([false])
            digest = str(false["digest"])
            other.blobs[digest] = b"\0" * len(BODY)
            theirs = parse(f"oci://{other.host}/org/model:v1")
            got = open_source(theirs, settings).open("model.safetensors").read(5, 9)
            assert got == bytes(9)
        assert (
            open_source(ref, settings).open("model.safetensors").read(5, 9)
            == (BODY[5:14])
        )


def test_a_file_with_a_modification_time_alone_is_not_kept(tmp_path: Path) -> None:
    settings = SourceSettings(
        timeout_s=2, attempts=1, cache=CacheSettings(folder=tmp_path)
    )
    with webs.serve(webs.WebServer()) as web:
        web.files = {"/m/a.gguf": BODY}
        for tagged in (False, True):
            web.etags, web.dates = tagged, True
            ref = parse(f"https://{web.host}/m/a.gguf")
            open_source(ref, settings).open("a.gguf").read(0, 100)
            web.asked.clear()
            open_source(ref, settings).open("a.gguf").read(0, 100)
            assert (len(web.asked) == 1) == tagged


@pytest.mark.parametrize("packed", [False, True])
def test_a_layer_of_a_registry_is_fetched_once(tmp_path: Path, packed: bool) -> None:
    kind, data = "application/vnd.cncf.model.weight.v1.tar", tar_of(*FILES.items())
    if packed:
        kind, data = kind + "+gzip", gzip.compress(data)
    settings = SourceSettings(
        timeout_s=2, attempts=1, cache=CacheSettings(folder=tmp_path)
    )
    with registries.serve(registries.Registry()) as registry:
        registry.push([registry.layer(data, kind)])
        for number in range(2):
            ref = parse(f"oci://{registry.host}/org/model:v1")
            source = open_source(ref, settings)
            read = source.open("model.safetensors").read(100, 50)
            assert read == BODY[100:150]
            assert bool(registry.asked_for("/blobs/")) == (number == 0)
            registry.asked.clear()


def test_a_wrong_whole_is_refused_also_from_the_cache(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    commit = hub.branches["main"]
    right = dict(hub.commits[commit])
    settings = _settings(hub, tmp_path, limits=Limits())
    source = open_source(parse(f"hf://org/model@{commit}"), settings)
    hub.commits[commit] = {**right, "model.safetensors": b"x" * len(BODY)}
    file = source.open("model.safetensors")
    file.read(0, 100)
    hub.commits[commit] = right
    with pytest.raises(ArtifactError, match="has the digest"):
        file.read(0, len(BODY))
