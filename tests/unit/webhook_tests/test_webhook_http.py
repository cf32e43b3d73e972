# SPDX-License-Identifier: Apache-2.0
"""The routes, asked over HTTP without a network."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import pytest
from starlette.testclient import TestClient

from pedigree_webhook.app import probes_app, webhook_app
from pedigree_webhook.readiness import Readiness
from pedigree_webhook.store import StoreKind
from webhook_world import World, model_deployment, review, review_body, world

MAX_BYTES = 100_000


def readiness(it: World, **options: Any) -> Readiness:
    given = {"watch_errors": dict, "alive": lambda: True, **options}
    return Readiness(it.store, max_age_s=120, **given)


def client(it: World, ready: Readiness | None = None) -> TestClient:
    app = webhook_app(
        it.gate, it.metrics, ready or readiness(it), max_review_bytes=MAX_BYTES
    )
    return TestClient(app)


def test_a_question_gets_an_admission_review() -> None:
    response = client(world()).post(
        "/validate?timeout=5s", json=review("CREATE", model_deployment("bad"))
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["response"]["status"]["reason"] == "LineageDenied"


def test_a_review_of_five_megabytes_is_refused_by_its_announcement() -> None:
    it = world()
    body = b'{"x":"' + b"a" * 5_000_000 + b'"}'
    response = client(it).post(
        "/validate", content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code == 413
    assert response.json()["reason"] == "RequestEntityTooLarge"
    assert "allowed are 100000" in response.json()["message"]
    assert it.sample("pedigree_admission_bad_calls_total", code="413") == 1


def test_a_long_body_of_unannounced_length_is_refused_while_it_comes() -> None:
    sent = 0

    def parts() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 10_000
            yield b"a" * 10_000

    response = client(world()).post(
        "/validate", content=parts(), headers={"content-type": "application/json"}
    )
    assert response.status_code == 413


def test_the_longest_allowed_body_is_read() -> None:
    body = review_body("CREATE", model_deployment("good"))
    body += b" " * (MAX_BYTES - len(body))
    headers = {"content-type": "application/json"}
    assert client(world()).post("/validate", content=body, headers=headers).is_success
    longer = client(world()).post("/validate", content=body + b" ", headers=headers)
    assert longer.status_code == 413


def test_what_is_no_json_is_refused_with_a_status_object() -> None:
    response = client(world()).post(
        "/validate", content=b"?", headers={"content-type": "application/json"}
    )
    assert response.status_code == 400
    assert response.json()["kind"] == "Status"
    assert "not JSON" in response.json()["message"]


def test_only_post_is_answered() -> None:
    assert client(world()).get("/validate").status_code == 405
    assert client(world()).get("/docs").status_code == 404
    assert client(world()).get("/openapi.json").status_code == 404


def test_the_plain_port_does_not_answer_admission() -> None:
    it = world()
    app = TestClient(probes_app(it.metrics, readiness(it)))
    assert app.post("/validate").status_code == 404
    assert app.get("/readyz").status_code == 200


def test_it_is_not_ready_until_every_kind_was_read() -> None:
    it = world(synced=False)
    it.store.replace(StoreKind.EVIDENCE, [])
    response = client(it).get("/readyz")
    assert response.status_code == 503
    reasons = response.json()["reasons"]
    assert "LineagePolicy: not read yet" in reasons
    assert len(reasons) == len(StoreKind) - 1
    for kind in StoreKind:
        it.store.replace(kind, [])
    assert client(it).get("/readyz").status_code == 200


def test_it_is_not_ready_while_its_view_is_too_old() -> None:
    it = world()
    it.clock.monotonic_s += 121
    for kind in StoreKind:
        if kind is not StoreKind.REFERENCE:
            it.store.confirm(kind)
    response = client(it).get("/readyz")
    assert response.status_code == 503
    [reason] = response.json()["reasons"]
    assert reason == "ReferenceModel: last confirmed 121 s ago, allowed are 120 s"


def test_what_keeps_it_from_being_ready_is_said() -> None:
    it = world(synced=False)
    errors = {StoreKind.EVIDENCE: "forbidden: grant list and watch"}
    ready = readiness(it, watch_errors=lambda: errors)
    reasons = client(it, ready).get("/readyz").json()["reasons"]
    assert "ModelEvidence: not read yet: forbidden: grant list and watch" in reasons


def test_a_dead_watch_asks_for_a_restart() -> None:
    it = world()
    response = client(it, readiness(it, alive=lambda: False)).get("/healthz")
    assert response.status_code == 503
    assert client(it).get("/healthz").status_code == 200


def test_a_process_that_ends_is_not_ready_but_answers_and_closes() -> None:
    it = world()
    ready = readiness(it)
    ready.drain()
    ending = client(it, ready)
    assert ending.get("/readyz").status_code == 503
    response = ending.post("/validate", json=review("CREATE", model_deployment("good")))
    assert response.json()["response"]["allowed"] is True
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
def test_probes_answer_while_the_outbox_waits_for_the_disk(path: str) -> None:
    it = world()
    entered, let_go = threading.Event(), threading.Event()

    def slow(_entry: object) -> bool:
        entered.set()
        return let_go.wait(20)

    app = client(it)
    with (
        patch.object(it.sink, "append", slow),
        app,
        ThreadPoolExecutor() as threads,
    ):
        asked = review("CREATE", model_deployment("good"))
        waiting = threads.submit(app.post, "/validate", json=asked)
        assert entered.wait(10)
        started = time.monotonic()
        assert app.get(path).status_code == 200
        assert time.monotonic() - started < 5
        assert not waiting.done()
        let_go.set()
        assert waiting.result(10).status_code == 200


def test_metrics_are_served_as_text() -> None:
    response = client(world()).get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "pedigree_build_info" in response.text


def test_probe_answers_are_json() -> None:
    body = client(world()).get("/readyz").content
    assert json.loads(body) == {"ok": True, "reasons": []}
