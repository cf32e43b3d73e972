# SPDX-License-Identifier: Apache-2.0
import json
import socket
from pathlib import Path

import pytest

from pedigree.errors import ConfigError
from pedigree.serving.sockets import listen, port_of, write_ports


def test_a_listening_socket_names_its_protocol() -> None:
    """Else asyncio leaves Nagle's algorithm on, and every answer waits 40 ms."""
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_taken_port_is_a_wrong_start() -> None:
    with (
        listen("127.0.0.1", 0) as taken,
        pytest.raises(ConfigError, match=r"cannot listen on '127\.0\.0\.1' port"),
    ):
        listen("127.0.0.1", port_of(taken))


def test_the_ports_taken_are_written_by_name(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    with listen("127.0.0.1", 0) as listener:
        write_ports(file, https=port_of(listener), http=1)
        assert json.loads(file.read_text()) == {
            "https": listener.getsockname()[1],
            "http": 1,
        }
    assert list(tmp_path.iterdir()) == [file]


def test_without_a_file_no_ports_are_written() -> None:
    write_ports(None, http=1)
