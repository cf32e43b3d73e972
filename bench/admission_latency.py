# SPDX-License-Identifier: Apache-2.0
"""Latency of ``POST /validate`` over TLS, beside a bare route of the same server.

One server process (the webhook's own routes, certificates and outbox; 1,000 evidences,
20 policies that all select the object) and one client process.  Three questions are
asked in turns, so that whatever else the machine does hits all alike:

``bare``      a route that reads the body and answers a constant
``dry_run``   a review that is decided and not recorded
``recorded``  a review that is decided and written to the outbox before the answer

``gate`` is the time inside the server for deciding alone, without HTTP, TLS and thread;
``gateFull`` is the same where every evidence has as many findings, claims and matches
as may be stored.

    python bench/admission_latency.py [--requests 2000] [--clients 1 8]
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import platform
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fastapi import Request, Response

from controlplane.certificates import make_ca, make_leaf
from pedigree import __version__
from pedigree.evidence import Claim, Finding, Severity
from pedigree.evidence.room import stored_bytes
from pedigree.evidence.stored import from_object, to_object
from pedigree.ledger.delivery import DeliveryStats
from pedigree.ledger.outbox import Outbox
from pedigree.serving.sockets import listen
from pedigree.serving.tls import ServingCertificate
from pedigree_webhook.app import webhook_app
from pedigree_webhook.decide import Settings
from pedigree_webhook.gate import Gate
from pedigree_webhook.metrics import Metrics
from pedigree_webhook.readiness import Readiness
from pedigree_webhook.service import http_server
from pedigree_webhook.store import Store, StoreKind
from webhook_world import evidence, model_deployment, namespace, policy, reference
from webhook_world.reviews import review

EVIDENCES = 1000
POLICIES = 20
WARM_UP = 100
QUESTIONS = ("bare", "dry_run", "recorded")
JSON = {"Content-Type": "application/json"}


def full(obj: dict[str, Any]) -> dict[str, Any]:
    """The same evidence with lists of which no more would be stored."""
    small = from_object(obj)
    lineage = small.lineage
    if lineage is None:
        raise ValueError("evidence without a judgement, wanted one")
    (match,) = lineage.matches
    others = (replace(match, reference=f"other-{number}") for number in range(100))
    note = "a note about one file, of about the length that notes usually have"
    large = replace(
        small,
        findings=tuple(
            Finding("Note", Severity.INFO, f"file-{number}", note)
            for number in range(100)
        ),
        claims=tuple(
            Claim("baseModel", f"organisation/model-{number}", "README.md")
            for number in range(100)
        ),
        lineage=replace(lineage, matches=(match, *others)),
    )
    made = to_object(large)
    made["metadata"]["resourceVersion"] = "1"
    return made


def fill(store: Store, *, large: bool = False) -> None:
    """1,000 examined models under 20 policies that all look at them."""
    store.replace(StoreKind.REFERENCE, [reference("llama-a"), reference("gpt2-a")])
    known = [evidence(f"model-{number}", "llama-a") for number in range(EVIDENCES)]
    store.replace(
        StoreKind.EVIDENCE, [full(each) for each in known] if large else known
    )
    policies = [policy(f"policy-{number}") for number in range(POLICIES)]
    store.replace(StoreKind.CLUSTER_POLICY, policies)
    store.replace(StoreKind.POLICY, [])
    store.replace(StoreKind.NAMESPACE, [namespace("team-a")])


def build(folder: Path, *, large: bool = False) -> tuple[Gate, Metrics, Store, Outbox]:
    """The webhook's parts, without an API server to watch."""
    store = Store()
    fill(store, large=large)
    outbox = Outbox(folder / "outbox.db", max_entries=10_000_000)
    stats = DeliveryStats(0, 0.0, 0, 0, 0, 0.0, "")
    metrics = Metrics(store, lambda: stats)
    gate = Gate(
        knowledge=store,
        sink=outbox,
        metrics=metrics,
        settings=Settings(max_age_s=86400),
        clock=lambda: datetime.now(UTC),
        timer=time.perf_counter,
    )
    return gate, metrics, store, outbox


def serve(folder: Path, port_file: Path) -> None:
    """The server process: the webhook's routes and a bare one."""
    gate, metrics, store, _outbox = build(folder)
    ready = Readiness(store, max_age_s=86400, watch_errors=dict, alive=lambda: True)
    app = webhook_app(gate, metrics, ready, max_review_bytes=3_145_728)

    @app.post("/bare")
    async def bare(request: Request) -> Response:
        await request.body()
        return Response(b'{"allowed":true}', media_type="application/json")

    certificate = ServingCertificate(folder / "tls.crt", folder / "tls.key")
    listener = listen("127.0.0.1", 0)
    port_file.write_text(str(listener.getsockname()[1]))
    asyncio.run(http_server(app, certificate).serve(sockets=[listener]))


def body(question: str, number: int) -> bytes:
    """One review, below 1 KiB; each has a uid of its own, as the outbox demands."""
    obj = model_deployment(f"model-{number % EVIDENCES}")
    asked = review("CREATE", obj, uid=str(uuid.uuid4()), dryRun=question != "recorded")
    return json.dumps(asked).encode()


class Client:
    """One connection, as an API server keeps it."""

    def __init__(self, port: int, ca_file: Path) -> None:
        context = ssl.create_default_context(cafile=str(ca_file))
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", port, context=context, timeout=30
        )
        self.times: dict[str, list[float]] = {question: [] for question in QUESTIONS}

    def ask(self, question: str, content: bytes) -> float:
        """Seconds from the request's first byte to the answer's last."""
        path = "/bare" if question == "bare" else "/validate"
        started = time.perf_counter()
        self._connection.request("POST", path, content, JSON)
        answer = self._connection.getresponse()
        text = answer.read()
        seconds = time.perf_counter() - started
        if answer.status != 200 or b'"allowed":true' not in text:
            raise RuntimeError(f"{question}: {answer.status} {text[:300]!r}")
        return seconds

    def run(self, requests: int) -> None:
        """Ask every question in turns."""
        for number in range(-WARM_UP, requests):
            for question in QUESTIONS:
                seconds = self.ask(question, body(question, number))
                if number >= 0:
                    self.times[question].append(seconds)


def measure(port: int, ca_file: Path, clients: int, requests: int) -> dict[str, Any]:
    """Latencies with some clients at once, ``requests`` of each question in all."""
    all_clients = [Client(port, ca_file) for _ in range(clients)]
    threads = [
        threading.Thread(target=client.run, args=(requests // clients,))
        for client in all_clients
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    return {
        "clients": clients,
        "seconds": round(seconds, 3),
        **{
            question: summary([t for c in all_clients for t in c.times[question]])
            for question in QUESTIONS
        },
    }


def measure_gate(folder: Path, requests: int, *, large: bool = False) -> dict[str, Any]:
    """Time to read, decide and render alone, in this process."""
    gate, *_, outbox = build(folder, large=large)
    times: dict[str, list[float]] = {"dry_run": [], "recorded": []}
    for number in range(-WARM_UP, requests):
        for question in times:
            content = body(question, number)
            started = time.perf_counter()
            gate.answer(content, "application/json")
            seconds = time.perf_counter() - started
            if number >= 0:
                times[question].append(seconds)
    outbox.close()
    return {question: summary(values) for question, values in times.items()}


def summary(seconds: list[float]) -> dict[str, float | int]:
    """Percentiles in milliseconds."""
    cuts = statistics.quantiles(seconds, n=1000)
    return {
        "requests": len(seconds),
        "p50Ms": round(cuts[499] * 1000, 3),
        "p95Ms": round(cuts[949] * 1000, 3),
        "p99Ms": round(cuts[989] * 1000, 3),
        "maxMs": round(max(seconds) * 1000, 3),
    }


def bench(clients: list[int], requests: int) -> dict[str, Any]:
    """Start the server, ask it, and say how long it took."""
    with tempfile.TemporaryDirectory(prefix="admission-latency-") as name:
        folder = Path(name)
        (folder / "server").mkdir()
        ca = make_ca()
        (folder / "ca.crt").write_bytes(ca.certificate_pem)
        make_leaf(ca, ip_addresses=["127.0.0.1"]).write(folder / "server", "tls")
        port_file = folder / "port"
        command = [sys.executable, __file__, "--serve", str(folder / "server")]
        server = subprocess.Popen([*command, str(port_file)])
        try:
            while not port_file.exists() or not port_file.read_text():
                if server.poll() is not None:
                    raise RuntimeError(f"the server ended with {server.returncode}")
                time.sleep(0.05)
            port = int(port_file.read_text())
            gate = measure_gate(folder, requests)
            (folder / "full").mkdir()
            gate_full = measure_gate(folder / "full", requests, large=True)
            over_tls = [
                measure(port, folder / "ca.crt", count, requests) for count in clients
            ]
        finally:
            server.terminate()
            server.wait(20)
    return {
        "schema": "pedigree.dev/bench-admission-latency/v1",
        "pedigree": __version__,
        "python": platform.python_version(),
        "cores": os.cpu_count() or 0,
        "load1m": round(os.getloadavg()[0], 1),
        "evidences": EVIDENCES,
        "policies": POLICIES,
        "reviewBytes": len(body("recorded", 0)),
        "evidenceBytes": stored_bytes(evidence("model-0", "llama-a")),
        "fullEvidenceBytes": stored_bytes(full(evidence("model-0", "llama-a"))),
        "gate": gate,
        "gateFull": gate_full,
        "overTls": over_tls,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--serve", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
    else:
        print(json.dumps(bench(options.clients, options.requests), indent=2))


if __name__ == "__main__":
    main()
