# SPDX-License-Identifier: Apache-2.0
"""Targets: packed layers, kept bytes and what Jobs hand back."""

from __future__ import annotations

import base64
import gzip
import json
import sys
from typing import Any

from bench.fuzzing.remote import tar_seeds
from bench.fuzzing.stored import folder
from bench.fuzzing.target import JSON, Target

from pedigree.digests import Digest, sha256
from pedigree.evidence import Resolution, to_object
from pedigree.examine.handed_back import ANSWER_KEY, SCHEMA
from pedigree.limits import DEFAULT
from pedigree.sources.archives import Image, members
from pedigree.sources.extents import ExtentFolder
from pedigree.sources.settings import CacheSettings
from pedigree.sources.spooled import COMPRESSIONS, Spool
from pedigree_operator.volume_answers import answer_in, understood
from worlds.evidences import maximal_evidence

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_UNPACKED_MAX = 1 << 20
_KEY = bytes(32)
_SIZE = 600_000
"""Bytes of a kept content: more than two records hold."""
_SEEN = Resolution("pvc://a/b", "pvc://a/b", "x", "2026-01-01T00:00:00Z", "ns")


def _read_members(data: bytes, image: Image | None) -> None:
    members(
        lambda offset, length: data[offset : offset + length],
        len(data),
        name="x",
        limits=DEFAULT,
        image=image,
    )


def _image(data: bytes) -> None:
    _read_members(data, Image("models"))


def _layer(data: bytes) -> None:
    """The first byte says how it is packed; the rest is the layer, and then a tar."""
    if not data:
        return
    packed = data[1:]
    spool = Spool(
        lambda offset, length: packed[offset : offset + length],
        len(packed),
        digest=sha256(packed),
        compression=COMPRESSIONS[data[0] % len(COMPRESSIONS)],
        max_bytes=_UNPACKED_MAX,
    )
    _read_members(spool.read(0, spool.size), None)


def _layer_seeds() -> list[bytes]:
    seeds = []
    for tar in tar_seeds()[:2]:
        pack = {"gzip": lambda raw: gzip.compress(raw, mtime=0), "zstd": zstd.compress}
        for number, kind in enumerate(COMPRESSIONS):
            seeds.append(bytes([number]) + pack[kind](tar))
    return seeds


def _extents(data: bytes) -> None:
    """A log that somebody else wrote over is read, added to, and read again."""
    kept = ExtentFolder(CacheSettings(folder=folder() / "cache", max_bytes=1 << 24))
    (kept.path / f"{_KEY.hex()}.log").write_bytes(data)
    log = kept.log(_KEY, _SIZE)
    log.missing([(0, 9), (300_000, 9)])
    log.read(0, 9)
    log.put(4, b"12345")
    log.read(0, _SIZE)


def _extents_seeds() -> list[bytes]:
    kept = ExtentFolder(CacheSettings(folder=folder() / "made", max_bytes=1 << 24))
    log = kept.log(_KEY, _SIZE)
    log.put(0, b"0123456789")
    log.put(262_144, b"abc")
    return [(kept.path / f"{_KEY.hex()}.log").read_bytes()]


def _answer(data: bytes) -> None:
    held: dict[str, Any] = {ANSWER_KEY: base64.b64encode(data).decode()}
    answer = answer_in({"immutable": True, "binaryData": held})
    if answer is not None:
        understood("pvc://a/b", answer, [], _SEEN)


def _answer_seeds() -> list[bytes]:
    spec = to_object(maximal_evidence())["spec"] | {"fingerprint": None}
    found = {"schema": "pedigree.dev/examination/v1", "evidence": {"spec": spec}}
    error = {"error": {"class": "SourceRefused", "reason": "X", "message": "m"}}
    common = {"schema": SCHEMA, "fingerprint": None}
    return [
        json.dumps(common | {"code": 0, "document": found}).encode(),
        json.dumps(common | {"code": 3, "document": error}).encode(),
        json.dumps(common | {"code": 0, "document": found, "fingerprint": {
            "bytes": 5, "digest": str(Digest("0" * 64))}}).encode(),
    ]  # fmt: skip


_TAR_WORDS = (b"ustar", b"models/", b".wh.", b"../", b"x", b"L", b"path=")
TARGETS = (
    Target("tar-image", _image, tar_seeds, _TAR_WORDS, bytes_max=8192),
    Target("packed-layer", _layer, _layer_seeds, (b"\x1f\x8b\x08", b"(\xb5/\xfd")),
    Target("kept-bytes", _extents, _extents_seeds, (b"EXT1", b"PEDIGREE EXTENTS 1\n")),
    Target("volume-answer", _answer, _answer_seeds,
           (b"evidence", b"spec", b"findings", b"seconds"), JSON, 1 << 14),
)  # fmt: skip
"""In no order."""
