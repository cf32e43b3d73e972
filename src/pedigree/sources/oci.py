# SPDX-License-Identifier: Apache-2.0
"""``oci://``: a model in a registry, by manifest digest, read from its layers.

Speaks the OCI Distribution API.  Read are layers of one file (ModelPack's ``raw``, and
whatever is titled with a path) and uncompressed tar layers (ModelPack's ``tar``, and
images made for serving), both by ranges; a compressed tar layer is fetched whole and
unpacked.  The manifest binds every layer by its digest; that of a one-file layer is
stated for the examination and checked whenever all of it is read, that of a compressed
layer always, and that of a plain tar layer is not checked, because only the parts that
are needed are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from pedigree.digests import Digest, sha256
from pedigree.errors import SourceRefused, SourceUnavailable, quote
from pedigree.ranges import FileEntry
from pedigree.refs import ModelRef
from pedigree.sources.archives import Image, is_plain, members
from pedigree.sources.exchange import AskingSource, Exchange
from pedigree.sources.kept import Keeper
from pedigree.sources.remote import (
    Stored,
    check_digest,
    connect,
    get_range,
    remote_file,
)
from pedigree.sources.settings import SourceSettings
from pedigree.sources.spans import FarFile
from pedigree.sources.spooled import COMPRESSIONS, Spool
from pedigree.sources.tokens import Tokens
from pedigree.tensors.strictjson import load

_MANIFEST_MAX_BYTES = 4 << 20
"""What registries themselves allow."""
_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_PATHS = ("org.cncf.model.filepath", "org.opencontainers.image.title")
_COMPRESSED = re.compile(r"gzip|zstd|bzip|\bxz\b|lz4|brotli")
_PACKED = re.compile(rf"(.*)[.+]({'|'.join(COMPRESSIONS)})")
_TAR = re.compile(r"[.+](?:tar|rootfs\.diff)$")
_SIZE_MAX = 1 << 50
_WHO = "registry"


def open_model(ref: ModelRef, settings: SourceSettings) -> RegistrySource:
    """List an artifact's files; see :func:`pedigree.sources.open_source`."""
    return RegistrySource(ref, settings)


def resolve(ref: ModelRef, settings: SourceSettings) -> tuple[ModelRef, str]:
    """See :func:`pedigree.sources.resolve_identity`."""
    _, digest = _manifest(_connect(ref, settings), ref)
    return replace(ref, revision=str(digest)), str(digest)


@dataclass(frozen=True, slots=True)
class _Layer:
    digest: Digest
    size: int
    path: str | None
    compression: str = ""


class RegistrySource(AskingSource):
    """One artifact of a registry; see :class:`~pedigree.ranges.ModelSource`."""

    def __init__(self, ref: ModelRef, settings: SourceSettings) -> None:
        """Read the manifest and the headers of tar layers.

        Raises:
            ArtifactError: Another digest than named, or a hostile archive.
            SourceRefused: ``CompressedLayer``, ``UnsupportedLayer``,
                ``AmbiguousIndex``, ``DuplicatePath``, ``EmptyFolder`` and others.
            SourceUnavailable: The registry failed for now.
        """
        self._settings = settings
        self._exchange = _connect(ref, settings)
        manifest, digest = _manifest(self._exchange, ref)
        self._ref = replace(ref, revision=str(digest))
        self._base = _base(self._exchange, ref)
        self._keeper = Keeper(ref, settings) if settings.cache else None
        self._places: dict[str, _Place] = {}
        folder = _image_folder(ref)
        self._image = None if folder is None else Image(folder)
        for layer in _layers(manifest, ref, settings):
            self._add(layer)
        if not self._places:
            _refuse("EmptyFolder", f"{quote(str(ref))} has no files")

    def _add(self, layer: _Layer) -> None:
        url = f"{self._base}/blobs/{layer.digest}"
        stored = Stored(url, layer.size, layer.digest)
        if layer.path is not None:
            entry = FileEntry(layer.path, layer.size, layer.digest)
            self._place(entry, stored, 0)
            return
        name = str(layer.digest)
        read = self._layer_file(stored, name, whole=bool(layer.compression)).read
        where: Stored | Spool = stored
        if layer.compression:
            where = Spool(
                read,
                layer.size,
                digest=layer.digest,
                compression=layer.compression,
                max_bytes=self._settings.spool_max_bytes,
            )
            read = where.read
        limits, image = self._settings.limits, self._image
        for member in members(read, where.size, name=name, limits=limits, image=image):
            if member.path.rpartition("/")[2].startswith(".wh."):
                _refuse(
                    "UnsupportedLayer",
                    f"layer {name} takes away files with {quote(member.path)}",
                )
            entry = FileEntry(member.path, member.size)
            self._place(entry, where, member.begin)

    def _layer_file(self, stored: Stored, name: str, *, whole: bool) -> FarFile:
        """A layer as a file, whose headers, or all of it, are kept like other bytes."""
        layer = FarFile(
            FileEntry(name, stored.size),
            lambda at, size: get_range(self._exchange, stored, name, at, size),
            connections=1,
            pin=f"{stored.digest}/0",
            digest=stored.digest if whole else None,
        )
        if self._keeper is not None:
            self._keeper.keep(layer)
        return layer

    def _place(self, entry: FileEntry, where: Stored | Spool, begin: int) -> None:
        if entry.path in self._places:
            _refuse("DuplicatePath", f"{quote(entry.path)} is in two layers")
        if len(self._places) >= self._settings.limits.files_max:
            _refuse("LimitExceeded", f"artifact has over {len(self._places)} files")
        self._places[entry.path] = (entry, where, begin)

    @property
    def identity(self) -> str:
        """The digest of the manifest."""
        return self._ref.revision or ""

    def files(self) -> tuple[FileEntry, ...]:
        """The files, sorted by path, with digests of those that are a layer alone."""
        return tuple(self._places[path][0] for path in sorted(self._places))

    def open(self, path: str) -> FarFile:
        """Ranged reads of one listed file.

        Raises:
            KeyError: The path was not listed.
        """
        entry, where, begin = self._places[path]
        if isinstance(where, Spool):
            return FarFile(
                entry, lambda at, size: where.read(begin + at, size), connections=1
            )
        connections = self._settings.connections
        return remote_file(self._exchange, entry, where, begin, connections)


_Place = tuple[FileEntry, Stored | Spool, int]
"""A file, what holds it, and its first byte there."""


def _image_folder(ref: ModelRef) -> str | None:
    """The folder of the top that the reference says the model is in."""
    top, slash, _ = (ref.within or "").partition("/")
    # One name alone may be a file, beside which others of the top count.
    return top if top and (slash or "." not in top) else None


def _connect(ref: ModelRef, settings: SourceSettings) -> Exchange:
    host, _, name = ref.location.partition("/")
    if host == "docker.io":  # the one registry whose name is not where it answers
        host = "registry-1.docker.io"
    exchange = connect(settings, host, _WHO)
    given = settings.credentials

    def asking(endpoint: str) -> Exchange:
        return replace(exchange, endpoint=endpoint, authorization=None, challenged=None)

    tokens = Tokens(
        asking,
        exchange.endpoint,
        name,
        given.get("OCI_USERNAME", ""),
        given.get("OCI_PASSWORD", ""),
    )
    exchange.authorization = tokens.header
    exchange.challenged = tokens.challenged
    return exchange


def _base(exchange: Exchange, ref: ModelRef) -> str:
    return f"{exchange.endpoint}/v2/{ref.location.partition('/')[2]}"


def _manifest(exchange: Exchange, ref: ModelRef) -> tuple[dict[str, Any], Digest]:
    """The manifest, chosen from an index if there is one, and its digest."""
    manifest, digest = _document(exchange, ref, ref.revision or "latest")
    if "manifests" not in manifest:
        return manifest, digest
    rows = manifest["manifests"]
    rows = [row for row in rows if isinstance(row, dict)] if _is_list(rows) else []
    if len(rows) != 1:
        wanted = {"os": "linux", "architecture": "amd64"}
        rows = [row for row in rows if _has(row.get("platform"), wanted)]
    if len(rows) != 1:
        _refuse(
            "AmbiguousIndex",
            f"{quote(str(ref))} is an index with {len(rows)} manifests to choose from, "
            "wanted one",
            "name the manifest by its digest",
        )
    chosen, digest = _document(exchange, ref, str(_digest(rows[0], ref)))
    if "manifests" in chosen:
        _refuse("AmbiguousIndex", f"{quote(str(ref))} is an index of indexes")
    return chosen, digest


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _has(value: object, wanted: dict[str, str]) -> bool:
    return (
        isinstance(value, dict)
        and wanted.items()
        <= {key: text for key, text in value.items() if isinstance(text, str)}.items()
    )


def _document(
    exchange: Exchange, ref: ModelRef, name: str
) -> tuple[dict[str, Any], Digest]:
    answer = exchange.get(
        f"{_base(exchange, ref)}/manifests/{name}",
        body_max=_MANIFEST_MAX_BYTES,
        extra={"accept": _ACCEPT},
    )
    digest = sha256(answer.body)
    if name.startswith("sha256:"):
        check_digest(answer.body, Digest.parse(name), f"manifest of {ref}")
    told = answer.headers.get("docker-content-digest", "").strip()
    if told.startswith("sha256:") and told != str(digest):
        raise SourceUnavailable(
            f"registry sent a manifest of {quote(str(ref))} with the digest {digest}, "
            f"announced was {quote(told, 96)}",
            reason="DigestMismatch",
        )
    document = load(answer.body, what="manifest", path=str(ref))
    if not isinstance(document, dict):
        _bad(ref, "a manifest that is no map")
    return document, digest


def _layers(
    manifest: dict[str, Any], ref: ModelRef, settings: SourceSettings
) -> list[_Layer]:
    rows = manifest.get("layers")
    if not isinstance(rows, list):
        _bad(ref, "a manifest without layers")
    if len(rows) > settings.limits.files_max:
        _refuse("LimitExceeded", f"{quote(str(ref))} has {len(rows)} layers")
    return [_layer(row, ref, settings.limits.path_max_chars) for row in rows]


def _layer(row: Any, ref: ModelRef, path_max_chars: int) -> _Layer:
    if not isinstance(row, dict):
        _bad(ref, "a layer that is no map")
    kind, size, notes = row.get("mediaType"), row.get("size"), row.get("annotations")
    if not isinstance(kind, str) or type(size) is not int or not 0 <= size < _SIZE_MAX:
        _bad(ref, f"a layer of type {quote(kind, 96)} with {quote(size, 32)} bytes")
    digest = _digest(row, ref)
    kind = kind.partition(";")[0].strip().lower()
    packed = _PACKED.fullmatch(kind)
    if packed is not None and _TAR.search(packed[1]):
        return _Layer(digest, size, None, packed[2])
    if _COMPRESSED.search(kind):
        _refuse(
            "CompressedLayer",
            f"layer {digest} has the type {quote(kind, 96)}, wanted a raw file, a tar "
            f"archive, or one packed with {' or '.join(COMPRESSIONS)}",
            "publish weights as raw layers, one file each",
        )
    if _TAR.search(kind):
        return _Layer(digest, size, None)
    notes = notes if isinstance(notes, dict) else {}
    path = next((notes[key] for key in _PATHS if notes.get(key)), None)
    if path is None:
        _refuse(
            "UnsupportedLayer",
            f"layer {digest} has the type {quote(kind, 96)} and names no file",
            f"annotate raw layers with {_PATHS[0]}",
        )
    if not isinstance(path, str) or not is_plain(path, path_max_chars):
        _refuse("UnsafePath", f"layer {digest} names the path {quote(path)}")
    return _Layer(digest, size, path)


def _digest(row: dict[str, Any], ref: ModelRef) -> Digest:
    text = row.get("digest")
    try:
        return Digest.parse(text if isinstance(text, str) else "")
    except ValueError:
        _bad(ref, f"the digest {quote(text, 96)}")


def _bad(ref: ModelRef, got: str) -> NoReturn:
    raise SourceUnavailable(
        f"registry answers {quote(str(ref))} with {got}, wanted an OCI manifest",
        reason="BadAnswer",
    )


def _refuse(reason: str, message: str, hint: str = "") -> NoReturn:
    raise SourceRefused(message, reason=reason, hint=hint or None)
