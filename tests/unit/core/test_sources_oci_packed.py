# SPDX-License-Identifier: Apache-2.0
"""Layers packed as one stream: unpacked once, checked, bounded, or refused."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact_world.registry import Registry, serve
from artifact_world.weights import matrix, weights
from pedigree import refs
from pedigree.digests import sha256
from pedigree.errors import ArtifactError, PedigreeError, SourceRefused
from pedigree.ranges import ModelSource
from pedigree.sources import SourceSettings, open_source
from pedigree.sources.spooled import COMPRESSIONS, Spool
from pedigree.tensors.checkpoint import Checkpoint

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WEIGHTS = weights({"a": matrix(400, 200)})
IMAGE = "application/vnd.oci.image.layer.v1.tar"
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
}
KINDS = {
    "application/vnd.cncf.model.weight.v1.tar+gzip": "gzip",
    "application/vnd.cncf.model.weight.v1.tar+zstd": "zstd",
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serve(Registry()) as served:
        yield served


def _open(registry: Registry, at: str = ":v1", **changes: object) -> ModelSource:
    ref = refs.parse(f"oci://{registry.host}/org/model{at}")
    settings = replace(SourceSettings(timeout_s=2, attempts=2), **changes)  # type: ignore[arg-type]
    return open_source(ref, settings)


def _tar(*entries: tuple[str, bytes | None]) -> bytes:
    """Files, and where there is no content symbolic links to ``/bin/busybox``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/bin/busybox"
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    return out.getvalue()


def _spool(packed: bytes, compression: str, **changes: object) -> Spool:
    given: dict[str, object] = {
        "digest": sha256(packed),
        "compression": compression,
        "max_bytes": 1 << 30,
        **changes,
    }
    return Spool(
        lambda begin, length: packed[begin : begin + length],
        len(packed),
        **given,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_a_packed_layer_are_read(registry: Registry, kind: str) -> None:
    tar = _tar(("model.safetensors", WEIGHTS), ("config.json", b"{}"))
    registry.push([registry.layer(PACK[KINDS[kind]](tar), kind)])
    source = _open(registry)
    assert [entry.path for entry in source.files()] == [
        "config.json",
        "model.safetensors",
    ]
    file = source.open("model.safetensors")
    assert file.read(1000, 77) == WEIGHTS[1000:1077]
    assert file.read_many([(9, 2), (0, 3)]) == [WEIGHTS[9:11], WEIGHTS[:3]]
    assert Checkpoint.open(source).parameters == 400 * 200


def test_a_model_in_an_image_is_read_beside_the_programs_of_the_image(
    registry: Registry,
) -> None:
    base = gzip.compress(_tar(("bin/busybox", b"elf"), ("bin/sh", None)))
    model = gzip.compress(_tar(("models/model.safetensors", WEIGHTS)))
    layers = [registry.layer(each, f"{IMAGE}+gzip") for each in (base, model)]
    registry.push(layers)
    with pytest.raises(ArtifactError) as caught:
        _open(registry)
    assert caught.value.reason == "SpecialFile"
    source = _open(registry, ":v1#models")
    assert [entry.path for entry in source.files()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (("models/link", None), "SpecialFile"),
        (("./models/link", None), "SpecialFile"),
        (("models", None), "SpecialFile"),
        (("models/.wh.model.safetensors", b""), "UnsupportedLayer"),
        ((".wh.models", b""), "UnsupportedLayer"),
        ((".wh..wh..opq", b""), "UnsupportedLayer"),
        (("models/model.safetensors", b"other"), "DuplicatePath"),
        (("x/../models/model.safetensors", b"other"), "UnsafePath"),
        (("/models/model.safetensors", b"other"), "UnsafePath"),
        (("../models/model.safetensors", b"other"), "UnsafePath"),
    ],
)
def test_a_later_layer_cannot_change_the_model_unseen(
    registry: Registry, entry: tuple[str, bytes | None], reason: str
) -> None:
    first = gzip.compress(_tar(("models/model.safetensors", WEIGHTS)))
    later = gzip.compress(_tar(entry))
    layers = [registry.layer(each, f"{IMAGE}+gzip") for each in (first, later)]
    registry.push(layers)
    with pytest.raises(PedigreeError) as caught:
        _open(registry, ":v1#models")
    assert caught.value.reason == reason


def test_a_file_behind_a_link_elsewhere_is_refused(registry: Registry) -> None:
    layers = [
        _tar(("models/model.safetensors", WEIGHTS)),
        _tar(("x", None)),
        _tar(("x/model.safetensors", b"other")),
    ]
    rows = [registry.layer(gzip.compress(each), f"{IMAGE}+gzip") for each in layers]
    registry.push(rows[:2])
    assert _open(registry, ":v1#models").files()
    registry.push(rows)
    with pytest.raises(ArtifactError, match="goes through a link"):
        _open(registry, ":v1#models")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_streams_behind_one_another_are_one(compression: str) -> None:
    packed = PACK[compression](b"one") + PACK[compression](b"two" * 100_000)
    spool = _spool(packed, compression)
    assert spool.size == 300_003
    assert spool.read(1, 8) == b"netwotwo"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_is_cut_or_goes_on_after_its_end_is_refused(compression: str) -> None:
    packed = PACK[compression](bytes(range(256)) * 4000)
    for wrong in (packed[:-1], packed[:20], packed + b"\0", packed + b"more", b"x"):
        with pytest.raises(ArtifactError) as caught:
            _spool(wrong, compression)
        assert caught.value.reason == "MalformedArchive"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_other_bytes_than_the_manifest_names_are_refused(compression: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        _spool(PACK[compression](b"any"), compression, digest=sha256(b"other"))
    assert caught.value.reason == "DigestMismatch"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_bomb_stops_at_the_bound_and_says_what_to_do(compression: str) -> None:
    packed = PACK[compression](bytes(200 << 20))
    with pytest.raises(SourceRefused, match="PEDIGREE_SPOOL_MAX_BYTES") as caught:
        _spool(packed, compression, max_bytes=100_000)
    assert caught.value.reason == "LimitExceeded"


def test_the_bound_is_the_one_of_the_settings(registry: Registry) -> None:
    tar = _tar(("model.safetensors", WEIGHTS))
    registry.push([registry.layer(gzip.compress(tar), f"{IMAGE}+gzip")])
    assert _open(registry, spool_max_bytes=len(tar)).files()
    with pytest.raises(SourceRefused) as caught:
        _open(registry, spool_max_bytes=len(tar) - 1)
    assert caught.value.reason == "LimitExceeded"


def test_a_flood_of_empty_streams_is_refused() -> None:
    with pytest.raises(ArtifactError, match="streams"):
        _spool(gzip.compress(b"") * 100_001, "gzip")


def test_a_zstd_frame_cannot_ask_for_gigabytes_of_memory() -> None:
    level: dict[int, int] = {
        zstd.CompressionParameter.window_log: 30,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
        zstd.CompressionParameter.content_size_flag: 0,
    }
    compressor = zstd.ZstdCompressor(options=level)
    packed = compressor.compress(b"a" * 1000) + compressor.flush()
    with pytest.raises(ArtifactError) as caught:
        _spool(packed, "zstd")
    assert caught.value.reason == "MalformedArchive"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(COMPRESSIONS), st.booleans())
def test_any_bytes_unpack_or_are_refused(
    data: bytes, compression: str, framed: bool
) -> None:
    if framed:
        packed = bytearray(PACK[compression](data * 3))
        packed[len(data) % len(packed)] ^= 1 + len(data) % 255
        data = bytes(packed)
    with suppress(PedigreeError):
        _spool(data, compression)
