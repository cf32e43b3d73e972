# SPDX-License-Identifier: Apache-2.0
"""Paths that lead out of a model, in every place where a model can write one.

A server that follows a path of a model reads the machine's own files or another
model's: absolute paths, ``..``, and names that mean more than a file.  The same texts
are tried in references, indexes, lists of hosts, layers and archives.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifact_world.hub import Fault, SimulatedHub, serve
from artifact_world.registry import Registry
from artifact_world.registry import serve as serve_registry
from artifact_world.weights import index_of, matrix, source_of, weights
from pedigree import refs
from pedigree.errors import ArtifactError, PedigreeError
from pedigree.limits import DEFAULT
from pedigree.ranges import ModelSource
from pedigree.sources import SourceSettings, open_source
from pedigree.sources.archives import members
from pedigree.tensors.checkpoint import Checkpoint

PATHS = [
    "/etc/passwd",
    "../outside.safetensors",
    "a/../../outside.safetensors",
    "a/..",
    "..",
    ".",
    "./a.safetensors",
    "a//b.safetensors",
    "a/./b.safetensors",
    "..\\outside.safetensors",
    "a\x00.safetensors",
]
SCHEMES = [
    "file://{}",
    "hf://org/repo@main#{}",
    "s3://bucket/{}",
    "oci://host/name:tag#{}",
    "https://host/{}",
    "pvc://claim/{}",
]


@pytest.mark.parametrize("path", ["..", "a/../b", "../a", "a/.."])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_reference_leaves_its_place(scheme: str, path: str) -> None:
    with pytest.raises(PedigreeError) as caught:
        refs.parse(scheme.format(path))
    assert caught.value.reason == "ReferenceInvalid"


@pytest.mark.parametrize(
    "revision", ["../main", "a/../../b", "/main", "main/..", "-x", "a b", "%2e%2e"]
)
def test_no_revision_leaves_its_repository(revision: str) -> None:
    with pytest.raises(PedigreeError) as caught:
        refs.parse(f"hf://org/repo@{revision}")
    assert caught.value.reason == "ReferenceInvalid"


@pytest.mark.parametrize("path", PATHS)
def test_an_index_names_files_of_the_model_only(tmp_path: Path, path: str) -> None:
    (tmp_path / "outside.safetensors").write_bytes(weights({"a": matrix()}))
    files = {
        "b.safetensors": weights({"b": matrix()}),
        "model.safetensors.index.json": index_of({"a": path, "b": "b.safetensors"}),
    }
    with pytest.raises(ArtifactError) as caught:
        Checkpoint.open(source_of(tmp_path / "model", files))
    assert caught.value.reason in ("IndexOutsideFolder", "MissingShard")


@pytest.fixture
def hub() -> Iterator[SimulatedHub]:
    with serve(SimulatedHub()) as served:
        served.commit({"config.json": b"{}"})
        yield served


@pytest.mark.parametrize("path", PATHS)
def test_a_hub_lists_plain_paths_only(hub: SimulatedHub, path: str) -> None:
    row = {"type": "file", "path": path, "size": 1}
    hub.faults.append(Fault("/tree/", status=200, body=json.dumps([row]).encode()))
    with pytest.raises(PedigreeError) as caught:
        open_source(
            refs.parse("hf://org/model"), SourceSettings(hub_endpoint=hub.endpoint)
        )
    assert caught.value.reason == "BadAnswer"


def _opened(registry: Registry) -> ModelSource:
    ref = refs.parse(f"oci://127.0.0.1:{registry.port}/org/model:v1")
    return open_source(ref, SourceSettings())


@pytest.mark.parametrize("path", PATHS)
def test_a_layer_names_a_plain_path_only(path: str) -> None:
    with serve_registry(Registry()) as registry:
        layer = registry.layer(b"x", path=path)
        registry.push([layer])
        with pytest.raises(PedigreeError) as caught:
            _opened(registry)
    assert caught.value.reason == "UnsafePath"


@pytest.mark.parametrize("path", [path for path in PATHS if "b.safe" not in path])
@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_archive_holds_plain_paths_only(path: str, kind: int) -> None:
    """Tar itself writes ``./`` and a zero at the end: the name within counts."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        info = tarfile.TarInfo(path)
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    data = out.getvalue()
    paths, reason = [], ""
    try:
        found = members(
            lambda offset, length: data[offset : offset + length],
            len(data),
            name="x",
            limits=DEFAULT,
        )
        paths = [member.path for member in found]
    except ArtifactError as error:
        reason = error.reason or ""
    plain = {"./a.safetensors": ["a.safetensors"], "a\x00.safetensors": ["a"]}
    assert (paths, reason) == (
        plain.get(path, []),
        "" if path in plain else "UnsafePath",
    )


def test_the_local_base_of_an_adapter_is_not_looked_for(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(weights({"b": matrix()}))
    config = {"base_model_name_or_path": str(base), "peft_type": "LORA"}
    names = [f"layers.0.q_proj.lora_{factor}.weight" for factor in "AB"]
    files = {
        "adapter_config.json": json.dumps(config).encode(),
        "adapter_model.safetensors": weights({name: matrix() for name in names}),
    }
    opened = Checkpoint.open(source_of(tmp_path / "adapter", files))
    assert sorted(opened.tensors) == names
