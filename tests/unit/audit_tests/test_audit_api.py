# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.testclient import TestClient

from audit_world.entries import admission, entries, json_values, judgement
from controlplane.promtool import ensure_promtool
from pedigree.errors import LedgerError
from pedigree.ledger.chain import record_from_dict
from pedigree_audit import query, schema
from pedigree_audit.access import AccessDenied
from pedigree_audit.app import create_app, create_probe_app
from pedigree_audit.ledger import Ledger
from pedigree_audit.metrics import Metrics
from pedigree_audit.schema import BODY_MAX_BYTES

SERIES_MAX = 40
"""Of the audit service; a number that grows with use would pass it."""


class ListedAccess:
    """Lets in the listed pairs of token and path, as the API server would."""

    def __init__(self, *allowed: tuple[str, str]) -> None:
        self.allowed = set(allowed)
        self.asked: list[tuple[str, str, str]] = []

    def authorize(self, token: str, path: str, verb: str) -> str:
        self.asked.append((token, path, verb))
        if not token:
            raise AccessDenied(401, "TokenMissing", "no bearer token was sent")
        if (token, path) not in self.allowed:
            raise AccessDenied(403, "AccessForbidden", "no")
        return f"user-of-{token}"


class World:
    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder / "ledger.db")
        self.metrics = Metrics(
            size_bytes=self.ledger.size_bytes,
            entries={},
            expiries={"serving": 1.0, "ca": 2.0},
        )
        self.access = ListedAccess(
            ("producer", "/api/v1/entries"),
            ("reader", "/api/v1/verdicts"),
            ("auditor", "/api/v1/verify"),
            ("auditor", "/api/v1/verdicts"),
        )
        self.app = create_app(self.ledger, self.access, self.metrics)
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def get(self, path: str, token: str = "auditor") -> Any:
        return self.client.get(path, headers={"Authorization": f"Bearer {token}"})

    def post(self, body: bytes | dict[str, Any], token: str = "producer") -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(
            "/api/v1/entries",
            content=content,
            headers={"Authorization": f"Bearer {token}"},
        )

    def samples(self) -> dict[str, float]:
        lines = self.metrics.render().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.ledger.close()


def test_entries_are_answered_one_by_one_and_attributed_to_their_sender(
    world: World,
) -> None:
    world.post({"entries": [admission(1)]})
    forged = admission(1, decision="Allow")
    answer = world.post({"entries": [admission(1), forged, judgement(2), {"a": 1}]})
    assert answer.status_code == 200
    body = answer.json()
    schema.AppendAnswer.model_validate(body)
    assert [(item["result"], item["seq"]) for item in body["results"]] == [
        ("duplicate", 1),
        ("conflict", 1),
        ("stored", 2),
        ("refused", None),
    ]
    assert body["entries"] == 2
    record = world.get("/api/v1/entries/2").json()
    assert record["producer"] == "user-of-producer"


def test_answers_have_the_documented_form(world: World) -> None:
    world.post({"entries": [admission(n) for n in range(3)]})
    models: dict[str, type[BaseModel]] = {
        "/api/v1/verdicts?limit=2": schema.RecordPage,
        "/api/v1/entries/1": schema.LedgerRecord,
        "/api/v1/head": schema.LedgerHead,
        "/api/v1/verify": schema.VerifyAnswer,
        "/api/v1/entries/99": schema.ErrorAnswer,
        "/api/v1/verdicts?limit=0": schema.ErrorAnswer,
        "/nothing": schema.ErrorAnswer,
    }
    for path, model in models.items():
        model.model_validate(world.get(path).json())


def test_every_parameter_and_answer_is_described_in_openapi(world: World) -> None:
    document = world.client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/api/v1/entries",
        "/api/v1/entries/{seq}",
        "/api/v1/verdicts",
        "/api/v1/head",
        "/api/v1/verify",
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert operation["security"], path
            for parameter in operation.get("parameters", []):
                described = parameter.get("description") or parameter["schema"].get(
                    "description"
                )
                assert described, (path, parameter["name"])
    for name, model in document["components"]["schemas"].items():
        assert model.get("description"), name


def test_records_can_be_verified_from_the_answer_alone(world: World) -> None:
    world.post({"entries": [admission(n, user="Ünïcode\x00") for n in range(3)]})
    for item in world.get("/api/v1/verdicts?order=asc").json()["items"]:
        record = record_from_dict(item)
        stored = query.get(world.ledger.path, item["seq"])
        assert record == stored


def test_filters_narrow_and_unknown_ones_are_refused(world: World) -> None:
    world.post({"entries": [admission(1, namespace="a"), judgement(2, namespace="b")]})
    found = world.get("/api/v1/verdicts?namespace=b&kind=Judgement").json()["items"]
    assert [item["seq"] for item in found] == [2]
    answer = world.get("/api/v1/verdicts?namspace=b")  # a typo must not show all
    assert answer.status_code == 400
    assert answer.json()["error"]["reason"] == "ParameterInvalid"
    assert "namspace" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/api/v1/verdicts?limit=501", 400, "ParameterInvalid"),
        ("/api/v1/verdicts?limit=x", 400, "ParameterInvalid"),
        ("/api/v1/verdicts?order=up", 400, "ParameterInvalid"),
        ("/api/v1/verdicts?since=never", 400, "FilterInvalid"),
        ("/api/v1/verdicts?cursor=never", 400, "CursorInvalid"),
        ("/api/v1/verdicts?name=" + "x" * 2000, 400, "ParameterInvalid"),
        ("/api/v1/entries/0", 400, "ParameterInvalid"),
        ("/api/v1/entries/99999999999999999999", 400, "ParameterInvalid"),
        ("/api/v1/entries/7", 404, "EntryUnknown"),
        ("/api/v1/verify?known=x", 400, "HeadInvalid"),
        ("/docs", 404, "RouteUnknown"),
    ],
)
def test_a_wrong_request_is_answered_in_words(
    world: World, path: str, status: int, reason: str
) -> None:
    answer = world.get(path)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'{"entries": []}', 400),
        (b'{"entries": {}}', 400),
        (b'{"entries": [{}], "more": 1}', 400),
        (json.dumps({"entries": [{}] * 257}).encode(), 400),
        (b"[" * 100_000, 400),
        (b'{"entries": ["\xff"]}', 400),
        (b'{"entries": [' + b" " * BODY_MAX_BYTES + b"1]}", 413),
    ],
)
def test_a_wrong_batch_is_answered_in_words(
    world: World, body: bytes, status: int
) -> None:
    answer = world.post(body)
    assert answer.status_code == status
    assert answer.json()["error"]["reason"] in ("BatchInvalid", "BodyTooLarge")
    assert world.ledger.head.entries == 0


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=50) | json_values.map(lambda v: json.dumps(v).encode()))
def test_no_body_makes_the_service_fail(world: World, body: bytes) -> None:
    assert world.post(body).status_code in (200, 400)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(json_values | entries(), min_size=1, max_size=4), data=st.data())
def test_no_batch_makes_the_service_fail_or_the_ledger_break(
    world: World, batch: list[Any], data: st.DataObject
) -> None:
    value = data.draw(json_values)
    field = data.draw(st.sampled_from(sorted(admission())))
    batch.append(admission(data.draw(st.integers(0, 3))) | {field: value})
    answer = world.post({"entries": batch})
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert len(answer.json()["results"]) == len(batch)
    assert world.get("/api/v1/verify").json()["ok"] is True


NAMES = st.sampled_from([*schema.RecordQuery.model_fields, "known", "x"])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["verdicts", "verify", "head", "entries/1", "entries/x"])
    | st.text(max_size=5).map(lambda text: "entries/" + text.replace("/", "")),
    params=st.dictionaries(NAMES, st.text(max_size=20), max_size=3),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]),
)
def test_no_query_makes_the_service_fail(
    world: World, path: str, params: dict[str, str], method: str
) -> None:
    from urllib.parse import quote, urlencode

    url = f"/api/v1/{quote(path, safe='/')}?{urlencode(params, errors='replace')}"
    headers = {"Authorization": "Bearer auditor"}
    answer = world.client.request(method, url, headers=headers)
    assert answer.status_code < 500


def test_each_route_asks_for_its_own_permission(world: World) -> None:
    world.get("/api/v1/verdicts")
    world.get("/api/v1/entries/1")
    world.get("/api/v1/verify")
    world.get("/api/v1/head")
    world.post({"entries": [admission(1)]})
    assert world.access.asked == [
        ("auditor", "/api/v1/verdicts", "read"),
        ("auditor", "/api/v1/verdicts", "read"),
        ("auditor", "/api/v1/verify", "read"),
        ("auditor", "/api/v1/verify", "read"),
        ("producer", "/api/v1/entries", "post"),
    ]


def test_whoever_is_not_let_in_learns_and_changes_nothing(world: World) -> None:
    answer = world.client.post("/api/v1/entries", content=b'{"entries":[{}]}')
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert world.post({"entries": [admission(1)]}, "reader").status_code == 403
    assert world.ledger.head.entries == 0
    for path in ("/api/v1/verify", "/api/v1/head"):
        assert world.get(path, "reader").status_code == 403
    for path in ("/api/v1/verdicts", "/api/v1/entries/1"):
        assert world.get(path, "producer").status_code == 403
        assert world.get(path, "").status_code == 401


def test_probes_and_metrics_need_no_token_and_the_plain_port_has_nothing_else(
    world: World,
) -> None:
    probes = TestClient(create_probe_app(world.ledger, world.metrics))
    for client in (world.client, probes):
        assert client.get("/healthz").text == "ok"
        assert client.get("/readyz").text == "ok"
        assert "pedigree_build_info" in client.get("/metrics").text
    assert probes.get("/api/v1/verdicts").status_code == 404
    assert probes.get("/openapi.json").status_code == 404


def test_a_ledger_that_cannot_be_read_is_not_ready(world: World) -> None:
    world.ledger.close()
    world.ledger.path.write_bytes(b"gone")
    Path(f"{world.ledger.path}-wal").unlink(missing_ok=True)
    assert world.client.get("/readyz").status_code == 503
    assert world.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("reason", "status"), [("DiskFull", 507), ("StorageFailed", 503)]
)
def test_a_batch_that_cannot_be_stored_is_to_be_sent_again(
    world: World, reason: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LedgerError("no room", reason=reason)

    monkeypatch.setattr(world.ledger, "append", fail)
    assert world.post({"entries": [admission(1)]}).status_code == status
    name = f'pedigree_ledger_append_failures_total{{reason="{reason}"}}'
    assert world.samples()[name] == 1


def test_a_broken_ledger_is_reported_counted_and_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    import sqlite3
    from contextlib import closing

    world.post({"entries": [admission(n) for n in range(3)]})
    known = "9:sha256:" + "0" * 64
    assert world.get(f"/api/v1/verify?known={known}").json()["ok"] is False
    with closing(sqlite3.connect(world.ledger.path)) as database, database:
        database.execute("DROP TRIGGER ledger_keeps")
        database.execute("UPDATE ledger SET leaf = '{}' WHERE seq = 2")
    report = world.get("/api/v1/verify").json()
    assert report["ok"] is False
    assert report["firstBad"]["seq"] == 2
    assert world.samples()["pedigree_ledger_verify_failures_total"] == 2
    assert "the ledger is broken" in caplog.text


def test_one_verification_runs_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()
    real = query.verify

    def slow(*args: Any) -> Any:
        entered.set()
        leave.wait(10)
        return real(*args)

    monkeypatch.setattr(query, "verify", slow)
    answers: list[int] = []
    thread = threading.Thread(
        target=lambda: answers.append(world.get("/api/v1/verify").status_code)
    )
    thread.start()
    assert entered.wait(10)
    busy = world.get("/api/v1/verify")
    leave.set()
    thread.join()
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "5")
    assert answers == [200]


def test_a_bug_is_answered_500_and_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(query, "get", lambda *_: 1 / 0)
    answer = world.get("/api/v1/entries/1")
    assert answer.status_code == 500
    assert answer.json()["error"]["reason"] == "InternalError"
    assert "ZeroDivisionError" in caplog.text


def test_what_happens_to_entries_is_counted(world: World) -> None:
    world.post({"entries": [admission(1), judgement(2), admission(1), {}]})
    world.post({"entries": [admission(1, decision="Allow")]})
    samples = world.samples()
    assert samples['pedigree_ledger_entries_total{kind="Admission"}'] == 1
    assert samples['pedigree_ledger_entries_total{kind="Judgement"}'] == 1
    assert samples["pedigree_ledger_duplicates_total"] == 1
    failures = "pedigree_ledger_append_failures_total"
    assert samples[f'{failures}{{reason="EntryInvalid"}}'] == 1
    assert samples[f'{failures}{{reason="KeyReused"}}'] == 1
    assert samples["pedigree_ledger_append_duration_seconds_count"] == 2
    assert samples["pedigree_ledger_last_append_timestamp_seconds"] > 1e9
    assert samples["pedigree_ledger_size_bytes"] > 0
    expiry = "pedigree_certificate_expiry_timestamp_seconds"
    assert samples[f'{expiry}{{cert="ca"}}'] == 2


def test_the_number_of_series_does_not_grow_with_use(world: World) -> None:
    before = set(world.samples())
    for number in range(20):
        entry = admission(number, namespace=f"n{number}", user=f"u{number}")
        world.post({"entries": [entry, {"kind": str(number)}]})
        world.get(f"/api/v1/entries/{number}")
    assert set(world.samples()) == before
    assert len(before) <= SERIES_MAX


def test_promtool_finds_nothing_to_complain_about(world: World) -> None:
    world.post({"entries": [admission(1)]})
    result = subprocess.run(
        [ensure_promtool(environ=os.environ), "check", "metrics"],
        input=world.metrics.render(),
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
