# SPDX-License-Identifier: Apache-2.0
"""Object stores that others wrote, on this machine.

S3 is the Versity gateway, which keeps objects, entity tags and versions in a folder
and checks every signature.  Google's is fake-gcs-server, which keeps them in memory,
asks nobody who it is, heeds no ``If-Match`` and gives lists in one page.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from controlplane.ports import Port

KEY, SECRET = "AKIDMADEUP", "secret/made+up"
_START_S = 20.0


@contextmanager
def serve(program: Path, folder: Path) -> Iterator[str]:
    """Run the S3 gateway on a folder until the end of the block; yields its address.

    Args:
        program: The gateway.
        folder: Empty; objects and its words go there.
    """
    for name in ("buckets", "attributes", "versions", "accounts"):
        (folder / name).mkdir()
    env = {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}
    with Port() as port:
        command = [str(program), str(folder), f"127.0.0.1:{port.number}"]
        with _running(command, env, f"{port.url('http')}/health", folder / "log"):
            yield port.url("http")


class Google:
    """A running store of Google's kind.

    Attributes:
        endpoint: Its base address.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def bucket(self, name: str, *, versioned: bool = False) -> None:
        told = {"name": name, "versioning": {"enabled": versioned}}
        self._ask("POST", "/storage/v1/b", json.dumps(told).encode())

    def put(self, bucket: str, name: str, content: bytes) -> None:
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={_part(name)}"
        self._ask("POST", path, content)

    def delete(self, bucket: str, name: str) -> None:
        self._ask("DELETE", f"/storage/v1/b/{bucket}/o/{_part(name)}")

    def _ask(self, method: str, path: str, body: bytes | None = None) -> None:
        kind = {"Content-Type": "application/octet-stream"}
        asked = Request(f"{self.endpoint}{path}", body, kind, method=method)
        urlopen(asked, timeout=_START_S).close()


def _part(name: str) -> str:
    return quote(name, safe="")


@contextmanager
def serve_google(program: Path, folder: Path) -> Iterator[Google]:
    """Run a store of Google's kind until the end of the block.

    Args:
        program: The server.
        folder: Its words go there.
    """
    with Port() as port:
        command = [str(program), "127.0.0.1", str(port.number)]
        health = f"{port.url('http')}/_internal/healthcheck"
        with _running(command, {}, health, folder / "log"):
            yield Google(port.url("http"))


@contextmanager
def _running(
    command: Sequence[str], env: Mapping[str, str], health: str, log: Path
) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    try:
        last = time.monotonic() + _START_S
        while not _answers(health):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < last, log.read_text()
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(_START_S)


def _answers(address: str) -> bool:
    try:
        urlopen(address, timeout=_START_S).close()
    except (URLError, ConnectionError):
        return False
    return True
