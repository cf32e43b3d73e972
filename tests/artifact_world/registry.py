# SPDX-License-Identifier: Apache-2.0
"""A registry on this machine: tokens, manifests, blobs kept by another host name."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from artifact_world.web import Asked, serve_at
from artifact_world.web import Handler as WebHandler

NAME = "org/model"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
RAW = "application/vnd.cncf.model.weight.v1.raw"
TAR = "application/vnd.cncf.model.weight.v1.tar"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Registry:
    """Blobs and manifests by digest, tags, and what to do wrong."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    login: tuple[str, str] | None = None
    basic: bool = False
    token: str = "leave-1"
    wrong_digest: str = ""
    realm: str = ""
    fail: Mapping[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    cut: int | None = None
    port: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def layer(
        self, content: bytes, kind: str = RAW, path: str = ""
    ) -> dict[str, object]:
        digest = digest_of(content)
        self.blobs[digest] = content
        row: dict[str, object] = {
            "mediaType": kind,
            "digest": digest,
            "size": len(content),
        }
        if path:
            row["annotations"] = {"org.cncf.model.filepath": path}
        return row

    def push(self, layers: Sequence[Mapping[str, object]], tag: str = "v1") -> str:
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": list(layers)}
        return self.put(body, tag)

    def put(self, body: object, tag: str) -> str:
        data = json.dumps(body).encode()
        self.manifests[digest_of(data)] = data
        self.tags[tag] = digest_of(data)
        return self.tags[tag]

    def asked_for(self, part: str) -> list[Asked]:
        return [asked for asked in self.asked if part in asked.path]


@contextmanager
def serve(registry: Registry) -> Iterator[Registry]:
    with serve_at(Handler, registry) as port:
        registry.port = port
        yield registry


class Handler(WebHandler):
    world: Registry  # type: ignore[assignment]

    def respond(self) -> None:
        headers = self.note()
        world, steps = self.world, urlsplit(self.path).path.strip("/").split("/")
        for part, (status, extra) in world.fail.items():
            if part in self.path:
                self.answer(status, b"", extra)
                return
        if steps[0] == "token":
            self.give_token(headers)
        elif steps[0] == "store":
            self.part(world.blobs[steps[1]], headers)
        elif not self.allowed(headers):
            realm = world.realm or f"http://{world.host}/token"
            asks = "Basic" if world.basic else f'Bearer realm="{realm}",service="here"'
            self.answer(401, b"", {"WWW-Authenticate": asks})
        elif steps[:3] != ["v2", *NAME.split("/")]:
            self.answer(404, b"", {})
        elif steps[3] == "manifests":
            digest = world.tags.get(steps[4], steps[4])
            body = world.manifests.get(digest)
            told = world.wrong_digest or digest
            if body is None:
                self.answer(404, b"", {})
            else:
                self.answer(200, body, {"Docker-Content-Digest": told})
        else:
            there = f"http://localhost:{world.port}/store/{steps[4]}"
            self.answer(307, b"", {"Location": there})

    def pair(self) -> str:
        user, password = self.world.login or ("", "")
        return "Basic " + b64encode(f"{user}:{password}".encode()).decode()

    def allowed(self, headers: Mapping[str, str]) -> bool:
        if self.world.login is None:
            return True
        wanted = self.pair() if self.world.basic else f"Bearer {self.world.token}"
        return headers.get("authorization") == wanted

    def give_token(self, headers: Mapping[str, str]) -> None:
        scope = parse_qs(urlsplit(self.path).query).get("scope")
        given = headers.get("authorization")
        if given == self.pair() and scope == [f"repository:{NAME}:pull"]:
            self.answer(200, json.dumps({"token": self.world.token}).encode(), {})
        else:
            self.answer(401, b"", {})

    def part(self, content: bytes, headers: Mapping[str, str]) -> None:
        status, extra = 200, {}
        if asked := headers.get("range"):
            first, last = (int(it) for it in asked.removeprefix("bytes=").split("-"))
            status = 206
            extra["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content = content[first : last + 1]
        self.answer(status, content, extra)
