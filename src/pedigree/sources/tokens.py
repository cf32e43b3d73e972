# SPDX-License-Identifier: Apache-2.0
"""Leave to read from a registry: Basic, or a Bearer token from the realm it names."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import urlencode, urljoin, urlsplit

from pedigree.errors import ArtifactError, SourceUnavailable
from pedigree.sources.answers import check_redirect, origin
from pedigree.sources.exchange import Exchange
from pedigree.tensors.strictjson import load

_PARAMETER = re.compile(r'([a-z]{1,32})="([^"]{0,2048})"')
_TOKEN_MAX_CHARS = 64 << 10
_ANSWER_MAX_BYTES = 1 << 20


class Tokens:
    """What ``Authorization`` requests to a registry carry.

    The name and password go to the registry itself when it asks for Basic, and to the
    realm it names over TLS or at its own host.  The scope asked for is to read the one
    repository, whatever the registry proposes.

    Args:
        asking: Makes requests to an address, without the registry's leave.
        endpoint: Base address of the registry.
        name: Repository.
        user: User name, or empty.
        password: Password, or empty.
    """

    def __init__(
        self,
        asking: Callable[[str], Exchange],
        endpoint: str,
        name: str,
        user: str,
        password: str,
    ) -> None:
        self._asking = asking
        self._endpoint = endpoint
        self._scope = f"repository:{name}:pull"
        pair = f"{user}:{password}".encode()
        self._basic = f"Basic {b64encode(pair).decode()}" if user else None
        self._header: str | None = None

    def header(self) -> str | None:
        """What the next request carries."""
        return self._header

    def challenged(self, challenge: str) -> bool:
        """Get leave for a challenge; whether there is something new to try.

        Raises:
            SourceRefused: The realm says no, or may not be asked.
            SourceUnavailable: The realm failed for now, or gives no token.
        """
        scheme, _, rest = challenge.strip().partition(" ")
        if scheme.lower() == "basic" and self._basic:
            fresh = self._header != self._basic
            self._header = self._basic
            return fresh
        given = dict(_PARAMETER.findall(rest[:8192]))
        if scheme.lower() != "bearer" or not given.get("realm"):
            return False
        self._header = f"Bearer {self._token(given['realm'], given.get('service', ''))}"
        return True

    def _token(self, realm: str, service: str) -> str:
        address = check_redirect(
            self._endpoint, realm, self._endpoint, who="registry"
        ).partition("#")[0]
        query = {"service": service, "scope": self._scope}
        own = origin(address) == origin(self._endpoint)
        exchange = self._asking(urljoin(address, "/").rstrip("/"))
        if own or urlsplit(address).scheme == "https":
            exchange.authorization = lambda: self._basic
        mark = "&" if "?" in address else "?"
        answer = exchange.get(
            f"{address}{mark}{urlencode(query)}", body_max=_ANSWER_MAX_BYTES
        )
        try:
            told = load(answer.body, what="token", path="realm")
        except ArtifactError:
            told = None
        told = told if isinstance(told, dict) else {}
        token = told.get("token") or told.get("access_token")
        if (
            not isinstance(token, str)
            or not 0 < len(token) <= _TOKEN_MAX_CHARS
            or not (token.isascii() and token.isprintable() and " " not in token)
        ):
            raise SourceUnavailable(
                "registry's realm answers without a token, wanted one",
                reason="BadAnswer",
            )
        return token
