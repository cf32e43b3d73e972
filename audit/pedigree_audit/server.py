# SPDX-License-Identifier: Apache-2.0
"""Two servers in one process: the API over TLS, probes and metrics in the clear."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from pedigree.errors import ConfigError

BACKLOG = 2048
CONCURRENCY_MAX = 256
"""Requests at once; more are answered 503, and producers come again."""
SHUTDOWN_GRACE_S = 5


class _Server(uvicorn.Server):
    """Leaves signals to :func:`serve`, which ends both servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        ConfigError: The address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error}",
            hint="check PEDIGREE_HOST, PEDIGREE_PORT and PEDIGREE_METRICS_PORT",
        ) from error
    return listener


def write_ports(file: Path, https: socket.socket, http: socket.socket) -> None:
    """Say which ports were taken, in one step, so that no reader sees half of it."""
    ports = {"https": https.getsockname()[1], "http": http.getsockname()[1]}
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(ports), encoding="ascii")
    os.replace(partial, file)  # noqa: PTH105 - says that it replaces


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
        _Server(_config(api, ssl_context_factory=lambda *_: context)),
        _Server(_config(probes)),
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


def _config(app: Any, **settings: Any) -> uvicorn.Config:
    return uvicorn.Config(
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
