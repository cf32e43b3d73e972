# SPDX-License-Identifier: Apache-2.0
"""Requests to the audit service: HTTPS, a bearer token, bounded answers.

The token and the CA file are read for every connection, because Kubernetes rotates
both in place.  Redirects are not followed: a token goes to the named host only.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from pedigree.errors import ConfigError, LedgerError, quote
from pedigree.serving.sockets import is_loopback

TIMEOUT_S = 10.0
ANSWER_MAX_BYTES = 64 * 1024 * 1024
"""A page of the largest entries; see ``docs/audit.md``."""
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the audit service is, and how to be let in.

    Attributes:
        url: ``https://host[:port][/prefix]``; plain HTTP only to loopback.
        token_file: File with the bearer token; None sends none.
        ca_file: PEM file that the server's certificate must lead to; None means the
            system's authorities.
        timeout_s: For each step of a request.
    """

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        """Refuse what would send a token in the clear.

        Raises:
            ConfigError: The URL is not one of an audit service.
        """
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"audit URL {quote(self.url)}: {error}") from error
        del port  # only read to have it checked
        if not host or parts.query or parts.fragment or parts.username:
            raise ConfigError(
                f"audit URL is {quote(self.url)}, wanted https://host:port"
            )
        if parts.scheme != "https" and not (
            parts.scheme == "http" and is_loopback(host)
        ):
            raise ConfigError(
                f"audit URL is {quote(self.url)}, wanted https",
                hint="plain http is allowed to 127.0.0.1 and localhost only",
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said.

    Attributes:
        status: HTTP status code.
        body: The JSON it sent; None if it was not JSON.
        retry_after_s: Seconds it asked to wait, if it did.
    """

    status: int
    body: Any
    retry_after_s: float | None = None

    @property
    def is_error(self) -> bool:
        """Whether this is an error of the audit service, not of something before it."""
        return isinstance(self.body, Mapping) and isinstance(
            self.body.get("error"), Mapping
        )

    def error(self) -> str:
        """What went wrong, in the service's words where it gave any."""
        if self.is_error:
            said = self.body["error"]
            return f"HTTP {self.status} {said.get('reason')}: {said.get('message')}"
        return f"HTTP {self.status}"


class Connection:
    """One connection, for any number of requests one after the other."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Read token and CA file; nothing is sent yet.

        Raises:
            LedgerError: One cannot be read (reason ``CredentialsUnreadable``).
        """
        self._endpoint = endpoint
        parts = urlsplit(endpoint.url)
        self._prefix = parts.path.rstrip("/")
        host = str(parts.hostname)
        self._headers = {"Accept": "application/json", "User-Agent": "pedigree"}
        try:
            if endpoint.token_file is not None:
                self._headers["Authorization"] = f"Bearer {_token(endpoint.token_file)}"
            if parts.scheme == "http":
                self._http = http.client.HTTPConnection(
                    host, parts.port or 80, timeout=endpoint.timeout_s
                )
            else:
                self._http = http.client.HTTPSConnection(
                    host,
                    parts.port or 443,
                    timeout=endpoint.timeout_s,
                    context=ssl.create_default_context(cafile=endpoint.ca_file),
                )
        except (OSError, ValueError) as error:
            raise LedgerError(
                f"credentials for {endpoint.url} cannot be read: {error}",
                reason="CredentialsUnreadable",
                hint=f"token file: {endpoint.token_file}, CA file: {endpoint.ca_file}",
            ) from error

    def request(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Send one request and read its answer.

        Raises:
            LedgerError: There was no answer (reason ``AuditUnreachable``).
        """
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            self._http.request(method, self._prefix + path, body, headers)
            response = self._http.getresponse()
            content = response.read(ANSWER_MAX_BYTES + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise LedgerError(
                f"audit service at {self._endpoint.url} does not answer: "
                f"{type(error).__name__}: {error}",
                reason="AuditUnreachable",
            ) from error
        if len(content) > ANSWER_MAX_BYTES:
            self.close()
            raise LedgerError(
                f"audit service at {self._endpoint.url} answered with more than "
                f"{ANSWER_MAX_BYTES} bytes",
                reason="AuditUnreachable",
            )
        return Answer(
            response.status,
            _json(content),
            _seconds(response.headers.get("Retry-After")),
        )

    def close(self) -> None:
        """Close it; twice is fine."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _token(path: Path) -> str:
    """The token in a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds no token.  Whoever sends a header that is malformed would
            raise an error with its value, and the token would be in the log.
    """
    token = path.read_text("ascii").strip()
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"{path} holds no token of one line without blanks")
    return token


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _seconds(text: str | None) -> float | None:
    """``Retry-After`` in its form with seconds; at most an hour is believed."""
    if text is None or not text.isdecimal():
        return None
    return min(float(text[:9]), 3600.0)
