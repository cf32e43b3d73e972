# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the API server that can misbehave on purpose.

It lists in pages, watches from a version, ends watches, forgets old versions, forbids,
breaks off and falls silent: what a real one does rarely and never when asked.
"""

import json
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that goes away in the middle of a watch is nothing to report."""
        if not isinstance(sys.exception(), ConnectionError):
            raise


@dataclass
class ApiServer:
    """Serves one kind of object at every path.

    Attributes:
        objects: By name.
        version: Of the newest change.
        oldest: Watches from before this version are refused with 410.
        page: Most objects in one page of a list.
        status: What every request is answered with instead of 200.
        cut: Whether watches break off in the middle of an event.
        silent: Whether watches say nothing and never end.
        bookmarks: Whether watches send one before they end.
        requests: The queries seen, without paths.
    """

    objects: dict[str, Object] = field(default_factory=dict)
    version: int = 1
    oldest: int = 0
    page: int = 2
    status: int = 200
    cut: bool = False
    silent: bool = False
    bookmarks: bool = True
    requests: list[dict[str, str]] = field(default_factory=list)
    _events: list[tuple[int, str, Object]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    def __post_init__(self) -> None:
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                world.answer(self, {key: value[0] for key, value in query.items()})

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def put(self, obj: Object) -> None:
        """Add or change an object."""
        name = obj["metadata"]["name"]
        self._change("MODIFIED" if name in self.objects else "ADDED", obj)
        self.objects[name] = obj

    def remove(self, name: str) -> None:
        """Delete an object."""
        self._change("DELETED", self.objects.pop(name))

    def forget(self) -> None:
        """Compact: no watch may start from here or before."""
        self.version += 1
        self.oldest = self.version
        self._events.clear()

    def _change(self, kind: str, obj: Object) -> None:
        with self._changed:
            self.version += 1
            obj["metadata"]["resourceVersion"] = str(self.version)
            self._events.append((self.version, kind, obj))
            self._changed.notify_all()

    def answer(self, handler: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        """Answer one request."""
        self.requests.append(query)
        if self.status != 200:
            message = f"answer {self.status} on purpose"
            self._send(handler, self.status, {"kind": "Status", "message": message})
        elif "watch" in query:
            self._watch(handler, query)
        else:
            self._list(handler, query)

    def _list(self, handler: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        start = int(query.get("continue", 0))
        items = list(self.objects.values())[start : start + self.page]
        metadata = {"resourceVersion": str(self.version)}
        if start + self.page < len(self.objects):
            metadata["continue"] = str(start + self.page)
        self._send(handler, 200, {"metadata": metadata, "items": items})

    def _watch(self, handler: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        seen = int(query["resourceVersion"])
        deadline = time.monotonic() + int(query["timeoutSeconds"])
        if seen < self.oldest:
            gone = {"kind": "Status", "code": 410, "message": "too old"}
            self._event(handler, "ERROR", gone)
        while seen >= self.oldest:
            with self._changed:
                left = deadline - time.monotonic()
                if (left <= 0 and not self.silent) or self._ended:
                    break
                self._changed.wait(max(0.01, left))
                fresh = [event for event in self._events if event[0] > seen]
            for version, kind, obj in [] if self.silent else fresh:
                self._event(handler, kind, obj)
                seen = version
                if self.cut:
                    handler.wfile.write(b'20\r\n{"type":"ADD')
                    handler.close_connection = True
                    return
        else:
            self._end(handler)
            return
        if self.bookmarks and not self.silent:
            metadata = {"resourceVersion": str(self.version)}
            self._event(handler, "BOOKMARK", {"metadata": metadata})
        self._end(handler)

    def _event(self, handler: BaseHTTPRequestHandler, kind: str, obj: Object) -> None:
        line = json.dumps({"type": kind, "object": obj}).encode() + b"\n"
        # In two chunks: lines and chunks are different things.
        for part in (line[:7], line[7:]):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.flush()

    def _end(self, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"0\r\n\r\n")

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: Object) -> None:
        content = json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
