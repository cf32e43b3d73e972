# SPDX-License-Identifier: Apache-2.0
"""The real audit service as a process of its own, that can be killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.certificates import make_ca, make_leaf
from pedigree.ledger.transport import Answer, Connection, Endpoint

START_TIMEOUT_S = 30.0


class Service:
    """``python -m pedigree_audit`` on a folder; its port stays the same when killed."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        self.ca_file = folder / "ca.crt"
        self.ca = make_ca()
        self.ca_file.write_bytes(self.ca.certificate_pem)
        self.write_certificate()
        self.ports: dict[str, int] = {"https": 0, "http": 0}
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "audit.log"

    def write_certificate(self) -> None:
        leaf = make_leaf(self.ca, dns_names=["localhost"], ip_addresses=["127.0.0.1"])
        leaf.write(self.folder, "serving")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.ports['https']}"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def environment(self) -> dict[str, str]:
        return {
            **_without_coverage(os.environ),
            "PEDIGREE_TLS_CERT_FILE": str(self.folder / "serving.crt"),
            "PEDIGREE_TLS_KEY_FILE": str(self.folder / "serving.key"),
            "PEDIGREE_TLS_CA_FILE": str(self.ca_file),
            "PEDIGREE_DATA_DIR": str(self.folder),
            "PEDIGREE_AUDIT_AUTH": "none",
            "PEDIGREE_HOST": "127.0.0.1",
            "PEDIGREE_PORT": str(self.ports["https"]),
            "PEDIGREE_METRICS_PORT": str(self.ports["http"]),
            "PEDIGREE_PORT_FILE": str(self.folder / "ports.json"),
            **self._env,
        }

    def start(self) -> "Service":
        port_file = self.folder / "ports.json"
        port_file.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pedigree_audit"],
                env=self.environment(),
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (port_file.exists() and self._answers(port_file)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the audit service does not start:\n{self.log}")
            time.sleep(0.02)
        return self

    def _answers(self, port_file: Path) -> bool:
        self.ports = json.loads(port_file.read_text())
        try:
            return self.get("/readyz").status == 200
        except Exception:
            return False

    def kill(self) -> None:
        """End it at once, as the kernel does when memory is short."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it as Kubernetes does, and return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(20)
        self._process = None
        return code

    def endpoint(self, token_file: Path | None = None) -> Endpoint:
        return Endpoint(self.url, token_file, self.ca_file, timeout_s=10.0)

    def get(self, path: str, token_file: Path | None = None) -> Answer:
        with Connection(self.endpoint(token_file)) as connection:
            return connection.request("GET", path)

    def post(self, entries: list[Any], token_file: Path | None = None) -> Answer:
        body = json.dumps({"entries": entries}).encode()
        with Connection(self.endpoint(token_file)) as connection:
            return connection.request("POST", "/api/v1/entries", body)

    def __enter__(self) -> "Service":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


def _without_coverage(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if not name.startswith("COV_")}
