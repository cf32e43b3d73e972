# SPDX-License-Identifier: Apache-2.0
"""``https://``: one file of weights on a web server, or an index with its shards.

A web server keeps no versions.  So every file is held to its strong entity tag, or
else to its modification time and size, on every answer; a server that gives neither
is refused unless the reference names the SHA-256 of the file.  That digest is checked
when the whole file is read, at once or from beginning to end, and not stated as
the file's: the examination, which believes stated digests, must hash it.

A reference to ``*.safetensors.index.json`` means the index, the shards it names beside
it, and those of :data:`COMPANIONS` that exist.  Its SHA-256 binds the index alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from posixpath import dirname
from typing import NoReturn
from urllib.parse import quote as quote_url
from urllib.parse import unquote

from pedigree.digests import Digest, json_digest
from pedigree.errors import ArtifactError, SourceRefused, quote
from pedigree.ranges import FileEntry
from pedigree.refs import ModelRef
from pedigree.sources.exchange import AskingSource, Exchange
from pedigree.sources.remote import (
    Stored,
    check_digest,
    check_encoding,
    connect,
    get_range,
    remote_file,
    validators,
)
from pedigree.sources.settings import SourceSettings
from pedigree.sources.spans import FarFile, run_all
from pedigree.tensors.strictjson import load

COMPANIONS = ("README.md", "config.json", "tokenizer.json", "tokenizer_config.json")
_INDEX = ".safetensors.index.json"
_FILES = (".gguf", ".safetensors")
_WHO = "host"


def open_model(ref: ModelRef, settings: SourceSettings) -> WebSource:
    """Ask for the files; see :func:`pedigree.sources.open_source`."""
    return WebSource(ref, settings)


def resolve(ref: ModelRef, settings: SourceSettings) -> tuple[ModelRef, str]:
    """See :func:`pedigree.sources.resolve_identity`."""
    source = WebSource(ref, settings)
    return source.ref, source.identity


class WebSource(AskingSource):
    """One model on a web server; see :class:`~pedigree.ranges.ModelSource`."""

    def __init__(self, ref: ModelRef, settings: SourceSettings) -> None:
        """Ask for the state of every file.

        Raises:
            ArtifactError: The index is wrong, or its digest.
            SourceRefused: ``NotAModelFile``, ``RangesUnsupported``, ``NoIdentity``,
                ``PrivateAddress``, ``NotFound`` and others.
            SourceUnavailable: The server failed for now.
        """
        host, _, path = ref.location.partition("/")
        name = unquote(path.rpartition("/")[2])
        _check_name(name, settings.limits.path_max_chars)
        if not name.endswith((*_FILES, _INDEX)):
            raise SourceRefused(
                f"model reference {quote(str(ref))} names {quote(name)}, wanted a file "
                f"that ends in {', '.join(_FILES)} or {_INDEX}",
                reason="NotAModelFile",
                hint="name the file, or write a repository of the Hub as hf://org/repo",
            )
        self._ref = ref
        self._settings = settings
        self._exchange = connect(settings, host, _WHO)
        self._exchange.token = settings.credentials.get("HTTPS_BEARER_TOKEN") or None
        folder = f"{self._exchange.endpoint}/{dirname(path)}".rstrip("/")
        digest = Digest.parse(ref.revision) if ref.revision else None
        first = self._probe(f"{self._exchange.endpoint}/{path}", name, digest)
        self._stored = {name: first}
        if name.endswith(_INDEX):
            self._add_parts(folder, name, first)
        self._entries = tuple(
            FileEntry(path, stored.size)
            for path, stored in sorted(self._stored.items())
        )

    def _add_parts(self, folder: str, name: str, index: Stored) -> None:
        limits = self._settings.limits
        if index.size > limits.json_max_bytes:
            raise SourceRefused(
                f"{quote(name)} has {index.size} bytes, allowed are "
                f"{limits.json_max_bytes}",
                reason="LimitExceeded",
            )
        body = get_range(self._exchange, index, name, 0, index.size)
        shards = _shards(body, name, limits.files_max, limits.path_max_chars)
        names = sorted({*shards, *COMPANIONS} - {name})

        def probe(path: str) -> Callable[[], Stored | None]:
            url = f"{folder}/{quote_url(path)}"
            if path in shards:
                return partial(self._probe, url, path, None)
            return partial(self._probe_if_there, url, path)

        found = run_all([probe(path) for path in names], self._settings.connections)
        for path, stored in zip(names, found, strict=True):
            if stored is not None:
                self._stored[path] = stored
        held = sum(len(stored.held or b"") for stored in self._stored.values())
        if held > limits.read_max_bytes // 8:
            _refuse_ranges(name, f"with {held} bytes in all")

    def _probe_if_there(self, url: str, path: str) -> Stored | None:
        try:
            return self._probe(url, path, None)
        except SourceRefused as error:
            if error.reason != "NotFound":
                raise
            return None

    def _probe(self, url: str, path: str, digest: Digest | None) -> Stored:
        """Size and state of a file, by asking for its first byte."""
        bound = self._settings.limits.read_max_bytes // 8
        stored = _first_byte(self._exchange, url, path, bound)
        if not (stored.etag or stored.modified or digest):
            raise SourceRefused(
                f"host gives {quote(path)} neither a strong ETag nor Last-Modified, "
                "wanted one, to notice when it changes",
                reason="NoIdentity",
                hint="name the file's digest: https://host/path@sha256:...",
            )
        if stored.held is not None:
            check_digest(stored.held, digest, path)
        return Stored(
            url, stored.size, digest, stored.etag, stored.modified, stored.held
        )

    @property
    def identity(self) -> str:
        """Digest over path, size, digest, tag and modification time of every file."""
        rows = [
            [path, str(it.size), str(it.digest or ""), it.etag, it.modified]
            for path, it in sorted(self._stored.items())
        ]
        return f"web:{json_digest(rows)}"

    def files(self) -> tuple[FileEntry, ...]:
        """The files, sorted by path, without digests: nobody vouches for them."""
        return self._entries

    def open(self, path: str) -> FarFile:
        """Ranged reads of one listed file.

        Raises:
            KeyError: The path was not listed.
        """
        stored = self._stored[path]
        entry = FileEntry(path, stored.size)
        connections = self._settings.connections
        return remote_file(self._exchange, entry, stored, 0, connections)


def _first_byte(exchange: Exchange, url: str, path: str, bound: int) -> Stored:
    def check(status: int, headers: Mapping[str, str]) -> None:
        check_encoding(exchange.who, path, headers)
        length = headers.get("content-length", "")
        if status == 200 and not (length.isdecimal() and int(length[:19]) <= bound):
            _refuse_ranges(path, f"with {quote(length, 24)} bytes")

    answer = exchange.get(
        url, body_max=bound, extra={"range": "bytes=0-0"}, check=check
    )
    etag, modified = validators(answer.headers)
    if answer.status == 200:
        size = len(answer.body)
        return Stored(url, size, None, etag, modified, answer.body)
    shown = answer.headers.get("content-range", "").strip()
    unit, _, total = shown.partition("/")
    if unit != "bytes 0-0" or not (total.isdecimal() and len(total) < 19):
        _refuse_ranges(path, f"with the range {quote(shown, 64)}")
    return Stored(url, int(total), None, etag, modified)


def _refuse_ranges(path: str, got: str) -> NoReturn:
    raise SourceRefused(
        f"host answers a request for one byte of {quote(path)} {got}, wanted that byte",
        reason="RangesUnsupported",
        hint="put a server or mirror in front that honours Range requests",
    )


def _shards(body: bytes, name: str, files_max: int, path_max: int) -> set[str]:
    """Names of the shards of an index."""
    index = load(body, what="index", path=name)
    weights = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weights, dict):
        raise ArtifactError(
            f"index {quote(name)} has no 'weight_map', wanted a map",
            reason="MalformedIndex",
            path=name,
        )
    shards: set[str] = set()
    for shard in weights.values():
        if not isinstance(shard, str):
            raise ArtifactError(
                f"index {quote(name)} names the shard {quote(shard, 64)}, wanted text",
                reason="MalformedIndex",
                path=name,
            )
        shards.add(shard)
    if len(shards) > files_max:
        raise ArtifactError(
            f"index {quote(name)} names {len(shards)} shards, allowed are {files_max}",
            reason="LimitExceeded",
            path=name,
        )
    for shard in shards:
        _check_name(shard, path_max)
    return shards


def _check_name(name: str, path_max: int) -> None:
    if (
        not 0 < len(name) <= path_max
        or name in (".", "..")
        or "/" in name
        or "\\" in name
        or not name.isprintable()
    ):
        raise ArtifactError(
            f"file name {quote(name)} is not plain, wanted a name without folders",
            reason="MalformedName",
            path=name[:64],
        )
