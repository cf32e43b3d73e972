# SPDX-License-Identifier: Apache-2.0
"""Ranged reads of files behind web addresses that must not change meanwhile.

A whole read is hashed where the digest is known.  Parts cannot be: whoever needs a
digest of the whole hashes the whole, as the examination does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pedigree.digests import Digest, sha256
from pedigree.errors import SourceRefused, SourceUnavailable, quote
from pedigree.ranges import FileEntry
from pedigree.sources.answers import check_place, check_range, is_listed, is_loopback
from pedigree.sources.answers import origin as origin_of
from pedigree.sources.exchange import Exchange
from pedigree.sources.settings import SourceSettings
from pedigree.sources.spans import FarFile, compare_digest


@dataclass(frozen=True, slots=True)
class Stored:
    """One file or blob at a web address.

    Attributes:
        url: Address.
        size: Bytes.
        digest: SHA-256 where it is known.
        etag: Strong entity tag, or empty.
        modified: ``Last-Modified``, or empty.
        held: The content, of small files whose host knows no ranges.
    """

    url: str
    size: int
    digest: Digest | None = None
    etag: str = ""
    modified: str = ""
    held: bytes | None = field(default=None, repr=False)


def remote_file(
    exchange: Exchange,
    entry: FileEntry,
    stored: Stored,
    begin: int,
    connections: int,
) -> FarFile:
    """Ranged reads of a file or of a part of what is stored.

    Args:
        exchange: Requests.
        entry: Path and size told outside.
        stored: Where the bytes are.
        begin: First byte of the file within what is stored.
        connections: Requests at once.
    """
    whole = begin == 0 and entry.size == stored.size
    mark = str(stored.digest) if stored.digest else stored.etag
    # A time of modification binds nothing: it is told to the second.
    pin = f"{mark}/{begin}" if mark and stored.held is None else ""
    return FarFile(
        entry,
        lambda at, length: get_range(exchange, stored, entry.path, begin + at, length),
        connections=connections,
        pin=pin if stored.digest else pin and f"{stored.url} {pin}",
        digest=stored.digest if whole else None,
    )


def get_range(
    exchange: Exchange, stored: Stored, path: str, offset: int, length: int
) -> bytes:
    """Bytes of what is stored, if it is still what was listed.

    Raises:
        ArtifactError: A whole read has another digest (``DigestMismatch``).
        SourceUnavailable: ``ChangedWhileReading``, ``TruncatedResponse`` and others.
        SourceRefused: The source said no.
    """
    if stored.held is not None:
        return stored.held[offset : offset + length]
    whole = offset == 0 and length == stored.size
    extra = {} if whole else {"range": f"bytes={offset}-{offset + length - 1}"}
    if stored.etag:
        extra["if-match"] = stored.etag

    def check(status: int, headers: Mapping[str, str]) -> None:
        check_same(stored, path, headers)
        check_encoding(exchange.who, path, headers)
        check_range(status, headers, offset, length, stored.size)

    answer = exchange.get(stored.url, body_max=length, extra=extra, check=check)
    if len(answer.body) != length:
        raise SourceUnavailable(
            f"{exchange.who} sent {len(answer.body)} bytes of {quote(path)} from byte "
            f"{offset}, wanted {length}",
            reason="TruncatedResponse",
        )
    if whole:
        check_digest(answer.body, stored.digest, path)
    return answer.body


def check_digest(body: bytes, wanted: Digest | None, path: str) -> None:
    """Refuse bytes that are not those their digest names.

    Raises:
        ArtifactError: ``DigestMismatch``.
    """
    if wanted is not None:
        compare_digest(sha256(body), wanted, path)


def check_same(stored: Stored, path: str, headers: Mapping[str, str]) -> None:
    """Refuse an answer about another state of the file than the listed one."""
    etag, modified = validators(headers)
    if etag != stored.etag if stored.etag else modified != stored.modified:
        raise SourceUnavailable(
            f"{quote(path)} changed while it was being read: it was "
            f"{quote(stored.etag or stored.modified, 80)} when listed and is "
            f"{quote(etag or modified, 80)} now",
            reason="ChangedWhileReading",
            hint="try again when the copy has finished",
        )


def check_encoding(who: str, path: str, headers: Mapping[str, str]) -> None:
    """Refuse bytes that are not the file's own: sizes and ranges would be others."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise SourceRefused(
            f"{who} sends {quote(path)} encoded as {quote(encoding, 32)}, wanted the "
            "file itself",
            reason="EncodedAnswer",
        )


def validators(headers: Mapping[str, str]) -> tuple[str, str]:
    """Strong entity tag and modification time of an answer, or empty texts."""
    etag = headers.get("etag", "").strip()
    plain = len(etag) <= 256 and etag.isascii() and etag.isprintable()
    if not (plain and len(etag) > 2 and etag[0] == etag[-1] == '"'):
        etag = ""
    return etag, headers.get("last-modified", "").strip()[:64]


def connect(settings: SourceSettings, host: str, who: str) -> Exchange:
    """Requests to a host, with TLS unless the settings say that it has none.

    This machine is asked without TLS (except at port 443) where that is allowed;
    another host only where it is allowed as ``http://host:port``.

    Args:
        settings: Allowed hosts, time-outs.
        host: ``host`` or ``host:port``.
        who: What the host is called in messages.

    Raises:
        SourceRefused: ``PrivateAddress``.
    """
    from pedigree.sources import hub  # takes long to import

    def guard(url: str) -> None:
        check_place(url, settings.private_hosts, who=who)

    def exchange(base: str) -> Exchange:
        return hub.client(settings, base, who=who, guard=guard)

    secure, open_ = f"https://{host}", f"http://{host}"
    _, name, port = origin_of(open_)
    listed = is_listed(name, port, settings.private_hosts)
    here = is_loopback(name)
    if here and port != 443 and (listed or settings.private_hosts is None):
        return exchange(open_)
    # Never on a failure of TLS: whoever stands between could make it fail.
    if open_.lower() in {each.lower() for each in settings.private_hosts or ()}:
        return exchange(open_)
    return exchange(secure)
