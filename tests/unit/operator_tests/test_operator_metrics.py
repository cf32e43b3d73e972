# SPDX-License-Identifier: Apache-2.0
"""Metrics: well formed, bounded; endpoints; settings."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from controlplane.binaries import ensure_promtool
from controlplane.errors import ControlPlaneError
from pedigree.errors import ConfigError
from pedigree.policy.verdict import Action, Reason, Result
from pedigree.ranges import Usage
from pedigree.refs import Scheme
from pedigree_operator.config import Config
from pedigree_operator.health import HealthServer
from pedigree_operator.kinds import Kind
from pedigree_operator.metrics import ERRORS, OUTCOMES, Metrics, Readings

SERIES_MAX = 500
USAGE = Usage(
    requests=9, requests_limited=2, requests_failed=3, bytes_read=50, bytes_kept=7
)


def full() -> Metrics:
    """Metrics with every label value there can be."""
    metrics = Metrics()
    for result in Result:
        for reason in Reason:
            metrics.verdict(result, reason)
    for outcome in OUTCOMES:
        metrics.examined(outcome)
    for scheme in Scheme:
        metrics.fingerprinted(scheme, 1.0, 10)
        metrics.read_from(scheme, USAGE)
    for kind in Kind:
        metrics.reconciled(kind, 0.1)
    for error in ERRORS:
        metrics.failed(error)

    def read() -> Readings:
        readings = Readings()
        readings.gauges["pedigree_queue_depth"] = ("Objects that wait.", 3)
        readings.counters["pedigree_outbox_delivered"] = ("Entries delivered.", 2)
        readings.deployments = {"Pass": 4, "nonsense": 1}
        return readings

    metrics.collect_from(read)
    return metrics


def samples(text: bytes) -> list[str]:
    return [line for line in text.decode().splitlines() if not line.startswith("#")]


def test_all_label_values_together_stay_below_the_bound() -> None:
    assert len(samples(full().text())) <= SERIES_MAX


def test_requests_are_counted_once_by_what_became_of_them() -> None:
    shown = samples(full().text())
    for outcome, count in (("answered", 4), ("limited", 2), ("failed", 3)):
        labels = f'outcome="{outcome}",source="hf"'
        assert f"pedigree_source_requests_total{{{labels}}} {count}.0" in shown
    for origin, size in (("source", 50), ("cache", 7)):
        labels = f'origin="{origin}",source="hf"'
        assert f"pedigree_source_bytes_total{{{labels}}} {size}.0" in shown


def test_an_unexpected_label_value_makes_no_new_series() -> None:
    metrics = full()
    before = len(samples(metrics.text()))
    metrics.examined("surprising")
    metrics.failed("surprising")
    with pytest.raises(ValueError, match="surprising"):
        metrics.verdict("surprising", "LineageVerified")
    assert len(samples(metrics.text())) == before
    assert b"nonsense" not in metrics.text()


def test_promtool_finds_nothing_to_complain_about() -> None:
    try:
        promtool = ensure_promtool()
    except ControlPlaneError as error:
        pytest.skip(f"no promtool: {error}")
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=full().text(),
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stderr == b""


def test_health_answers_over_http(tmp_path: Path) -> None:
    why = "not synced"
    server = HealthServer(metrics=lambda: b"m 1\n", unready=lambda: why)

    async def ask(port: int, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer

    async def run() -> None:
        nonlocal why
        file = tmp_path / "port.json"
        port = await server.start("127.0.0.1", 0, file)
        assert json.loads(file.read_text()) == {"http": port}
        line = b" HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await ask(port, b"GET /metrics" + line)).endswith(b"\r\n\r\nm 1\n")
        assert b" 200 " in await ask(port, b"GET /healthz" + line)
        assert b"not synced" in await ask(port, b"GET /readyz" + line)
        why = ""
        assert b" 200 " in await ask(port, b"GET /readyz" + line)
        assert b" 405 " in await ask(port, b"POST /readyz" + line)
        assert b" 404 " in await ask(port, b"GET /other" + line)
        assert await ask(port, b"nonsense\r\n\r\n") == b""
        assert await ask(port, b"x" * 100_000) == b""
        await server.stop()

    asyncio.run(run())


def test_settings_have_defaults_and_are_read() -> None:
    assert Config.from_env({}) == Config()
    config = Config.from_env(
        {
            "KUBECONFIG": "/k",
            "PEDIGREE_DATA_DIR": "/d",
            "PEDIGREE_AUDIT_URL": "https://audit/",
            "PEDIGREE_NO_MATCH": "Allow",
            "PEDIGREE_FILE_ROOTS": "/a:/b",
            "PEDIGREE_PRIVATE_HOSTS": "minio.models:9000, registry.local",
            "PEDIGREE_EXAMINE_DEADLINE_S": "1.5",
            "PEDIGREE_METRICS_PORT": "0",
        }
    )
    assert config.kubeconfig == Path("/k")
    assert config.store_dir == Path("/d/store")
    assert config.audit_url == "https://audit"
    assert config.no_match is Action.ALLOW
    assert config.file_roots == (Path("/a"), Path("/b"))
    assert config.private_hosts == ("minio.models:9000", "registry.local")
    assert config.examine_deadline_s == 1.5
    assert config.metrics_port == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PEDIGREE_NO_MATCH", "Maybe"),
        ("PEDIGREE_METRICS_PORT", "-1"),
        ("PEDIGREE_METRICS_PORT", "eighty"),
        ("PEDIGREE_METRICS_PORT", "65536"),
        ("PEDIGREE_EXAMINE_CONCURRENCY", "0"),
        ("PEDIGREE_EXAMINE_DEADLINE_S", "nan"),
        ("PEDIGREE_RESYNC_S", "0"),
        ("PEDIGREE_FILE_ROOTS", "models"),
        ("PEDIGREE_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Config.from_env({name: value})
