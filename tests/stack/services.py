# SPDX-License-Identifier: Apache-2.0
"""The three services as processes of their own, each under its own ServiceAccount."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from controlplane.processes import Process
from scraped import get, sum_of

READY_TIMEOUT_S = 60.0  # about ten times what it takes on two idle cores
# What a child may inherit; everything else could change how a service behaves.
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")


@dataclass
class Service:
    """One service: its process, and where its plain HTTP port answers.

    Attributes:
        name: ``operator``, ``webhook`` or ``audit``.
        port: Plain HTTP: ``/metrics``, ``/healthz``, ``/readyz``.
        environment: Its own settings.
        log: Where it writes.
    """

    name: str
    port: int
    environment: Mapping[str, str]
    log: Path
    process: Process = field(init=False)

    def __post_init__(self) -> None:
        inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
        self.process = Process(
            self.name,
            [sys.executable, "-Im", f"pedigree_{self.name}"],
            log=self.log,
            env={**inherited, **self.environment},
            cwd=Path("/"),
        )

    def start(self) -> None:
        """Start it without waiting."""
        self.process.start()

    def wait_ready(self) -> None:
        """Wait until ``/readyz`` answers 200.

        Raises:
            ProcessError: It ended, or is not ready in time; with its log's tail.
        """
        self.process.wait_until(
            lambda: self.get("/readyz")[0] == HTTPStatus.OK,
            timeout_s=READY_TIMEOUT_S,
            wanted=f"answers 200 to /readyz (now: {self.get('/readyz')})",
        )

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait(timeout_s=10)

    def get(self, path: str) -> tuple[int, str]:
        """GET from the plain port; status 0 when nobody answers."""
        return get(self.port, path)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples whose labels agree; 0 if there are none."""
        status, text = self.get("/metrics")
        if status != HTTPStatus.OK:
            raise ConnectionError(f"{self.name} does not answer /metrics: {text}")
        return sum_of(text, name, **labels)
