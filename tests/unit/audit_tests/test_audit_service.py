# SPDX-License-Identifier: Apache-2.0
"""The real service as a process of its own: killed, restarted, with producers alive."""

import json
import os
import random
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from accepted import answer_nothing, sends_at_once
from audit_world.entries import admission, judgement
from audit_world.service import Service
from pedigree.ledger.delivery import Deliverer
from pedigree.ledger.outbox import Outbox
from pedigree.ledger.reader import FileSource, ServiceSource, verify
from pedigree_audit.server import http_server

TESTS = Path(__file__).parents[2]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path) as service:
        yield service


def keys_in(service: Service) -> Counter[str]:
    records = FileSource(service.ledger).records()
    return Counter(record.to_dict()["entry"]["key"] for record in records)


def deliverer(service: Service, outbox: Outbox) -> Deliverer:
    return Deliverer(
        outbox,
        service.url,
        ca_file=service.ca_file,
        backoff_first_s=0.02,
        backoff_max_s=0.1,
    )


def test_decisions_made_while_the_service_is_dead_are_there_once_it_is_back(
    service: Service, tmp_path: Path
) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    delivery = deliverer(service, outbox)
    delivery.start()
    outbox.append(admission(1, decision="Allow"))
    assert delivery.flush(10)
    service.kill()
    denied = [admission(number, decision="Deny") for number in range(2, 40)]
    for entry in [*denied, judgement(1)]:
        outbox.append(entry)
    time.sleep(0.3)
    assert delivery.stats().depth == 39
    service.start()
    assert delivery.flush(20)
    delivery.stop()
    found = keys_in(service)
    assert found == Counter(
        entry["key"] for entry in [admission(1), *denied, judgement(1)]
    )
    items = service.get("/api/v1/verdicts?decision=Deny&limit=500").body["items"]
    assert len(items) == 38
    assert service.get("/api/v1/verify").body["ok"] is True
    outbox.close()


def test_killing_the_service_mid_batch_again_and_again_loses_and_doubles_nothing(
    service: Service, tmp_path: Path
) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    delivery = deliverer(service, outbox)
    delivery.start()
    appended = 0
    lucky = random.Random(5)
    for _ in range(6):
        for _ in range(150):
            outbox.append(admission(appended))
            appended += 1
        time.sleep(lucky.uniform(0.03, 0.12))  # some batches in, some on the way
        service.kill()
        report = verify(FileSource(service.ledger))
        assert report.ok, report.first_bad
        service.start()
    assert delivery.flush(60)
    delivery.stop()
    wanted = Counter(f"admission/request-{number}" for number in range(appended))
    assert keys_in(service) == wanted
    assert verify(ServiceSource(service.endpoint())).entries == appended
    outbox.close()


PRODUCER = """
    import os, sys
    from pathlib import Path
    from audit_world.entries import admission
    from pedigree.ledger.delivery import Deliverer
    from pedigree.ledger.outbox import Outbox

    folder, url, first = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    outbox = Outbox(folder / "outbox.db")
    Deliverer(outbox, url, ca_file=folder / "ca.crt", backoff_first_s=0.02).start()
    for number in range(first, first + 10_000):
        outbox.append(admission(number))
        os.write(1, f"{number}\\n".encode())
"""


def test_a_producer_killed_between_append_and_delivery_loses_nothing(
    service: Service,
) -> None:
    said: list[str] = []
    for round_number in range(4):
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                textwrap.dedent(PRODUCER),
                str(service.folder),
                service.url,
                str(round_number * 10_000),
            ],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        assert process.stdout is not None
        said.append(process.stdout.readline().decode().strip())
        time.sleep(0.1)
        process.kill()
        rest, _ = process.communicate()
        said += [line for line in rest.decode().split("\n")[:-1] if line]
    outbox = Outbox(service.folder / "outbox.db")
    delivery = deliverer(service, outbox)
    delivery.start()
    assert delivery.flush(60)
    delivery.stop()
    outbox.close()
    found = keys_in(service)
    assert {f"admission/request-{number}" for number in said} <= set(found)
    assert set(found.values()) == {1}
    assert len(said) > 20
    assert service.get("/api/v1/verify").body["ok"] is True


def test_many_producers_at_once_make_one_chain(service: Service) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 100, 10):
            batch = [admission(n) for n in range(number, number + 10)]
            assert service.post(batch).status == 200

    threads = [threading.Thread(target=work, args=(n,)) for n in (0, 0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = keys_in(service)
    assert len(found) == 300
    assert set(found.values()) == {1}
    assert service.get("/api/v1/verify").body["entries"] == 300


def test_told_to_stop_it_ends_cleanly_and_starts_again_where_it_was(
    service: Service,
) -> None:
    service.post([admission(1)])
    head = service.get("/api/v1/head").body
    assert service.stop() == 0
    service.start()
    assert service.get("/api/v1/head").body == head
    name = b'pedigree_ledger_entries_total{kind="Admission"} 1.0'
    url = f"http://127.0.0.1:{service.ports['http']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert name in answer.read()  # counts what the ledger holds


def test_a_second_service_on_the_same_ledger_says_why_it_does_not_start(
    service: Service,
) -> None:
    env = service.environment() | {"PEDIGREE_PORT": "0", "PEDIGREE_METRICS_PORT": "0"}
    env["PEDIGREE_PORT_FILE"] = ""
    result = subprocess.run(
        [sys.executable, "-m", "pedigree_audit"],
        env=env,
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert result.returncode == 3
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert lines[-1]["level"] == "error"
    assert "in use by another process" in lines[-1]["message"]


def test_wrong_settings_end_it_with_one_clear_line(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pedigree_audit"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert "PEDIGREE_TLS_CERT_FILE is not set" in json.loads(line)["message"]


def test_a_rotated_certificate_is_served_without_a_restart(service: Service) -> None:
    def served() -> str:
        context = ssl.create_default_context(cafile=str(service.ca_file))
        with (
            socket.create_connection(("127.0.0.1", service.ports["https"])) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            certificate = secure.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])

    before = served()
    service.write_certificate()
    deadline = time.monotonic() + 20
    while served() == before:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert service.post([admission(1)]).status == 200


def test_plain_http_and_old_tls_are_not_spoken_on_the_api_port(
    service: Service,
) -> None:
    with socket.create_connection(("127.0.0.1", service.ports["https"])) as plain:
        plain.sendall(b"GET /api/v1/head HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(10)
        try:
            answer = plain.recv(100)
        except ConnectionResetError:
            answer = b""
    assert b"200" not in answer
    assert service.get("/healthz").status == 200


def test_every_log_line_is_json(service: Service) -> None:
    service.post([{"kind": "nonsense\n"}])
    service.stop()
    lines = [json.loads(line) for line in service.log.splitlines()]
    assert {"time", "level", "component", "logger", "message"} <= set(lines[0])
    assert {line["component"] for line in lines} == {"audit"}
    assert any("kept out" in line["message"] for line in lines)


def test_answers_do_not_wait_for_a_delayed_acknowledgement() -> None:
    """asyncio turns Nagle off only for sockets that name their protocol."""
    assert sends_at_once(http_server(answer_nothing))
