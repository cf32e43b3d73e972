# SPDX-License-Identifier: Apache-2.0
"""Serves ``/metrics``, ``/healthz`` and ``/readyz`` over plain HTTP.

It runs in the event loop that does the work, so that a loop which is stuck does not
answer, and the kubelet restarts the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from pedigree.serving.sockets import write_ports

REQUEST_TIMEOUT_S = 10.0
_LINE_MAX_BYTES = 4096
_HEADERS_MAX = 100
_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class HealthServer:
    """The three endpoints.

    Args:
        metrics: Gives the metrics in the Prometheus text format.
        unready: Why the process is not ready; empty when it is.
    """

    def __init__(
        self, *, metrics: Callable[[], bytes], unready: Callable[[], str]
    ) -> None:
        self._metrics = metrics
        self._unready = unready
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int, port_file: Path | None = None) -> int:
        """Listen, and return the port.

        Args:
            host: Address.
            port: 0 lets the system choose.
            port_file: Where ``{"http": port}`` is written, if given.
        """
        self._server = await asyncio.start_server(
            self._answer, host, port, limit=_LINE_MAX_BYTES
        )
        chosen: int = self._server.sockets[0].getsockname()[1]
        write_ports(port_file, http=chosen)
        return chosen

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    def respond(self, method: str, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body for a request."""
        if method not in ("GET", "HEAD"):
            return 405, _TEXT, b"only GET is understood\n"
        match path.partition("?")[0]:
            case "/metrics":
                return 200, _METRICS, self._metrics()
            case "/healthz":
                return 200, _TEXT, b"ok\n"
            case "/readyz":
                why = self._unready()
                return (
                    (503, _TEXT, f"{why}\n".encode()) if why else (200, _TEXT, b"ok\n")
                )
        return 404, _TEXT, b"there are /metrics, /healthz and /readyz\n"

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                method, path = await _request(reader)
                status, content_type, body = self.respond(method, path)
                head = (
                    f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\n"
                    f"Content-Type: {content_type}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                writer.write(head.encode() + (b"" if method == "HEAD" else body))
                await writer.drain()
        except (TimeoutError, OSError, ValueError):
            pass  # whoever asked has gone, or did not speak HTTP
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> tuple[str, str]:
    """Method and path; headers are read and ignored.

    Raises:
        ValueError: It is not HTTP, or too long.
    """
    method, path, _ = (await reader.readline()).decode("ascii").split(" ", 2)
    for _ in range(_HEADERS_MAX):
        if (await reader.readline()) in (b"\r\n", b"\n", b""):
            return method, path
    raise ValueError("too many headers")
