# SPDX-License-Identifier: Apache-2.0
"""Two servers in one process: the API over TLS, probes and metrics in the clear."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn

CONCURRENCY_MAX = 256
"""Requests at once; more are answered 503, and producers come again."""
SHUTDOWN_GRACE_S = 5


class _Server(uvicorn.Server):
    """Leaves signals to :func:`serve`, which ends both servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    api: Any,
    probes: Any,
    context: ssl.SSLContext,
    *,
    https: socket.socket,
    http: socket.socket,
) -> None:
    """Serve both until SIGTERM or SIGINT, then let requests in progress finish."""
    servers = [
        http_server(api, ssl_context_factory=lambda *_: context),
        http_server(probes),
    ]

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(servers[0].serve(sockets=[https]))
        tasks.create_task(servers[1].serve(sockets=[http]))


def http_server(app: Any, **settings: Any) -> uvicorn.Server:
    """A server of one of the two ports; ``settings`` are uvicorn's own."""
    return _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="off",
            limit_concurrency=CONCURRENCY_MAX,
            timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
            **settings,
        )
    )
