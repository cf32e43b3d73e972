# SPDX-License-Identifier: Apache-2.0
"""``s3://``, ``gs://`` and ``az://``: objects below a prefix, read by ranges.

The only module that talks to object stores, through obstore (extra ``cloud``), which
is imported when first used.  Each object is read only while it has the entity tag
that was listed, or by its version where the store names one, so a model that is
overwritten meanwhile is noticed instead of read half old, half new.

Credentials come from the settings only; see :mod:`pedigree.sources.buckets`.

S3 and Google are tested against servers that others wrote, Google and Azure against
servers of our own that speak as they do; Azure was once run against its vendor's
emulator.  obstore follows redirects; only the first address is judged.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain, pairwise
from types import ModuleType
from typing import Any, NoReturn

from pedigree.digests import json_digest
from pedigree.errors import SourceRefused, SourceUnavailable, quote
from pedigree.ranges import FileEntry, Usage
from pedigree.refs import ModelRef, Scheme
from pedigree.sources.buckets import (
    GIVE_CREDENTIALS,
    check_endpoint,
    failure_of,
    store_config,
)
from pedigree.sources.settings import SourceSettings
from pedigree.sources.spans import SPAN_MAX_BYTES, FarFile, Meter

_SLOWEST_BYTES_PER_S = 65_536
_LIST_CHUNK = 1000
_NOT_OVERRIDDEN = (
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
)
"""Variables that obstore prefers to what it is given, and that nothing can unset."""

_WANTED = {
    Scheme.GCS: "GOOGLE_SERVICE_ACCOUNT_KEY is the whole JSON key of a service account",
    Scheme.AZURE: "AZURE_STORAGE_ACCOUNT_KEY is in base 64",
}


@dataclass(frozen=True, slots=True)
class _Object:
    """One object as it was when listed."""

    path: str
    key: str
    size: int
    etag: str | None
    version: str | None


def open_model(ref: ModelRef, settings: SourceSettings) -> ObjectSource:
    """List a prefix; see :func:`pedigree.sources.open_source`."""
    return ObjectSource(ref, settings)


def resolve(ref: ModelRef, settings: SourceSettings) -> tuple[ModelRef, str]:
    """See :func:`pedigree.sources.resolve_identity`."""
    source = ObjectSource(ref, settings)
    return source.ref, source.identity


def _obstore() -> ModuleType:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise SourceRefused(
            "reading object stores needs the extra 'cloud', which is not installed",
            reason="ExtraMissing",
            hint='pip install "pedigree-gate[cloud]"',
        ) from error
    return obstore


def _store(ref: ModelRef, settings: SourceSettings) -> Any:
    # First: nobody should mend credentials to be told of a missing extra then.
    obstore = _obstore()
    config = store_config(ref, settings)
    plain = check_endpoint(
        config.endpoint, settings.private_hosts, shows_secret=config.shows_secret
    )
    if ref.scheme is Scheme.GCS:
        for name in _NOT_OVERRIDDEN:
            if os.environ.get(name):
                raise SourceRefused(
                    f"this process has the variable {name}, which would be used "
                    "instead of the credentials given for the model",
                    reason="BadCredentials",
                    hint="start it without this variable",
                )
    wait = timedelta(seconds=settings.timeout_s)
    whole = wait + timedelta(seconds=SPAN_MAX_BYTES / _SLOWEST_BYTES_PER_S)
    more: dict[str, Any] = {}
    if config.s3_keys is not None:
        access, secret, token = config.s3_keys
        answer = {
            "access_key_id": access,
            "secret_access_key": secret,
            "token": token,
            "expires_at": None,
        }
        # As settings, they would be mixed with a session token of the environment.
        more["credential_provider"] = lambda: answer
    elif ref.scheme is Scheme.GCS and config.options["skip_signature"]:
        # Else those of whoever runs this are looked for, and must be sound.
        more["credential_provider"] = lambda: {"token": "", "expires_at": None}
    try:
        return getattr(obstore.store, config.kind)(
            config.place,
            config=dict(config.options),
            client_options={
                "allow_http": plain,
                "allow_invalid_certificates": False,
                "connect_timeout": wait,
                "read_timeout": wait,
                "timeout": whole,
            },
            retry_config={
                "max_retries": max(0, settings.attempts - 1),
                "retry_timeout": wait * max(1, settings.attempts),
                "backoff": {"init_backoff": timedelta(milliseconds=250)},
            },
            **more,
        )
    except (obstore.exceptions.BaseError, OSError, ValueError):
        wanted = _WANTED.get(ref.scheme, "check them for missing parts")
        raise SourceRefused(
            f"credentials given for {quote(str(ref))} are none that its store has",
            reason="BadCredentials",
            hint=f"{GIVE_CREDENTIALS}; {wanted}",
        ) from None


class ObjectSource:
    """One model in an object store; see :class:`~pedigree.ranges.ModelSource`."""

    def __init__(self, ref: ModelRef, settings: SourceSettings) -> None:
        """List the prefix, or look at the one object that the key names.

        Raises:
            SourceRefused: ``NotFound``, ``Forbidden``, ``EmptyFolder``,
                ``MalformedName``, ``LimitExceeded``, ``NoIdentity``,
                ``BadCredentials``, ``BadEndpoint``, ``PrivateHost``,
                ``InsecureAddress``, ``ExtraMissing`` or ``Refused``.
            SourceUnavailable: The store failed for now.
        """
        self._meter = Meter()
        self._connections = settings.connections
        self._store = _store(ref, settings)
        key = ref.location.partition("/")[2]
        objects = [] if ref.revision else _listed(self._store, ref, key, settings)
        if not objects:
            one = _looked_at(self._store, ref, key) if key else None
            if one is None:
                _refuse_empty(ref)
            objects = [one]
            ref = replace(ref, revision=one.version)
        for found in objects:
            if found.etag is None and found.version is None:
                raise SourceRefused(
                    f"store gives {quote(found.key)} neither an entity tag nor a "
                    "version, so a change could not be noticed",
                    reason="NoIdentity",
                )
        self._ref = ref
        self._objects = {found.path: found for found in objects}
        self._entries = tuple(
            FileEntry(path, found.size) for path, found in sorted(self._objects.items())
        )

    @property
    def ref(self) -> ModelRef:
        """The reference; of one object, pinned to its version if it has one."""
        return self._ref

    @property
    def identity(self) -> str:
        """Digest over path, size, entity tag and version of every object."""
        rows = [
            [found.path, str(found.size), found.etag or "", found.version or ""]
            for _, found in sorted(self._objects.items())
        ]
        return f"objects:{json_digest(rows)}"

    @property
    def bytes_read(self) -> int:
        """Bytes of objects received so far."""
        return self._meter.bytes_read

    @property
    def usage(self) -> Usage:
        """What was asked and received so far; the store's client tries again unseen."""
        return self._meter.usage

    def files(self) -> tuple[FileEntry, ...]:
        """The objects, sorted by path."""
        return self._entries

    def open(self, path: str) -> FarFile:
        """Ranged reads of one listed object.

        Raises:
            KeyError: The path was not listed.
        """
        found = self._objects[path]
        return FarFile(
            FileEntry(path, found.size),
            lambda offset, length: self._counted(found, offset, length),
            connections=self._connections,
            pin=f"{found.key} {found.version or ''} {found.etag or ''}",
        )

    def _counted(self, found: _Object, offset: int, length: int) -> bytes:
        try:
            return self.get(found, offset, length)
        except SourceUnavailable as error:
            self._meter.failed(limited=error.reason == "RateLimited")
            raise

    def get(self, found: _Object, offset: int, length: int) -> bytes:
        """One range of an object that must be what was listed."""
        options: dict[str, Any] = {"range": (offset, offset + length)}
        if found.etag is not None:
            options["if_match"] = found.etag
        if found.version is not None:
            options["version"] = found.version
        pieces, received = [], 0
        with _translated(found.key, listed=True):
            self._meter.asked()
            answer = _obstore().get(self._store, found.key, options=options)
            begin, end = answer.range
            size, etag = answer.meta["size"], _tag(answer.meta["e_tag"])
            # As it arrives: a store that sends more than was asked is left.
            for piece in answer.stream(min_chunk_size=1 << 20):
                pieces.append(bytes(piece))
                received += len(piece)
                self._meter.received(len(piece))
                if received > length:
                    break
        if size != found.size or (etag and found.etag and etag != found.etag):
            _refuse_changed(found.key)
        if received != length or (begin, end) != (offset, offset + length):
            raise SourceUnavailable(
                f"store sent {received} bytes of {quote(found.key)} from byte "
                f"{begin}, wanted {length} from byte {offset}",
                reason="TruncatedResponse",
            )
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _listed(
    store: Any, ref: ModelRef, key: str, settings: SourceSettings
) -> list[_Object]:
    limits = settings.limits
    found: list[_Object] = []
    with _translated(str(ref)):
        pages = _obstore().list(store, prefix=key or None, chunk_size=_LIST_CHUNK)
        for row in chain.from_iterable(pages):
            # The object of the prefix itself: how consoles mark a folder.
            if row["path"] == key:
                continue
            prefix = f"{key}/" if key else ""
            if not row["path"].startswith(prefix):
                _refuse_name(row["path"])
            path = row["path"][len(prefix) :]
            found.append(_object(path, row, limits.path_max_chars))
            if len(found) > limits.files_max:
                raise SourceRefused(
                    f"{quote(str(ref))} has over {limits.files_max} objects",
                    reason="LimitExceeded",
                    hint="refer to the model's own prefix",
                )
    return _files_of(found)


def _files_of(found: list[_Object]) -> list[_Object]:
    """Without what marks a folder: an empty object that has others below it.

    The client takes the slash off the end of a key.  So ``w.bin/`` would otherwise
    stand in the place of ``w.bin``, and hide it.
    """
    paths = sorted(each.path for each in found)
    for path, after in pairwise(paths):
        if path == after:
            _refuse_name(path, "two objects")

    def has_some_below(path: str) -> bool:
        at = bisect_left(paths, f"{path}/")
        return at < len(paths) and paths[at].startswith(f"{path}/")

    return [each for each in found if each.size or not has_some_below(each.path)]


def _looked_at(store: Any, ref: ModelRef, key: str) -> _Object | None:
    options: dict[str, Any] = {"head": True}
    if ref.revision is not None:
        options["version"] = ref.revision
    try:
        with _translated(str(ref)):
            row = _obstore().get(store, key, options=options).meta
    except SourceRefused as error:
        if error.reason == "NotFound" and ref.revision is None:
            return None
        raise
    found = _object(key.rpartition("/")[2], row, len(key))
    return replace(found, key=key, version=ref.revision or found.version)


def _object(path: str, row: Mapping[str, Any], path_max_chars: int) -> _Object:
    if (
        not 0 < len(path) <= path_max_chars
        or "\\" in path
        or not path.isprintable()
        or any(part in ("", ".", "..") for part in path.split("/"))
    ):
        _refuse_name(path)
    version = row["version"]
    # S3 says "null" for what was written while versions were not kept.
    named = version if version and version != "null" else None
    return _Object(path, row["path"], int(row["size"]), _tag(row["e_tag"]), named)


def _tag(told: str | None) -> str | None:
    """An entity tag as requests carry it; Azure's lists leave out the quotes."""
    if not told:
        return None
    return told if told.endswith('"') else f'"{told}"'


def _refuse_name(path: str, what: str = "the key") -> NoReturn:
    raise SourceRefused(
        f"store lists {what} {quote(path)}, wanted a plain relative path for each",
        reason="MalformedName",
        hint="rename the object",
    )


def _refuse_empty(ref: ModelRef) -> NoReturn:
    raise SourceRefused(
        f"{quote(str(ref))} names no object, and there is none below it",
        reason="EmptyFolder",
        hint="check the prefix and that the upload has finished",
    )


def _refuse_changed(key: str) -> NoReturn:
    raise SourceUnavailable(
        f"object {quote(key)} changed while it was being read",
        reason="ChangedWhileReading",
        hint="try again when the upload has finished",
    )


@contextmanager
def _translated(what: str, *, listed: bool = False) -> Iterator[None]:
    """Say what an error of the store means, without any of its own words.

    Those hold addresses, which may be signed, and whatever the store answered.
    """
    known = _obstore().exceptions
    try:
        yield
    except (known.BaseError, OSError, ValueError) as error:
        failure = failure_of(error, what, known, listed=listed)
        raise failure from None
