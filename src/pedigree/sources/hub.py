# SPDX-License-Identifier: Apache-2.0
"""``hf://``: a Hugging Face Hub repository, pinned to a commit, read by ranges.

The only module that talks to the Hub, and the one that makes the HTTP client of the
other sources (:func:`client`).  It uses the Hub's client library for its
addresses and connections (and so its proxies, certificates and offline
switch), and its own bounded requests for the rest; see
:mod:`pedigree.sources.exchange`.  Importing it is slow, so it is imported when first
used.

Large files are read through the address they resolve to: resolved once, since every
resolution counts against the rate limit, and again when its signature has expired.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from http.cookiejar import DefaultCookiePolicy
from importlib import import_module
from typing import Any, NoReturn, cast
from urllib.parse import quote as quote_url
from urllib.parse import urlencode, urljoin

from huggingface_hub import hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

from pedigree import __version__
from pedigree.digests import Digest
from pedigree.errors import ArtifactError, SourceRefused, SourceUnavailable, quote
from pedigree.ranges import FileEntry
from pedigree.refs import ModelRef
from pedigree.sources.answers import check_range, origin, shown
from pedigree.sources.exchange import AskingSource, Exchange, Session
from pedigree.sources.offline import OfflineSource, note_listing
from pedigree.sources.patience import Patience
from pedigree.sources.settings import HUB_ENDPOINT, SourceSettings
from pedigree.sources.spans import FarFile
from pedigree.tensors.strictjson import load

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NEXT = re.compile(r'<([^<>]{1,4096})>\s*;\s*rel="?next"?')
_EXPIRED = frozenset({"Forbidden", "Unauthorized", "NotFound", "Refused"})
"""How stores answer when the signature of an address has expired."""
_INFO_MAX_BYTES = 8 << 20


def open_model(ref: ModelRef, settings: SourceSettings) -> HubSource | OfflineSource:
    """List a repository; see :func:`pedigree.sources.open_source`."""
    if settings.offline:
        return OfflineSource(ref, settings)
    source = HubSource(ref, settings)
    note_listing(source.ref, settings, source.files())
    return source


def resolve(ref: ModelRef, settings: SourceSettings) -> tuple[ModelRef, str]:
    """See :func:`pedigree.sources.resolve_identity`."""
    if settings.offline:
        known = OfflineSource(ref, settings)
        return known.ref, known.identity
    pinned = pin(ref, settings)
    return pinned, f"commit:{pinned.revision}"


def pin(ref: ModelRef, settings: SourceSettings) -> ModelRef:
    """Resolve a revision to the commit it means now: one call to the Hub.

    A reference that names a commit already is asked for all the same: it may be gone.

    Raises:
        SourceRefused: No such repository or revision, or no right to read it.
        SourceUnavailable: The Hub failed for now.
    """
    return _pin(ref, settings, _exchange(settings))


def client(settings: SourceSettings, endpoint: str, **more: Any) -> Exchange:
    """Bounded requests to an endpoint through the client library's connections.

    Args:
        settings: Time-out and tries.
        endpoint: Base address.
        more: Other fields of :class:`~pedigree.sources.exchange.Exchange`.
    """
    # Releases of the library differ in the HTTP client they use (httpx, httpx2); its
    # error types are taken from whichever module the library's own error comes from.
    module = import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
    return Exchange(
        session=cast(Session, _session()),
        client_errors=(
            module.HTTPError,
            module.InvalidURL,
            module.StreamError,
            OfflineModeIsEnabled,
            OSError,
            UnicodeError,  # of a host whose name no name service could know
        ),
        timeout_errors=(module.TimeoutException, TimeoutError),
        endpoint=endpoint,
        # Not the library's own: to make them it asks the Hub which agents there are,
        # whatever the source, looks for them in the environment, and tells.
        headers={"user-agent": f"pedigree/{__version__}"},
        timeout_s=settings.timeout_s,
        attempts=settings.attempts,
        patience=Patience(settings.patience_s),
        **more,
    )


def _session() -> Any:
    """The library's client, of which all requests of this process share one.

    It keeps no cookie: one that a host sets for who has a credential would be sent, and
    be worth as much, with the requests of who has none.
    """
    session = get_session()
    session.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _exchange(settings: SourceSettings) -> Exchange:
    endpoint = settings.hub_endpoint.rstrip("/")
    return client(settings, endpoint, token=settings.hub_token or None)


def _pin(ref: ModelRef, settings: SourceSettings, exchange: Exchange) -> ModelRef:
    address = f"{exchange.endpoint}/api/models/{ref.location}"
    if ref.revision is not None:
        address += f"/revision/{quote_url(ref.revision, safe='')}"
    answer = exchange.get(address, body_max=_INFO_MAX_BYTES)
    info = _json(answer.body, "model information", ref)
    commit = info.get("sha") if isinstance(info, dict) else None
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        _bad_answer(ref, f"names the commit {quote(commit, 64)}", "40 hex digits")
    if ref.pinned and commit != ref.revision:
        _bad_answer(ref, f"names the commit {commit}", f"the asked {ref.revision}")
    return replace(ref, revision=commit)


class HubSource(AskingSource):
    """One model on the Hub; see :class:`~pedigree.ranges.ModelSource`."""

    def __init__(self, ref: ModelRef, settings: SourceSettings) -> None:
        """Pin the reference and list the files of that commit.

        Raises:
            SourceRefused: The Hub said no.
            SourceUnavailable: The Hub failed for now.
        """
        self._settings = settings
        self._exchange = _exchange(settings)
        self._ref = _pin(ref, settings, self._exchange)
        self._commit = self._ref.revision or ""
        self._entries = _tree(self._ref, settings, self._exchange)
        if not self._entries:
            raise SourceRefused(
                f"model {quote(str(self._ref))} has no files", reason="EmptyFolder"
            )

    @property
    def identity(self) -> str:
        """The commit."""
        return f"commit:{self._commit}"

    def files(self) -> tuple[FileEntry, ...]:
        """The files, sorted by path, with digests of those the Hub stores as LFS."""
        return self._entries

    def open(self, path: str) -> FarFile:
        """Ranged reads of one listed file.

        Raises:
            KeyError: The path was not listed.
        """
        for entry in self._entries:
            if entry.path == path:
                break
        else:
            raise KeyError(path)
        address = hf_hub_url(
            self._ref.location,
            path,
            revision=self._commit,
            endpoint=self._exchange.endpoint,
        )
        digest = entry.digest
        return FarFile(
            entry,
            _Ranges(self._exchange, entry, address, self._commit).fetch,
            connections=self._settings.connections,
            pin=str(digest) if digest else f"{self.identity}/{path}",
            digest=digest,
        )


class _Ranges:
    """Gets ranges of one file; large ones where their address leads."""

    def __init__(
        self, exchange: Exchange, entry: FileEntry, address: str, commit: str
    ) -> None:
        self._exchange = exchange
        self._path = entry.path
        self._size = entry.size
        self._address = address
        self._commit = commit
        self._resolved: str | None = None

    def fetch(self, offset: int, length: int) -> bytes:
        resolved = self._resolved  # another thread may drop it meanwhile
        if resolved is not None:
            try:
                return self._get(resolved, offset, length)
            except SourceRefused as error:
                if error.reason not in _EXPIRED:
                    raise
                self._resolved = None
        return self._get(self._address, offset, length)

    def _get(self, address: str, offset: int, length: int) -> bytes:
        whole = offset == 0 and length == self._size
        extra = {} if whole else {"range": f"bytes={offset}-{offset + length - 1}"}

        def check(status: int, headers: Mapping[str, str]) -> None:
            check_range(status, headers, offset, length, self._size)

        answer = self._exchange.get(address, body_max=length, extra=extra, check=check)
        if len(answer.body) != length:
            raise SourceUnavailable(
                f"Hub sent {len(answer.body)} bytes of {quote(self._path)} from byte "
                f"{offset}, wanted {length}",
                reason="TruncatedResponse",
            )
        commit = answer.first_headers.get("x-repo-commit")
        if address == self._address:
            if commit is not None and commit != self._commit:
                raise SourceUnavailable(
                    f"Hub sent {quote(self._path)} of commit {quote(commit, 64)}, "
                    f"wanted {self._commit}",
                    reason="WrongCommit",
                )
            if answer.url != address:
                self._resolved = answer.url
        return answer.body


def _tree(
    ref: ModelRef, settings: SourceSettings, exchange: Exchange
) -> tuple[FileEntry, ...]:
    limits = settings.limits
    address: str | None = (
        f"{exchange.endpoint}/api/models/{ref.location}/tree/{ref.revision}"
        f"?{urlencode({'recursive': 'true', 'expand': 'false'})}"
    )
    found: dict[str, FileEntry] = {}
    for _ in range(limits.files_max):
        if address is None:
            break
        answer = exchange.get(address, body_max=limits.json_max_bytes)
        rows = _json(answer.body, "file list", ref)
        if not isinstance(rows, list):
            _bad_answer(ref, "lists its files as no list", "a list")
        for row in rows:
            entry = _entry(row, ref, limits.path_max_chars)
            if entry is not None:
                found[entry.path] = entry
        if len(found) > limits.files_max:
            raise SourceRefused(
                f"model {quote(str(ref))} has over {limits.files_max} files",
                reason="LimitExceeded",
            )
        address = _next_page(answer.headers.get("link", ""), address, exchange)
    return tuple(found[path] for path in sorted(found))


def _next_page(link: str, address: str, exchange: Exchange) -> str | None:
    """The next page, at the endpoint: a mirror may hand out the Hub's own links."""
    match = _NEXT.search(link)
    if not match:
        return None
    try:
        target: str = urljoin(address, match[1])
        if target.startswith(HUB_ENDPOINT + "/"):
            target = f"{exchange.endpoint}{target.removeprefix(HUB_ENDPOINT)}"
        elsewhere = origin(target) != origin(exchange.endpoint)
    except ValueError as error:  # such as a port that is no number
        raise SourceUnavailable(
            f"Hub continues its list at {quote(match[1], 96)}, no address: {error}",
            reason="BadAnswer",
        ) from error
    if elsewhere:
        raise SourceRefused(
            f"Hub continues its list at {shown(target)}, wanted its own address",
            reason="RedirectRefused",
        )
    return target


def _entry(row: Any, ref: ModelRef, path_max_chars: int) -> FileEntry | None:
    if not isinstance(row, dict):
        _bad_answer(ref, f"lists {quote(row, 64)} as a file", "a map")
    if row.get("type") != "file":
        return None
    path, size, lfs = row.get("path"), row.get("size"), row.get("lfs")
    if (
        not isinstance(path, str)
        or not 0 < len(path) <= path_max_chars
        or path.startswith("/")
        or "\\" in path
        or not path.isprintable()
        or any(part in ("", ".", "..") for part in path.split("/"))
    ):
        _bad_answer(ref, f"lists the path {quote(path)}", "a plain relative path")
    if type(size) is not int or size < 0:
        _bad_answer(ref, f"gives {quote(path)} the size {quote(size, 32)}", "bytes")
    if not lfs:
        return FileEntry(path, size)
    try:
        if type(lfs["size"]) is not int or lfs["size"] < 0:
            raise ValueError("size is no number of bytes")
        return FileEntry(path, lfs["size"], Digest(lfs["oid"]))
    except (KeyError, TypeError, ValueError):
        _bad_answer(ref, f"gives {quote(path)} the LFS {quote(lfs, 96)}", "a SHA-256")


def _json(body: bytes, what: str, ref: ModelRef) -> Any:
    try:
        return load(body, what=what, path=str(ref))
    except ArtifactError as error:
        _bad_answer(ref, f"answers with a {what} that is no JSON", error.message)


def _bad_answer(ref: ModelRef, got: str, wanted: str) -> NoReturn:
    raise SourceUnavailable(
        f"Hub {got} for {quote(str(ref))}, wanted {wanted}", reason="BadAnswer"
    )
