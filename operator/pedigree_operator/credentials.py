# SPDX-License-Identifier: Apache-2.0
"""Credentials of one Secret: read when they are needed, shown to nobody.

They are read anew for every lookup, so that a rotated Secret counts at once and nothing
of it is kept.  Texts that were made while they were in use lose every piece of them
before they become a message.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pedigree.errors import PedigreeError, SourceRefused, SourceUnavailable, quote
from pedigree.sources.settings import CREDENTIALS
from pedigree_operator.access import Access
from pedigree_operator.cluster import ClusterError, Object
from pedigree_operator.kinds import SECRETS, Resource

FORBIDDEN = "CredentialsForbidden"
MISSING = "CredentialsMissing"
INVALID = "CredentialsInvalid"
UNAVAILABLE = "CredentialsUnavailable"
LEAKED = "CredentialsInAnswer"
VALUE_MAX_BYTES = 16384
MESSAGE_MAX_CHARS = 4096
"""Of a cleaned message, which a process that reads hostile bytes may have written."""
PIECE_CHARS = 8
"""So much of a secret in a row is taken out of a text (arbitrary).  Less tells nobody
anything, and a message may hold a secret cut short."""
REDACTED = "[redacted]"
_ENDPOINTS = ("AWS_ENDPOINT_URL", "GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT")
WHERE = frozenset({"AWS_REGION", "AZURE_STORAGE_ACCOUNT_NAME", *_ENDPOINTS})
"""Keys that say where something is, which messages are the better for."""
WHO = frozenset({"AWS_ACCESS_KEY_ID", "OCI_USERNAME"})
"""Keys that say who; evidence may hold the same words by chance."""


class Reader(Protocol):
    """What reads one object of the API server."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """One object, or None if there is none."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Names and values of the variables that sources read.

    Attributes:
        values: See :data:`pedigree.sources.settings.CREDENTIALS`.  Not in ``repr``.
    """

    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def redact(self, text: str) -> str:
        """The text without any of the values, or longer pieces of them.

        Args:
            text: For people; at most some thousand characters.
        """
        hidden = bytearray(len(text))
        for name, value in self.values.items():
            if name in WHERE:
                continue
            size = min(PIECE_CHARS, len(value))
            pieces = {value[i : i + size] for i in range(len(value) - size + 1)}
            for begin in range(len(text) - size + 1):
                if text[begin : begin + size] in pieces:
                    hidden[begin : begin + size] = b"\x01" * size
        parts: list[str] = []
        for index, character in enumerate(text):
            if not hidden[index]:
                parts.append(character)
            elif not index or not hidden[index - 1]:
                parts.append(REDACTED)
        return "".join(parts)

    def clean(self, error: PedigreeError) -> PedigreeError:
        """The same error, saying nothing of the values."""
        if self.values:
            error.reason = self.redact(error.reason[:MESSAGE_MAX_CHARS])
            error.message = self.redact(error.message[:MESSAGE_MAX_CHARS])
            if error.hint:
                error.hint = self.redact(error.hint[:MESSAGE_MAX_CHARS])
            error.args = (error.message,)
        return error

    def check(self, answer: str, uri: str) -> None:
        """Refuse an answer of a source or an examination that repeats a secret.

        Evidence is read by many, and no honest source puts a token into it.

        Raises:
            SourceRefused: It does (``CredentialsInAnswer``).
        """
        for name, value in self.values.items():
            if name in WHERE | WHO or len(value) < PIECE_CHARS:
                continue
            if value in answer or json.dumps(value)[1:-1] in answer:
                raise SourceRefused(
                    f"what was learnt of {quote(uri)} repeats the value of {name}, "
                    "and was thrown away",
                    reason=LEAKED,
                    hint="the model's files or its source repeat the credential; "
                    "revoke it",
                )


NONE = Credentials()


async def read_credentials(cluster: Reader, access: Access) -> Credentials:
    """Read the Secret that an access names.

    Raises:
        SourceRefused: It may not be read (``CredentialsForbidden``), is not there
            (``CredentialsMissing``), or holds something else
            (``CredentialsInvalid``).
        SourceUnavailable: The API server did not answer
            (``CredentialsUnavailable``).
    """
    name = f"{access.namespace}/{access.secret}"
    try:
        secret = await cluster.get(SECRETS, access.namespace, access.secret)
    except ClusterError as error:
        if error.status in (401, 403):
            raise SourceRefused(
                f"Secret {name} may not be read by the operator",
                reason=FORBIDDEN,
                hint=f"add {access.namespace} to operator.credentials.namespaces "
                "of the chart",
            ) from None
        raise SourceUnavailable(
            f"Secret {name} could not be read: the API server answered "
            f"{error.status or 'nothing'}",
            reason=UNAVAILABLE,
        ) from None
    if secret is None:
        raise SourceRefused(
            f"Secret {name} is not there",
            reason=MISSING,
            hint="create it, with keys such as HF_TOKEN",
        )
    return Credentials(_values(name, secret.get("data") or {}))


def _values(name: str, data: Mapping[str, str]) -> dict[str, str]:
    unknown = sorted(set(data) - set(CREDENTIALS))
    if unknown or not data:
        got = f"has the key {quote(unknown[0], 80)}" if unknown else "has no keys"
        raise _invalid(name, f"{got}, known are {', '.join(CREDENTIALS)}")
    return {key: _value(name, key, data[key]) for key in CREDENTIALS if key in data}


def _value(name: str, key: str, encoded: str) -> str:
    """One value; tools that write files often leave a line end behind it."""
    try:
        raw = base64.b64decode(encoded, validate=True)
        text = raw[: VALUE_MAX_BYTES + 1].decode("utf-8").strip()
    except (binascii.Error, UnicodeDecodeError, TypeError, ValueError):
        raise _invalid(name, f"{key} is no text") from None
    if not text or len(raw) > VALUE_MAX_BYTES:
        got = f"has {len(raw)} bytes" if text else "is empty"
        raise _invalid(name, f"{key} {got}, wanted 1 to {VALUE_MAX_BYTES} bytes")
    if not text.isprintable() and key != "GOOGLE_SERVICE_ACCOUNT_KEY":
        raise _invalid(name, f"{key} has control characters, wanted one line")
    if "\x00" in text or (key in _ENDPOINTS and "@" in text):
        raise _invalid(name, f"{key} is no value that can be used")
    return text


def _invalid(name: str, what: str) -> SourceRefused:
    return SourceRefused(
        f"Secret {name}: {what}",
        reason=INVALID,
        hint="put each credential under the name of its variable, and nothing else",
    )
