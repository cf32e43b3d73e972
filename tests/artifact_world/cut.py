# SPDX-License-Identifier: Apache-2.0
"""A network between a client and a server of this machine, that dies at a byte.

Passes bytes on both ways and writes down what was asked and what arrived whole.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)")
_PART = re.compile(rb"(?im)^content-range: *bytes (\d+)-(\d+)/")
_RANGE = re.compile(rb"(?im)^range: *bytes=(\d+)-(\d+)")


@dataclass
class _Talk:
    """What was said on one connection."""

    asked: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)


@dataclass
class Network:
    """Bytes to the server's client, until there were ``budget`` of them.

    Attributes:
        port: Where the client asks.
        budget: Bytes of answers that still pass; None for no end.
        passed: Bytes of answers that passed.
    """

    port: int = 0
    budget: int | None = None
    passed: int = 0
    talks: list[_Talk] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def allow(self, wanted: int) -> int:
        """How many of some bytes pass."""
        with self.lock:
            if self.budget is not None:
                wanted = min(wanted, self.budget)
                self.budget -= wanted
            self.passed += wanted
            return wanted

    @property
    def dead(self) -> bool:
        return self.budget == 0

    def heal(self) -> None:
        """Begin anew, with no connection and nothing written down."""
        with self.lock:
            self.budget, self.passed, self.talks = None, 0, []
            old, self.sockets = self.sockets, []
        for each in old:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def exchanges(self) -> list[tuple[str, tuple[int, int] | None, bool]]:
        """Path, bytes asked for, and whether the answer arrived whole, of each."""
        return [row for talk in self.talks for row in _rows(talk)]


def _rows(talk: _Talk) -> Iterator[tuple[str, tuple[int, int] | None, bool]]:
    answers = bytes(talk.answered)
    for request in bytes(talk.asked).split(b"\r\n\r\n")[:-1]:
        path = request.split(b" ", 2)[1].decode().partition("?")[0]
        found = _RANGE.search(request)
        asked = (int(found[1]), int(found[2])) if found else None
        head, end, rest = answers.partition(b"\r\n\r\n")
        length, part = _LENGTH.search(head), _PART.search(head)
        # Where nothing says how long it is, nobody can say whether it is whole.
        size = int(part[2]) + 1 - int(part[1]) if part else len(rest) + 1
        size = int(length[1]) if length else size
        whole = bool(end) and len(rest) >= size
        yield path, asked, whole and head.split()[1] in (b"200", b"206")
        answers = rest[size:]


@contextmanager
def between(server_port: int) -> Iterator[Network]:
    """A network in front of a server of this machine."""
    network = Network()
    listener = socket.create_server(("127.0.0.1", 0))
    network.port = listener.getsockname()[1]

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if network.dead:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", server_port))
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                network.sockets.append(each)
            talk = _Talk()
            network.talks.append(talk)
            for pump in (_upwards, _downwards):
                given = (network, talk, client, server)
                threading.Thread(target=pump, args=given, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield network
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        network.heal()


def _upwards(
    network: Network, talk: _Talk, client: socket.socket, server: socket.socket
) -> None:
    with suppress(OSError):
        while data := client.recv(65536):
            talk.asked += data
            if network.dead:
                client.shutdown(socket.SHUT_WR)
                break
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)


def _downwards(
    network: Network, talk: _Talk, client: socket.socket, server: socket.socket
) -> None:
    with suppress(OSError):
        while data := server.recv(65536):
            passing = network.allow(len(data))
            talk.answered += data[:passing]
            client.sendall(data[:passing])
            if passing < len(data) or network.dead:
                break
    with suppress(OSError):
        client.shutdown(socket.SHUT_WR)
