# SPDX-License-Identifier: Apache-2.0
"""The process: its sockets, its logs, its exit codes."""

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from accepted import answer_nothing, sends_at_once
from controlplane.certificates import make_ca, make_leaf
from pedigree_webhook.service import http_server
from webhook_world.api_server import ApiServer

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "users": [{"name": "u", "user": {"token": "secret"}}],
}


def test_answers_do_not_wait_for_a_delayed_acknowledgement() -> None:
    """asyncio turns Nagle off only for sockets that name their protocol."""
    assert sends_at_once(http_server(answer_nothing))


def environment(folder: Path, url: str) -> dict[str, str]:
    ca = make_ca()
    (folder / "ca.crt").write_bytes(ca.certificate_pem)
    make_leaf(ca, ip_addresses=["127.0.0.1"]).write(folder, "tls")
    cluster = {"name": "c", "cluster": {"server": url}}
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(KUBECONFIG | {"clusters": [cluster]}))
    return {
        "PATH": os.environ["PATH"],
        "PEDIGREE_KUBECONFIG": str(kubeconfig),
        "PEDIGREE_DATA_DIR": str(folder),
        "PEDIGREE_HOST": "127.0.0.1",
        "PEDIGREE_PORT": "0",
        "PEDIGREE_METRICS_PORT": "0",
        "PEDIGREE_PORT_FILE": str(folder / "ports"),
        "PEDIGREE_TLS_CERT_FILE": str(folder / "tls.crt"),
        "PEDIGREE_TLS_KEY_FILE": str(folder / "tls.key"),
        "PEDIGREE_DRAIN_S": "0",
    }


@contextmanager
def running(folder: Path, url: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "pedigree_webhook"],
        env=environment(folder, url),
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def test_both_ports_are_told_served_and_given_up(tmp_path: Path) -> None:
    with ApiServer() as api, running(tmp_path, api.url) as process:
        while not (tmp_path / "ports").exists():
            assert process.poll() is None
            threading.Event().wait(0.05)
        ports = json.loads((tmp_path / "ports").read_text())
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        plain = f"http://127.0.0.1:{ports['http']}/healthz"
        secure = f"https://127.0.0.1:{ports['https']}/metrics"
        with urlopen(plain, timeout=10) as answer:
            assert json.load(answer) == {"ok": True, "reasons": []}
        with urlopen(secure, timeout=10, context=context) as answer:
            assert b"pedigree_build_info" in answer.read()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert process.returncode == 0
        lines = [json.loads(line) for line in log.splitlines()]
        assert lines[-1]["message"] == "ended"
        assert {line["component"] for line in lines} == {"webhook"}


def test_a_wrong_start_ends_with_two(tmp_path: Path) -> None:
    (tmp_path / "webhook-outbox.db").write_bytes(b"not a database" * 100)
    with running(tmp_path, "http://127.0.0.1:1") as process:
        _, log = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "webhook-outbox.db" in json.loads(log.splitlines()[-1])["message"]
