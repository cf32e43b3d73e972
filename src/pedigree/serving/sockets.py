# SPDX-License-Identifier: Apache-2.0
"""Listening sockets that exist, with their ports, before anything is served."""

from __future__ import annotations

import ipaddress
import json
import socket
from pathlib import Path

from pedigree.errors import ConfigError, quote

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Its protocol is named: asyncio turns Nagle's algorithm off only where it is, and
    else every answer, written as head and body, waits 40 ms for a delayed ACK.

    Raises:
        ConfigError: The address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {quote(host)} port {port}: {error}",
            hint="check PEDIGREE_HOST, PEDIGREE_PORT and PEDIGREE_METRICS_PORT",
        ) from error
    return listener


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as nobody else can reach or answer it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def port_of(listener: socket.socket) -> int:
    """The port that a socket was given."""
    port: int = listener.getsockname()[1]
    return port


def write_ports(file: Path | None, **ports: int) -> None:
    """Say which ports were taken, in one step, so that no reader sees half of it.

    Args:
        file: Where to write ``{name: port}`` as JSON; None writes nothing.
        ports: The ports, by name.
    """
    if file is None:
        return
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(ports), encoding="utf-8")
    partial.replace(file)
