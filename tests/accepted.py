# SPDX-License-Identifier: Apache-2.0
"""What a server does with the connections that it accepts."""

import asyncio
import socket
from typing import Any

import uvicorn

from pedigree.serving.sockets import listen


async def answer_nothing(scope: Any, receive: Any, send: Any) -> None:
    """The least application."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def sends_at_once(server: uvicorn.Server) -> bool:
    """Whether Nagle's algorithm is off for a connection that the server accepted."""

    async def run() -> int:
        listener = listen("127.0.0.1", 0)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        while not server.server_state.connections:
            await asyncio.sleep(0.01)
        [connection] = server.server_state.connections
        peer = connection.transport.get_extra_info("socket")
        option: int = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        server.should_exit = True
        await serving
        return option

    return asyncio.run(run()) == 1
