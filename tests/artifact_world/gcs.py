# SPDX-License-Identifier: Apache-2.0
"""A bucket on this machine, told as Google's XML interface tells it.

Written from Google's reference of that interface: lists come in pages and name
generations, an object's entity tag is in quotes, ``generation`` asks for one of them,
``If-Match`` is heeded, and whoever reads is told by a token that a service account
signed for itself (AIP-4111).  That token is verified here.
"""

from __future__ import annotations

import hashlib
import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from artifact_world.web import Asked, serve_at
from artifact_world.web import Handler as WebHandler

BUCKET = "models"
READER = "reader@made-up.iam.gserviceaccount.com"
_DATE = "Mon, 01 Jan 2024 00:00:00 GMT"
_SCOPES = tuple(
    f"https://www.googleapis.com/auth/{name}"
    for name in (
        "cloud-platform",
        "devstorage.read_only",
        "devstorage.read_write",
        "devstorage.full_control",
    )
)
_FIRST = 1_700_000_000_000_000


@cache
def private_key(name: str) -> rsa.RSAPrivateKey:
    """A key; one for each name in a run, since making one takes long."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Gcs:
    """Objects by name, each with all its generations, the oldest first.

    Attributes:
        objects: Name -> generation -> content; written by :meth:`put`.
        public: Whether everybody may read.
        versioned: Whether generations that were replaced can still be read.
        page: Most objects of a page of a list.
        key: Of the account that may read.
        ranges: Whether ranges are heeded; not so for what is stored compressed.
        cut: Bytes after which an answer breaks off.
        fail: Status to answer everything with.
        leads_to: Base address that every request is redirected to.
    """

    objects: dict[str, dict[int, bytes]] = field(default_factory=dict)
    public: bool = False
    versioned: bool = False
    page: int = 1000
    key: rsa.RSAPrivateKey = field(default_factory=lambda: private_key("reader"))
    ranges: bool = True
    cut: int | None = None
    fail: int = 0
    leads_to: str = ""
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, name: str, content: bytes) -> None:
        made = self.objects.setdefault(name, {}) if self.versioned else {}
        made[_FIRST + len(self.asked) + sum(map(len, self.objects.values()))] = content
        self.objects[name] = made

    def generation(self, name: str) -> str:
        """The newest of an object."""
        return str(max(self.objects[name]))


def account_key(name: str = "reader", **changed: object) -> str:
    """A service account's key as Google's console gives it."""
    pem = private_key(name).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    told: dict[str, object] = {
        "type": "service_account",
        "project_id": "made-up",
        "private_key_id": "0123456789abcdef",
        "private_key": pem.decode(),
        "client_email": READER,
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return json.dumps(told | changed)


def _unpadded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _is_valid(token: str, key: rsa.RSAPublicKey) -> bool:
    try:
        head, claims, signature = token.split(".")
        key.verify(
            _unpadded(signature),
            f"{head}.{claims}".encode(),
            padding.PKCS1v15(),
            hashes.SHA256(),
        )
    except (ValueError, InvalidSignature):
        return False
    told = json.loads(_unpadded(claims))
    ours = told["iss"] == told["sub"] == READER
    timely = told["iat"] - 60 <= time.time() < told["exp"] <= told["iat"] + 3600
    return ours and timely and told["scope"] in _SCOPES


class _Handler(WebHandler):
    world: Gcs  # type: ignore[assignment]

    def do_HEAD(self) -> None:  # noqa: N802 - the name the server calls
        self.respond()

    def respond(self) -> None:
        headers, world = self.note(), self.world
        at = urlsplit(self.path)
        query = {name: each[0] for name, each in parse_qs(at.query).items()}
        bucket, _, name = unquote(at.path).lstrip("/").partition("/")
        told = headers.get("authorization", "")
        if world.leads_to:
            self.answer(307, b"", {"Location": world.leads_to + self.path})
        elif world.fail:
            self._refuse(world.fail, "Failed")
        elif told and not _is_valid(told.removeprefix("Bearer "), _public(world)):
            self._refuse(401, "AuthenticationRequired")
        elif not (told or world.public):
            self._refuse(403, "AccessDenied")
        elif bucket != BUCKET:
            self._refuse(404, "NoSuchBucket")
        elif not name:
            self._list(query)
        else:
            self._object(name, query.get("generation"), headers)

    def _object(self, name: str, asked: str | None, headers: dict[str, str]) -> None:
        made = self.world.objects.get(name, {})
        if asked is not None and not asked.isdecimal():
            self._refuse(400, "InvalidArgument")
            return
        generation = int(asked) if asked else max(made, default=0)
        if generation not in made:
            self._refuse(404, "NoSuchKey")
            return
        content, status = made[generation], 200
        size, tag = len(content), _tag(content)
        extra = {
            "ETag": tag,
            "Last-Modified": _DATE,
            "x-goog-generation": str(generation),
            "x-goog-metageneration": "1",
            "x-goog-stored-content-length": str(size),
        }
        if headers.get("if-match", tag) != tag:
            self._refuse(412, "PreconditionFailed")
            return
        if self.command == "GET" and self.world.ranges and "range" in headers:
            first, last = (
                int(part) for part in headers["range"].removeprefix("bytes=").split("-")
            )
            content, status = content[first : last + 1], 206
            extra["Content-Range"] = f"bytes {first}-{min(last, size - 1)}/{size}"
        self.answer(status, content, extra)

    def _list(self, query: dict[str, str]) -> None:
        prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
        names = sorted(
            name
            for name in self.world.objects
            if name.startswith(prefix) and name > after
        )
        page = names[: min(self.world.page, int(query.get("max-keys", "1000")))]
        rows = "".join(self._row(name) for name in page)
        more = len(page) < len(names)
        mark = f"<NextContinuationToken>{escape(''.join(page[-1:]))}"
        mark = f"{mark}</NextContinuationToken>"
        self._xml(
            200,
            f"<ListBucketResult><Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}"
            f"</IsTruncated>{mark if more else ''}{rows}</ListBucketResult>",
        )

    def _row(self, name: str) -> str:
        made = self.world.objects[name]
        generation = max(made)
        return (
            f"<Contents><Key>{escape(name)}</Key><Generation>{generation}</Generation>"
            "<MetaGeneration>1</MetaGeneration>"
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(_tag(made[generation]))}</ETag>"
            f"<Size>{len(made[generation])}</Size></Contents>"
        )

    def _refuse(self, status: int, code: str) -> None:
        self._xml(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>")

    def _xml(self, status: int, text: str) -> None:
        body = f"<?xml version='1.0' encoding='UTF-8'?>{text}".encode()
        self.answer(status, body, {"Content-Type": "application/xml; charset=UTF-8"})

    def answer(self, status: int, body: bytes, headers: Any) -> None:
        if self.command != "HEAD":
            super().answer(status, body, headers)
            return
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()


def _public(world: Gcs) -> rsa.RSAPublicKey:
    return world.key.public_key()


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


@contextmanager
def serve(world: Gcs) -> Iterator[Gcs]:
    with serve_at(_Handler, world) as port:
        world.port = port
        yield world
