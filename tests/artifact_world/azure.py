# SPDX-License-Identifier: Apache-2.0
"""A container of blobs on this machine, told as Azure tells it.

Lists give entity tags without quotes, answers about one blob with them; a condition is
compared as text.  (Seen so with Azurite 3.35, Microsoft's own emulator.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from artifact_world.web import Asked, serve_at
from artifact_world.web import Handler as WebHandler

ACCOUNT = "devaccount"
CONTAINER = "models"
_DATE = "Mon, 01 Jan 2024 00:00:00 GMT"


@dataclass
class Azure:
    """Blobs by name."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"


def tag_of(content: bytes) -> str:
    return f"0x{hashlib.sha256(content).hexdigest()[:15].upper()}"


class _Handler(WebHandler):
    world: Azure  # type: ignore[assignment]

    def do_HEAD(self) -> None:  # noqa: N802 - the name the server calls
        self.respond()

    def respond(self) -> None:
        headers = self.note()
        at = urlsplit(self.path)
        query = parse_qs(at.query)
        name = at.path.removeprefix(f"/{ACCOUNT}/{CONTAINER}").lstrip("/")
        if query.get("comp") == ["list"]:
            self._list(query.get("prefix", [""])[0])
        elif name not in self.world.blobs:
            self.answer(404, b"", {})
        else:
            self._blob(self.world.blobs[name], headers)

    def _blob(self, content: bytes, headers: dict[str, str]) -> None:
        tag = f'"{tag_of(content)}"'
        extra = {"ETag": tag, "Last-Modified": _DATE}
        if headers.get("if-match", tag) != tag:
            self.answer(412, b"", {})
            return
        asked, status = headers.get("range"), 200
        if asked:
            first, last = (int(it) for it in asked.removeprefix("bytes=").split("-"))
            last = min(last, len(content) - 1)
            extra["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        if self.command == "HEAD":
            self.send_response(200)
            for key, value in {**extra, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            return
        self.answer(status, content, extra)

    def _list(self, prefix: str) -> None:
        rows = "".join(
            f"<Blob><Name>{name}</Name><Properties><Last-Modified>{_DATE}"
            f"</Last-Modified><Etag>{tag_of(content)}</Etag>"
            f"<Content-Length>{len(content)}</Content-Length>"
            "<Content-Type>application/octet-stream</Content-Type>"
            "<BlobType>BlockBlob</BlobType></Properties></Blob>"
            for name, content in sorted(self.world.blobs.items())
            if name.startswith(prefix)
        )
        body = (
            f"<?xml version='1.0'?><EnumerationResults><Blobs>{rows}</Blobs>"
            "<NextMarker/></EnumerationResults>"
        )
        self.answer(200, body.encode(), {"Content-Type": "application/xml"})


@contextmanager
def serve(azure: Azure) -> Iterator[Azure]:
    with serve_at(_Handler, azure) as port:
        azure.port = port
        yield azure
