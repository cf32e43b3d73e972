# SPDX-License-Identifier: Apache-2.0
"""What an answer of a host means: pure judgement of status, headers and addresses.

No network here except name look-ups in :func:`check_redirect`'s default.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urljoin, urlsplit

from pedigree.errors import SourceError, SourceRefused, SourceUnavailable, quote

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_RATE_LIMIT = re.compile(r"\bt\s*=\s*(\d{1,6})\b")
_RETRY_AFTER_MAX_S = 3600.0
"""Waits longer than this are cut: a source must not park a model for a day."""

_HINTS = {
    "NotFound": "check organisation, name and revision; private models need a token",
    "Unauthorized": "give the process a Hub token that may read the model",
    "Gated": "accept the model's terms with the account whose token is used",
    "Forbidden": "give the token the right to read the model",
}
_OTHER_HINTS = {
    "NotFound": "check the host, the path and the version",
    "Unauthorized": "give the process credentials that may read the model",
    "Forbidden": "give the credentials the right to read the model",
}
_CODES = {
    "RepoNotFound": "NotFound",
    "RevisionNotFound": "NotFound",
    "EntryNotFound": "NotFound",
    "GatedRepo": "Gated",
}
_STATUS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 410: "NotFound"}

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_TRANSLATED = (
    ipaddress.IPv6Network("64:ff9b::/96"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("::/96"),
)
"""Prefixes of which gateways make IPv4 (NAT64), also for addresses of the own network,
and the old form without a prefix: to Python they are public."""
Resolver = Callable[[str], Iterable[str]]
"""Host name to its addresses."""


def shown(url: str) -> str:
    """An address as it may appear in messages: without user, query or fragment.

    Queries carry the signatures of pre-signed links.
    """
    parts = urlsplit(url)
    return quote(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port that decide whether a token may be sent."""
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or default


def failure(
    status: int, headers: Mapping[str, str], url: str, *, who: str = "Hub"
) -> SourceError:
    """The error an unsuccessful answer stands for.

    Args:
        status: HTTP status, 400 or more.
        headers: Headers, with lower-case names.
        url: What was asked.
        who: What the other side is called.

    Returns:
        ``SourceUnavailable`` (``RateLimited``, ``ServerError``, ``Timeout``,
        ``ChangedWhileReading`` when a precondition no longer holds) for what
        may pass, else ``SourceRefused`` (``NotFound``, ``Unauthorized``, ``Gated``,
        ``Forbidden``, ``Refused``).
    """
    asked = f"{who} answered {status} for {shown(url)}"
    if status == 429:
        return SourceUnavailable(
            f"{asked}: too many requests",
            reason="RateLimited",
            retry_after_s=retry_after_s(headers),
        )
    if status == 408 or status >= 500:
        return SourceUnavailable(
            asked,
            reason="Timeout" if status == 408 else "ServerError",
            retry_after_s=retry_after_s(headers),
        )
    if status == 412:
        return SourceUnavailable(
            f"{asked}: the file is no longer the one that was listed",
            reason="ChangedWhileReading",
            hint="try again when the copy has finished",
        )
    code = headers.get("x-error-code", "")
    reason = _CODES.get(code) or _STATUS.get(status, "Refused")
    hint = _HINTS.get(reason) if who == "Hub" else _OTHER_HINTS.get(reason)
    return SourceRefused(asked, reason=reason, hint=hint)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds the source asks to wait, at most an hour, or None when it does not say.

    Understands ``Retry-After`` in seconds and the ``t`` of the Hub's ``RateLimit``.
    """
    asked = headers.get("retry-after", "").strip()
    if asked.isdecimal() and asked.isascii():
        return min(float(asked[:9]), _RETRY_AFTER_MAX_S)
    match = _RATE_LIMIT.search(headers.get("ratelimit", ""))
    return min(float(match[1]), _RETRY_AFTER_MAX_S) if match else None


def check_range(
    status: int, headers: Mapping[str, str], offset: int, length: int, size: int
) -> None:
    """Refuse an answer that is not exactly the asked range.

    Args:
        status: HTTP status, below 300.
        headers: Headers, with lower-case names.
        offset: First byte asked for.
        length: Bytes asked for.
        size: Bytes of the file.

    Raises:
        SourceUnavailable: The whole file was sent for a part of it (``RangeIgnored``),
            or another range (``WrongRange``).
    """
    if status == 200:
        if offset == 0 and length == size:
            return
        raise SourceUnavailable(
            f"source sent the whole file for {length} of its {size} bytes, "
            "wanted an answer to the range",
            reason="RangeIgnored",
            hint="put a mirror in front that honours Range requests",
        )
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    wanted = (offset, offset + length - 1)
    if (
        status != 206
        or not match
        or (int(match[1]), int(match[2])) != wanted
        or match[3] not in ("*", str(size))
    ):
        raise SourceUnavailable(
            f"source answered {status} with the range "
            f"{quote(headers.get('content-range', ''), 64)}, wanted 206 with "
            f"bytes {wanted[0]}-{wanted[1]}/{size}",
            reason="WrongRange",
        )


def check_redirect(
    url: str,
    location: str,
    endpoint: str,
    resolve: Resolver | None = None,
    *,
    who: str = "Hub",
) -> str:
    """Where a redirect leads, if it may.

    A redirect is chosen by the other side.  It must not make this process, which
    stands inside a cluster, talk to what the outside cannot reach.

    Args:
        url: What was asked.
        location: The ``Location`` header.
        endpoint: The Hub's base address, which an operator chose.
        resolve: Host name to addresses; by default the system's look-up.
        who: What the other side is called.

    Returns:
        The absolute address.

    Raises:
        SourceRefused: Not http(s), from https to http, or to an address that is
            more private than the endpoint's (``RedirectRefused``).
    """
    try:
        target = urljoin(url, location)
        scheme, host, _ = origin(target)
    except ValueError as error:  # such as a port that is no number
        raise SourceRefused(
            f"{who} redirects {shown(url)} to {quote(location, 64)}, "
            f"no address: {error}",
            reason="RedirectRefused",
        ) from error
    if scheme not in ("http", "https") or not host:
        _refuse_redirect(who, url, target, "wanted http or https")
    if scheme == "http" and urlsplit(endpoint).scheme == "https":
        _refuse_redirect(who, url, target, "wanted https, like the endpoint")
    if origin(target) == origin(endpoint):
        return target
    find = resolve or addresses
    if _privacy(host, find) > _privacy(origin(endpoint)[1], find):
        _refuse_redirect(
            who,
            url,
            target,
            "which is more private than the endpoint; wanted a public host",
        )
    return target


def check_place(
    url: str,
    private_hosts: tuple[str, ...] | None,
    *,
    who: str,
    resolve: Resolver | None = None,
) -> None:
    """Refuse an address that whoever names a model may not make this process ask.

    A name that is looked up again for the connection may then mean another address:
    network policy must hold where names are under hostile control.

    Args:
        url: What is about to be asked.
        private_hosts: ``host`` or ``host:port`` that may be private or without TLS;
            None allows every private one, and this machine without TLS.
        who: What the other side is called.
        resolve: Host name to addresses; by default the system's look-up.

    Raises:
        SourceRefused: ``PrivateAddress`` or ``InsecureAddress``.
    """
    scheme, host, port = origin(url)
    if is_listed(host, port, private_hosts):
        return
    if private_hosts is not None and _privacy(host, resolve or addresses) > 0:
        raise SourceRefused(
            f"{who} is at a private address ({shown(url)}), wanted a public one",
            reason="PrivateAddress",
            hint="have the host allowed as a private host",
        )
    if scheme != "https" and not (private_hosts is None and is_loopback(host)):
        raise SourceRefused(
            f"{who} would be asked without TLS ({shown(url)}), wanted https",
            reason="InsecureAddress",
            hint="have the host allowed as a private host",
        )


def is_listed(host: str, port: int, private_hosts: tuple[str, ...] | None) -> bool:
    """Whether a host is among those that may be private and without TLS."""
    names = {name.lower().removeprefix("http://") for name in private_hosts or ()}
    return host in names or f"{host}:{port}" in names


def is_loopback(host: str) -> bool:
    """Whether a host is named as this machine; names are not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_redirect(who: str, url: str, target: str, why: str) -> None:
    raise SourceRefused(
        f"{who} redirects {shown(url)} to {shown(target)}, {why}",
        reason="RedirectRefused",
    )


def addresses(host: str) -> list[str]:
    """Addresses of a host, or none when this machine cannot say (behind a proxy)."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(info[4][0]) for info in found]


def is_public(text: str) -> bool:
    """Whether an address is one that anybody may ask."""
    return _address_privacy(text) == 0


def _privacy(host: str, resolve: Resolver) -> int:
    """0 for a public host, 1 for a private network, 2 for this machine or its link."""
    return max((_address_privacy(text) for text in resolve(host)), default=0)


def _address_privacy(text: str) -> int:
    """The most private of an address and of those that it leads to."""
    return max(map(_one_privacy, _led_to(ipaddress.ip_address(text.partition("%")[0]))))


def _led_to(address: _Address) -> list[_Address]:
    """An address, and the IPv4 address that a gateway would make of it (RFC 6052)."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    inner = address.ipv4_mapped
    if inner is not None:
        return [inner]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    if any(address in network for network in _TRANSLATED):
        return [address, ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]


def _one_privacy(address: _Address) -> int:
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return 2
    if address.is_multicast or getattr(address, "is_site_local", False):
        return 1
    return 0 if address.is_global else 1
