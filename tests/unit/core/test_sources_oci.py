# SPDX-License-Identifier: Apache-2.0
"""Models in a registry that is right, asks for leave, lies or hides things in tar."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact_world.registry import TAR, Registry, digest_of, serve
from artifact_world.tar import tar_of
from artifact_world.weights import matrix, weights
from pedigree import refs
from pedigree.errors import ArtifactError, PedigreeError, SourceError
from pedigree.limits import Limits
from pedigree.ranges import ModelSource
from pedigree.sources import SourceSettings, open_source, resolve_identity
from pedigree.sources.archives import members
from pedigree.tensors.checkpoint import Checkpoint

WEIGHTS = weights({"a": matrix(40, 20)})
LOGIN = {"OCI_USERNAME": "me", "OCI_PASSWORD": "secret"}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serve(Registry()) as served:
        _push(served)
        yield served


def _push(registry: Registry) -> str:
    return registry.push(
        [
            registry.layer(WEIGHTS, path="model.safetensors"),
            registry.layer(b"{}", path="config.json"),
            registry.layer(
                b"x = 1", "application/vnd.cncf.model.code.v1.raw", "code/x.py"
            ),
        ]
    )


def _settings(**changes: object) -> SourceSettings:
    settings = SourceSettings(timeout_s=2, attempts=2)
    return replace(settings, **changes)  # type: ignore[arg-type]


def _open(registry: Registry, at: str = ":v1", **changes: object) -> ModelSource:
    ref = refs.parse(f"oci://{registry.host}/org/model{at}")
    return open_source(ref, _settings(**changes))


def _reason(registry: Registry, at: str = ":v1", **changes: object) -> str:
    with pytest.raises(PedigreeError) as caught:
        _open(registry, at, **changes).open("model.safetensors").read(10, 100)
    return caught.value.reason


def test_raw_layers_are_files_with_digests(registry: Registry) -> None:
    source = _open(registry)
    assert [(entry.path, str(entry.digest)) for entry in source.files()] == [
        ("code/x.py", digest_of(b"x = 1")),
        ("config.json", digest_of(b"{}")),
        ("model.safetensors", digest_of(WEIGHTS)),
    ]
    file = source.open("model.safetensors")
    assert file.read(5, 300) == WEIGHTS[5:305]
    assert file.read(0, len(WEIGHTS)) == WEIGHTS
    read = Checkpoint.open(source).read_rows("a", [7, 3])
    assert np.array_equal(read, matrix(40, 20)[[7, 3]])


def test_a_tag_is_pinned_to_the_digest_it_means_now(registry: Registry) -> None:
    source = _open(registry)
    digest = registry.tags["v1"]
    assert source.identity == digest
    assert source.ref.pinned
    assert source.ref.revision == digest
    assert resolve_identity(source.ref, _settings()) == (source.ref, digest)
    registry.push([registry.layer(b"other", path="config.json")])
    assert _open(registry).identity != digest
    assert source.open("model.safetensors").read(0, 9) == WEIGHTS[:9]
    assert _open(registry, f"@{digest}").identity == digest


def test_part_of_an_artifact_is_the_model(registry: Registry) -> None:
    assert [it.path for it in _open(registry, ":v1#code").files()] == ["x.py"]
    assert _reason(registry, ":v1#nothing") == "NotFound"


def test_leave_is_got_from_the_realm_and_never_shown_to_the_store(
    registry: Registry,
) -> None:
    registry.login = ("me", "secret")
    assert _reason(registry) == "Unauthorized"
    registry.asked.clear()
    source = _open(registry, credentials=LOGIN)
    registry.token = "leave-2"  # the first has expired
    assert source.open("config.json").read(0, 2) == b"{}"
    assert len(registry.asked_for("/token")) == 2
    for asked in registry.asked_for("/store/"):
        assert asked.host == "localhost"
        assert "authorization" not in asked.headers
    for asked in registry.asked_for("/v2/"):
        assert "Basic" not in asked.headers.get("authorization", "")


def test_basic_leave_works_and_a_wrong_password_does_not(registry: Registry) -> None:
    registry.login, registry.basic = ("me", "secret"), True
    _open(registry, credentials=LOGIN)
    wrong = {**LOGIN, "OCI_PASSWORD": "other"}
    assert _reason(registry, credentials=wrong) == "Unauthorized"


def test_a_realm_elsewhere_without_tls_sees_no_password(registry: Registry) -> None:
    registry.login = ("me", "secret")
    registry.realm = f"http://localhost:{registry.port}/token"
    assert _reason(registry, credentials=LOGIN) == "Unauthorized"
    assert all("authorization" not in it.headers for it in registry.asked_for("/token"))


def test_a_private_registry_is_refused_unless_listed(registry: Registry) -> None:
    assert _reason(registry, private_hosts=()) == "PrivateAddress"
    assert not registry.asked
    both = (registry.host, "localhost")
    _open(registry, private_hosts=both).open("config.json").read(0, 2)


def test_a_manifest_of_another_digest_is_refused(registry: Registry) -> None:
    registry.wrong_digest = digest_of(b"other")
    assert _reason(registry) == "DigestMismatch"
    registry.wrong_digest = ""
    digest = registry.tags["v1"]
    registry.manifests[digest] += b" "
    assert _reason(registry, f"@{digest}") == "DigestMismatch"


def test_a_layer_of_another_digest_is_refused(registry: Registry) -> None:
    registry.blobs[digest_of(b"{}")] = b"[]"
    with pytest.raises(ArtifactError) as caught:
        _open(registry).open("config.json").read(0, 2)
    assert caught.value.reason == "DigestMismatch"


def test_a_cut_body_is_no_content(registry: Registry) -> None:
    file = _open(registry).open("model.safetensors")
    registry.cut = 50
    with pytest.raises(SourceError) as caught:
        file.read(0, 100)
    assert caught.value.reason in {"TruncatedResponse", "Unreachable"}


def test_answers_are_told_apart(registry: Registry) -> None:
    for status, reason in {403: "Forbidden", 404: "NotFound"}.items():
        registry.fail = {"/manifests/": (status, {})}
        assert _reason(registry) == reason
    registry.fail = {"/store/": (429, {"Retry-After": "7"})}
    with pytest.raises(SourceError, match="registry answered 429") as caught:
        _open(registry).open("config.json").read(0, 2)
    assert getattr(caught.value, "retry_after_s", None) == 7


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.oci.image.layer.v1.tar+bzip2",
        "application/vnd.cncf.model.weight.v1.raw+gzip",
        "application/x.tar.xz",
    ],
)
def test_layers_packed_in_other_ways_are_refused(registry: Registry, kind: str) -> None:
    registry.push([registry.layer(b"any", kind, "model.safetensors")])
    assert _reason(registry) == "CompressedLayer"


def test_an_index_is_used_when_it_leaves_no_choice(registry: Registry) -> None:
    inner = {"digest": registry.tags["v1"], "size": 1}
    registry.put({"manifests": [inner]}, "one")
    assert _open(registry, ":one").identity == registry.tags["v1"]
    amd = {**inner, "platform": {"os": "linux", "architecture": "amd64"}}
    registry.put({"manifests": [inner, amd]}, "two")
    assert _open(registry, ":two").identity == registry.tags["v1"]
    registry.put({"manifests": [inner, inner]}, "many")
    assert _reason(registry, ":many") == "AmbiguousIndex"


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_files_within_a_tar_layer_are_read_by_ranges(
    registry: Registry, kind: int
) -> None:
    long = "deep/" * 40 + "ü.bin"
    files = [("./model.safetensors", WEIGHTS), ("config.json", b"{}"), (long, b"abc")]
    registry.push([registry.layer(tar_of(*files, kind=kind), TAR)])
    source = _open(registry)
    assert {it.path: it.size for it in source.files()} == {
        "model.safetensors": len(WEIGHTS),
        "config.json": 2,
        long: 3,
    }
    assert source.open("model.safetensors").read(5, 300) == WEIGHTS[5:305]
    assert source.open(long).read(1, 2) == b"bc"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([("../a", b"")], "UnsafePath"),
        ([("/etc/a", b"")], "UnsafePath"),
        ([("a/../b", b"")], "UnsafePath"),
        ([("a", b"1"), ("./a", b"2")], "DuplicatePath"),
    ],
)
def test_tar_members_that_leave_the_model_are_refused(
    registry: Registry, files: list[tuple[str, bytes]], reason: str
) -> None:
    registry.push([registry.layer(tar_of(*files), TAR)])
    assert _reason(registry) == reason


def test_links_in_a_tar_layer_are_refused(registry: Registry) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("model.safetensors")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    registry.push([registry.layer(out.getvalue(), TAR)])
    assert _reason(registry) == "SpecialFile"


@given(st.integers(0, 2047), st.integers(0, 255), st.integers(0, 4096))
def test_any_archive_gives_members_or_an_error(at: int, byte: int, end: int) -> None:
    data = bytearray(tar_of(("a" * 120, b"123"), ("b", b"4" * 600)))
    data[at] = byte
    kept = bytes(data[:end])
    try:
        found = members(
            lambda offset, length: kept[offset : offset + length],
            len(kept),
            name="x",
            limits=Limits(),
        )
    except ArtifactError:
        return
    assert all(it.begin + it.size <= len(kept) for it in found)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["layers", "manifests", "digest", "mediaType", "size", "platform"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=9,
    )
)
@settings(max_examples=40, deadline=None)
def test_any_manifest_gives_a_model_or_an_error(body: object) -> None:
    with serve(Registry()) as registry:
        registry.put(body, "v1")
        with pytest.raises(PedigreeError):
            _open(registry)
