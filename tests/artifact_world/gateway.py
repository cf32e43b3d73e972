# SPDX-License-Identifier: Apache-2.0
"""An S3 server that others wrote, on this machine: the Versity gateway.

It keeps objects, entity tags and versions in a folder, and checks every signature.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from controlplane.ports import Port

KEY, SECRET = "AKIDMADEUP", "secret/made+up"
_START_S = 20.0


@contextmanager
def serve(program: Path, folder: Path) -> Iterator[str]:
    """Run the gateway on a folder until the end of the block; yields its address.

    Args:
        program: The gateway.
        folder: Empty; objects and its words go there.
    """
    for name in ("buckets", "attributes", "versions", "accounts"):
        (folder / name).mkdir()
    log = folder / "gateway.log"
    with Port() as port, log.open("wb") as out:
        process = subprocess.Popen(
            [str(program), str(folder), f"127.0.0.1:{port.number}"],
            env={"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET},
            stdout=out,
            stderr=out,
        )
        try:
            _wait(process, port.url("http"), log)
            yield port.url("http")
        finally:
            process.terminate()
            process.wait(_START_S)


def _wait(process: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    last = time.monotonic() + _START_S
    while not _answers(f"{endpoint}/health"):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < last, log.read_text()
        time.sleep(0.02)


def _answers(address: str) -> bool:
    try:
        urlopen(address, timeout=_START_S).close()
    except (URLError, ConnectionError):
        return False
    return True
