# SPDX-License-Identifier: Apache-2.0
import asyncio
import socket

import pytest

from controlplane.ports import Port


async def serve_and_ask(port: int) -> bytes:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"here")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        text = await reader.read()
        writer.close()
        await writer.wait_closed()
        return text


def test_a_server_listens_on_a_reserved_port_again_and_again() -> None:
    with Port() as port:
        for _ in range(3):
            assert asyncio.run(serve_and_ask(port.number)) == b"here"


def test_a_reserved_port_is_refused_to_everybody_who_did_not_ask_to_share() -> None:
    with (
        Port() as port,
        socket.socket() as other,
        pytest.raises(OSError, match="Address already in use"),
    ):
        other.bind(("127.0.0.1", port.number))


def test_reserved_ports_differ() -> None:
    ports = [Port() for _ in range(50)]
    numbers = {port.number for port in ports}
    for port in ports:
        port.release()
    assert len(numbers) == 50


def test_the_url_names_scheme_and_port() -> None:
    with Port() as port:
        assert port.url("https") == f"https://127.0.0.1:{port.number}"
