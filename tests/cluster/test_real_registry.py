# SPDX-License-Identifier: Apache-2.0
"""``oci://`` against the registry that most registries are built from."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifact_world.distribution import Distribution, Realm, serve
from artifact_world.registry import TAR, digest_of
from artifact_world.weights import matrix, weights
from controlplane import ProgramError
from controlplane.binaries import ensure
from pedigree import refs
from pedigree.errors import SourceRefused
from pedigree.ranges import ModelSource
from pedigree.sources import SourceSettings, open_source, resolve_identity
from pedigree.tensors.checkpoint import Checkpoint

WEIGHTS = weights({"a": matrix(400, 300)})
NAME = "org/model"
LOGIN = {"OCI_USERNAME": "puller", "OCI_PASSWORD": "a-password"}


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return ensure(["registry"])["registry"]
    except ProgramError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no registry: {error}")


@pytest.fixture
def registry(program: Path, tmp_path: Path) -> Iterator[Distribution]:
    with serve(program, tmp_path) as served:
        yield served


@pytest.fixture
def guarded(program: Path, tmp_path: Path) -> Iterator[Distribution]:
    with serve(program, tmp_path, Realm()) as served:
        yield served


def _push(registry: Distribution) -> str:
    return registry.push(
        NAME,
        "v1",
        [
            registry.blob(NAME, WEIGHTS, path="model.safetensors"),
            registry.blob(NAME, b'{"model_type": "x"}', path="config.json"),
        ],
    )


def _open(
    registry: Distribution, at: str = ":v1", login: dict[str, str] | None = None
) -> ModelSource:
    ref = refs.parse(f"oci://{registry.host}/{NAME}{at}")
    return open_source(ref, SourceSettings(credentials=login or {}))


def test_a_model_is_read_by_ranges_and_pinned_to_its_manifest(
    registry: Distribution,
) -> None:
    manifest = _push(registry)
    source = _open(registry)
    assert source.identity == manifest
    assert [(entry.path, str(entry.digest)) for entry in source.files()] == [
        ("config.json", digest_of(b'{"model_type": "x"}')),
        ("model.safetensors", digest_of(WEIGHTS)),
    ]
    before = source.bytes_read
    assert source.open("model.safetensors").read(1000, 64) == WEIGHTS[1000:1064]
    assert source.bytes_read - before == 64
    assert Checkpoint.open(source).parameters == 400 * 300


def test_a_tag_that_moves_is_another_model_and_the_digest_stays(
    registry: Distribution,
) -> None:
    manifest = _push(registry)
    other = registry.blob(NAME, WEIGHTS[:-4] + b"\0\0\0\0", path="model.safetensors")
    moved = registry.push(NAME, "v1", [other])
    ref = refs.parse(f"oci://{registry.host}/{NAME}:v1")
    pinned, identity = resolve_identity(ref, SourceSettings())
    assert (identity, pinned.revision) == (moved, moved)
    source = _open(registry, f"@{manifest}")
    assert source.open("model.safetensors").read(0, len(WEIGHTS)) == WEIGHTS


def test_files_within_a_tar_layer_are_read_by_ranges(registry: Distribution) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("models/model.safetensors")
        info.size = len(WEIGHTS)
        archive.addfile(info, io.BytesIO(WEIGHTS))
    registry.push(NAME, "v1", [registry.blob(NAME, out.getvalue(), TAR)])
    source = _open(registry, ":v1#models")
    assert [entry.path for entry in source.files()] == ["model.safetensors"]
    assert source.open("model.safetensors").read(77, 500) == WEIGHTS[77:577]


def test_a_token_is_asked_for_to_read_this_repository_and_no_more(
    guarded: Distribution,
) -> None:
    _push(guarded)
    assert guarded.realm is not None
    source = _open(guarded)
    assert source.open("model.safetensors").read(0, 100) == WEIGHTS[:100]
    assert set(guarded.realm.scopes) == {f"repository:{NAME}:pull"}


def test_a_password_is_not_told_to_a_realm_elsewhere_without_tls(
    guarded: Distribution,
) -> None:
    _push(guarded)
    assert guarded.realm is not None
    _open(guarded, login=LOGIN)
    assert guarded.realm.told
    assert not any(guarded.realm.told)


def test_without_a_token_the_registry_is_not_read(guarded: Distribution) -> None:
    _push(guarded)
    assert guarded.realm is not None
    guarded.realm.gives = False
    with pytest.raises(SourceRefused) as caught:
        _open(guarded, login=LOGIN)
    assert LOGIN["OCI_PASSWORD"] not in str(caught.value)


def test_what_is_not_there_is_refused_by_its_name(registry: Distribution) -> None:
    _push(registry)
    with pytest.raises(SourceRefused, match="v2"):
        _open(registry, ":v2")
