# SPDX-License-Identifier: Apache-2.0
"""A web server on this machine: files with tags and ranges, and ways to misbehave."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Asked:
    path: str
    host: str
    headers: dict[str, str]


@dataclass
class WebServer:
    """Files by path, with what to do wrong."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    ranges: bool = True
    etags: bool = True
    dates: bool = False
    heed_if_match: bool = True
    cut: int | None = None
    lengths: bool = True
    """Whether answers say how long they are; else the connection's end ends them."""
    fail: Mapping[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    redirects: Mapping[str, str] = field(default_factory=dict)
    token: str | None = None
    port: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""


@contextmanager
def serve_at(handler: type[BaseHTTPRequestHandler], world: object) -> Iterator[int]:
    """Serve a world until the end of the block; yields the port."""
    bound = type("Bound", (handler,), {"world": world})
    server = _Quiet(("127.0.0.1", 0), bound)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serve(web: WebServer) -> Iterator[WebServer]:
    with serve_at(Handler, web) as port:
        web.port = port
        yield web


class Handler(BaseHTTPRequestHandler):
    world: WebServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for 40 ms

    def log_message(self, *_: object) -> None:
        pass

    def note(self) -> dict[str, str]:
        headers = {name.lower(): value for name, value in self.headers.items()}
        host = headers.get("host", "").partition(":")[0]
        self.world.asked.append(Asked(self.path, host, headers))
        return headers

    def do_GET(self) -> None:
        self.respond()

    def respond(self) -> None:
        headers = self.note()
        web = self.world
        wanted = f"Bearer {web.token}"
        if self.path in web.fail:
            status, extra = web.fail[self.path]
            self.answer(status, b"", extra)
        elif self.path in web.redirects:
            self.answer(302, b"", {"Location": web.redirects[self.path]})
        elif web.token and headers.get("authorization") != wanted:
            self.answer(401, b"", {})
        elif self.path not in web.files:
            self.answer(404, b"", {})
        else:
            self.ranged(web.files[self.path], headers)

    def ranged(self, content: bytes, headers: Mapping[str, str]) -> None:
        web = self.world
        extra = {}
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        if web.etags:
            extra["ETag"] = tag
        if web.dates:
            extra["Last-Modified"] = "Mon, 01 Jan 2024 00:00:00 GMT"
        if web.heed_if_match and headers.get("if-match", tag) != tag:
            self.answer(412, b"", {})
            return
        asked, status = headers.get("range"), 200
        if asked and web.ranges:
            first, last = (int(it) for it in asked.removeprefix("bytes=").split("-"))
            status = 206
            extra["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content = content[first : last + 1]
        self.answer(status, content, extra)

    def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if getattr(self.world, "lengths", True):
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        cut = getattr(self.world, "cut", None)
        if cut is not None and len(body) > cut:
            body = body[:cut]
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)
