# SPDX-License-Identifier: Apache-2.0
"""TCP ports on 127.0.0.1 that stay ours between choosing and listening.

A port that is found by binding port 0 and closing again can be taken by anyone before
the server that it is meant for listens. A ``Port`` therefore stays bound, with
SO_REUSEADDR and without listening: Linux then lets a server that sets SO_REUSEADDR too
(Go's, asyncio's and uvicorn's do) listen on it, but gives it to nobody who asks for any
free port. The server may end and be started again on the same port meanwhile.
"""

import socket
from types import TracebackType
from typing import Self


class Port:
    """A reserved port; free again after ``release``."""

    def __init__(self) -> None:
        """Reserve a free port on 127.0.0.1."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def url(self, scheme: str) -> str:
        """Where a server on this port is reached, without a slash at the end."""
        return f"{scheme}://127.0.0.1:{self.number}"

    def release(self) -> None:
        """Give the port up; a second call does nothing."""
        self._socket.close()

    def __enter__(self) -> Self:
        """Keep it reserved inside the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release it."""
        self.release()
