# SPDX-License-Identifier: Apache-2.0
"""A Hub on this machine: commits, branches, large files, and every way to misbehave.

Speaks the part of the Hub's HTTP that Pedigree uses.  Large files redirect to a store
that answers under another host name, as the Hub's do.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

import made_models

LARGE_BYTES = 1_000
"""Files from this size on are stored as the Hub stores LFS files."""


@dataclass
class Fault:
    """What to do instead of answering, for requests whose path holds ``where``."""

    where: str
    times: int = 1_000_000
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0
    cut: int | None = None
    ignore_range: bool = False
    shift: int = 0
    drip_s: float = 0
    body: bytes = b"{}"


@dataclass
class Asked:
    path: str
    host: str
    headers: dict[str, str]


class SimulatedHub:
    """The state of the Hub; ``serve`` makes it answer."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.token: str | None = None
        self.page = 1000
        self.signature = "first"
        self.next_page_base = ""
        self.port = 0
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Store files as a new commit at the head of a branch."""
        state = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode())
        commit = state.hexdigest()
        self.commits[commit] = dict(files)
        self.branches[branch] = commit
        return commit

    def fault_for(self, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.where in path and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def paths_asked(self, part: str) -> list[Asked]:
        return [asked for asked in self.asked if part in asked.path]


@contextmanager
def serve(hub: SimulatedHub) -> Iterator[SimulatedHub]:
    class Handler(_Handler):
        world = hub

    server = _Server(("127.0.0.1", 0), Handler)
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serve_commands(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimulatedHub]:
    """A Hub with one model, for commands in this process, with nothing kept yet."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "PEDIGREE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    model = made_models.write(folder / "m", made_models.llama(5))
    with serve(SimulatedHub()) as served:
        served.commit({path.name: path.read_bytes() for path in model.iterdir()})
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
        yield served


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up: it is what many tests make them do."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    world: SimulatedHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or answers wait 40 ms for the client's word

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        host = headers.get("host", "").partition(":")[0]
        self.world.asked.append(Asked(self.path, host, headers))
        fault = self.world.fault_for(self.path) or Fault("")
        time.sleep(fault.delay_s)
        if fault.status:
            self.answer(fault.status, fault.body, fault.headers)
            return
        parts = urlsplit(self.path)
        steps = unquote(parts.path).strip("/").split("/")
        wanted = f"Bearer {self.world.token}" if self.world.token else None
        if wanted and steps[0] != "cdn" and headers.get("authorization") != wanted:
            self.answer(401, b"", {"X-Error-Code": "RepoNotFound"})
            return
        if steps[:2] == ["api", "models"]:
            self.api(steps[2:], parse_qs(parts.query))
        elif steps[0] == "cdn":
            self.store(steps[1], "/".join(steps[2:]), parts.query, fault)
        elif steps[2:3] == ["resolve"]:
            self.resolve(steps[3], "/".join(steps[4:]), fault)
        else:
            self.answer(404, b"", {})

    def api(self, steps: list[str], query: dict[str, list[str]]) -> None:
        kind = steps[2] if len(steps) > 2 else "info"
        name = "/".join(steps[3:]) if len(steps) > 3 else "main"
        commit = self.world.branches.get(name, name)
        if "/".join(steps[:2]) != "org/model":
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif commit not in self.world.commits:
            self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif kind == "tree":
            self.tree(commit, int(query.get("cursor", ["0"])[0]))
        else:
            self.answer(200, json.dumps({"id": "org/model", "sha": commit}).encode())

    def tree(self, commit: str, cursor: int) -> None:
        files = self.world.commits[commit]
        rows: list[dict[str, object]] = [{"type": "directory", "path": "sub"}]
        for path, content in sorted(files.items()):
            row: dict[str, object] = {
                "type": "file",
                "path": path,
                "size": len(content),
                "oid": hashlib.sha1(content).hexdigest(),
            }
            if len(content) >= LARGE_BYTES:
                row["lfs"] = {
                    "oid": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                    "pointerSize": 130,
                }
            rows.append(row)
        end = cursor + self.world.page
        headers = {}
        if end < len(rows):
            base = self.world.next_page_base or self.world.endpoint
            link = f"{base}/api/models/org/model/tree/{commit}?cursor={end}"
            headers["Link"] = f'<{link}>; rel="next"'
        self.answer(200, json.dumps(rows[cursor:end]).encode(), headers)

    def resolve(self, commit: str, path: str, fault: Fault) -> None:
        content = self.world.commits.get(commit, {}).get(path)
        extra = {"X-Repo-Commit": commit}
        if content is None:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif len(content) >= LARGE_BYTES:
            store = f"http://localhost:{self.world.port}/cdn/{commit}/{path}"
            location = f"{store}?signature={self.world.signature}"
            self.answer(302, b"", {**extra, "Location": location})
        else:
            self.ranged(content, fault, extra)

    def store(self, commit: str, path: str, query: str, fault: Fault) -> None:
        if query != f"signature={self.world.signature}":
            self.answer(403, b"expired")
            return
        self.ranged(self.world.commits[commit][path], fault, {})

    def ranged(self, content: bytes, fault: Fault, extra: Mapping[str, str]) -> None:
        asked = self.headers.get("Range")
        status, headers = 200, dict(extra)
        if asked and not fault.ignore_range:
            first, last = (
                int(part) for part in asked.removeprefix("bytes=").split("-")
            )
            total = len(content)
            content = content[first : last + 1]
            shown = f"{first + fault.shift}-{last + fault.shift}"
            status, headers["Content-Range"] = 206, f"bytes {shown}/{total}"
        self.answer(status, content, headers, fault)

    def answer(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        fault: Fault | None = None,
    ) -> None:
        fault = fault or Fault("")
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if fault.cut is not None:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        body = body if fault.cut is None else body[: fault.cut]
        try:
            if fault.drip_s:
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(fault.drip_s)
            else:
                self.wfile.write(body)
        except OSError:
            self.close_connection = True
