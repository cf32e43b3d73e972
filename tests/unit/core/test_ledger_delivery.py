# SPDX-License-Identifier: Apache-2.0
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from audit_world.entries import admission
from pedigree.errors import ConfigError, LedgerError
from pedigree.ledger.delivery import Deliverer
from pedigree.ledger.outbox import Outbox
from pedigree.ledger.transport import Connection, Endpoint


class SimulatedLedger:
    """An audit service as producers see it; can be away, wrong or slow to accept."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.requests: list[int] = []
        self.tokens: list[str | None] = []
        self.paths: list[str] = []
        self.status = 200
        self.body: bytes | None = None
        self.headers: dict[str, str] = {}
        self.outcome: Callable[[dict[str, Any]], str] = lambda _: "stored"
        self.bad_keys: set[str] = set()

    def answer(self, entries: list[dict[str, Any]]) -> tuple[int, bytes]:
        self.requests.append(len(entries))
        if self.body is not None or self.status != 200:
            return self.status, self.body or b""
        if any(entry["key"] in self.bad_keys for entry in entries):
            said = {"error": {"reason": "BatchInvalid", "message": "no", "hint": ""}}
            return 400, json.dumps(said).encode()
        results = []
        for entry in entries:
            outcome = self.outcome(entry)
            if outcome == "stored" and entry["key"] in self.entries:
                outcome = "duplicate"
            if outcome == "stored":
                self.entries[entry["key"]] = entry
            results.append({"key": entry["key"], "result": outcome, "reason": "R"})
        return 200, json.dumps({"results": results}).encode()

    @contextmanager
    def served(self, port: int = 0) -> Iterator[str]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                world.tokens.append(self.headers["Authorization"])
                world.paths.append(self.path)
                status, answer = world.answer(json.loads(body)["entries"])
                self.send_response(status)
                for name, value in world.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


@contextmanager
def delivering(outbox: Outbox, url: str, **more: Any) -> Iterator[Deliverer]:
    deliverer = Deliverer(outbox, url, backoff_first_s=0.01, **more)
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop()


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def test_entries_are_delivered_without_being_asked(outbox: Outbox) -> None:
    ledger = SimulatedLedger()
    outbox.append(admission(1))  # by an earlier run
    with ledger.served() as url, delivering(outbox, url) as deliverer:
        outbox.append(admission(2))
        until(lambda: outbox.depth() == 0)
        stats = deliverer.stats()
    assert list(ledger.entries) == ["admission/request-1", "admission/request-2"]
    assert ledger.paths[0] == "/api/v1/entries"
    assert (stats.delivered_total, stats.failures_total, stats.parked) == (2, 0, 0)
    assert stats.last_success > 0


def test_a_burst_goes_in_few_requests(outbox: Outbox) -> None:
    ledger = SimulatedLedger()
    for number in range(300):
        outbox.append(admission(number))
    with ledger.served() as url, delivering(outbox, url) as deliverer:
        assert deliverer.flush(20)
    assert ledger.requests == [128, 128, 44]


def test_long_entries_go_in_smaller_batches(outbox: Outbox) -> None:
    ledger = SimulatedLedger()
    for number in range(12):
        outbox.append(admission(number) | {"more": "x" * 250_000})
    with ledger.served() as url, delivering(outbox, url) as deliverer:
        assert deliverer.flush(20)
    assert ledger.requests == [8, 4]


def test_entries_wait_while_the_service_is_away_and_go_when_it_is_back(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = SimulatedLedger()
    with ledger.served() as url:
        port = int(url.rsplit(":", 1)[1])
    with delivering(outbox, url) as deliverer:
        outbox.append(admission(1))
        until(lambda: deliverer.stats().failures_total >= 3)
        stats = deliverer.stats()
        assert stats.depth == 1
        assert "does not answer" in stats.last_error
        assert deliverer.flush(0.05) is False
        with ledger.served(port):
            assert deliverer.flush(10)
            until(lambda: deliverer.stats().last_error == "")
    assert list(ledger.entries) == ["admission/request-1"]
    warnings = [r for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1  # one line per outage


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 429, 500, 503, 507])
def test_an_answer_that_may_get_better_loses_and_parks_nothing(
    outbox: Outbox, status: int
) -> None:
    ledger = SimulatedLedger()
    ledger.status = status
    ledger.headers = {"Location": "http://127.0.0.1:1/"}
    outbox.append(admission(1))
    with ledger.served() as url, delivering(outbox, url) as deliverer:
        until(lambda: deliverer.stats().failures_total >= 2)
        assert deliverer.stats().depth == 1
        ledger.status = 200
        assert deliverer.flush(10)
        assert deliverer.stats().parked == 0
    assert list(ledger.entries) == ["admission/request-1"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"[]",
        b"{}",
        b'{"results": null}',
        b'{"results": [{"key": "admission/request-1"}]}',
        b'{"results": [{"key": "admission/request-1", "result": "maybe"}]}',
        b'{"results": [{"key": "admission/other", "result": "stored"}]}',
        b"[" * 100_000,
    ],
)
def test_an_answer_of_another_protocol_delivers_nothing(
    outbox: Outbox, body: bytes
) -> None:
    ledger = SimulatedLedger()
    ledger.body = body
    outbox.append(admission(1))
    with ledger.served() as url, delivering(outbox, url) as deliverer:
        until(lambda: deliverer.stats().failures_total >= 2)
        assert deliverer.stats().depth == 1
        ledger.body = None
        assert deliverer.flush(10)


@pytest.mark.parametrize("outcome", ["refused", "conflict"])
def test_an_entry_the_ledger_never_takes_is_parked_logged_and_kept(
    outbox: Outbox, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = SimulatedLedger()
    bad = "admission/request-2"
    ledger.outcome = lambda entry: outcome if entry["key"] == bad else "stored"
    for number in (1, 2, 3):
        outbox.append(admission(number))
    with ledger.served() as url, delivering(outbox, url) as deliverer:
        assert deliverer.flush(10)
        requests = len(ledger.requests)
        stats = deliverer.stats()
        time.sleep(0.1)
        assert len(ledger.requests) == requests  # not tried again
    assert (stats.delivered_total, stats.parked) == (2, 1)
    assert outbox.parked(5)[0].key == bad
    assert outcome in outbox.parked(5)[0].reason
    assert bad in caplog.text


def test_a_refused_batch_is_narrowed_down_to_its_bad_entry(outbox: Outbox) -> None:
    ledger = SimulatedLedger()
    ledger.bad_keys = {"admission/request-2"}
    for number in (1, 2, 3):
        outbox.append(admission(number))
    with ledger.served() as url, delivering(outbox, url) as deliverer:
        assert deliverer.flush(10)
        assert deliverer.stats().parked == 1
    assert list(ledger.entries) == ["admission/request-1", "admission/request-3"]


def test_a_refusal_by_something_before_the_service_parks_nothing(
    outbox: Outbox,
) -> None:
    ledger = SimulatedLedger()
    ledger.status, ledger.body = 400, b"<html>a proxy says no</html>"
    outbox.append(admission(1))
    with ledger.served() as url, delivering(outbox, url) as deliverer:
        until(lambda: deliverer.stats().failures_total >= 2)
        assert deliverer.stats().parked == 0
    assert outbox.depth() == 1


def test_parked_entries_get_one_more_chance_at_each_start(outbox: Outbox) -> None:
    ledger = SimulatedLedger()
    outbox.append(admission(1))
    outbox.park("admission/request-1", "refused by an older service")
    with ledger.served() as url, delivering(outbox, url) as deliverer:
        assert deliverer.flush(10)
    assert list(ledger.entries) == ["admission/request-1"]


def test_a_delivery_repeated_after_a_lost_answer_is_stored_once(
    outbox: Outbox,
) -> None:
    ledger = SimulatedLedger()
    ledger.answer([admission(1)])  # stored, but the producer never heard
    outbox.append(admission(1))
    with ledger.served() as url, delivering(outbox, url) as deliverer:
        assert deliverer.flush(10)
    assert len(ledger.entries) == 1


def test_a_rotated_token_is_used_with_the_next_connection(
    outbox: Outbox, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    ledger = SimulatedLedger()
    with ledger.served() as url, delivering(outbox, url, token_file=token) as deliverer:
        outbox.append(admission(1))
        until(lambda: deliverer.stats().failures_total >= 1)
        assert "credentials" in deliverer.stats().last_error  # the file is not there
        token.write_text("first\n")
        assert deliverer.flush(10)
        token.write_text("second\n")
        outbox.append(admission(2))
        assert deliverer.flush(10)
    assert ledger.tokens == ["Bearer first", "Bearer second"]


def test_the_backoff_doubles_up_to_a_bound_and_heeds_the_service(
    outbox: Outbox,
) -> None:
    jitter = 1.0
    deliverer = Deliverer(
        outbox,
        "https://audit",
        backoff_first_s=1,
        backoff_max_s=10,
        jitter=lambda: jitter,
    )
    waits = []
    for _ in range(6):
        deliverer._failed("x")
        waits.append(deliverer._backoff_s())
    assert waits == [1, 2, 4, 8, 10, 10]
    jitter = 0.0
    assert deliverer._backoff_s() == 5
    deliverer._retry_after_s = 60.0
    assert deliverer._backoff_s() == 60


def test_stopping_leaves_what_waits_in_the_outbox(outbox: Outbox) -> None:
    deliverer = Deliverer(outbox, "http://127.0.0.1:1")
    deliverer.start()
    outbox.append(admission(1))
    started = time.monotonic()
    deliverer.stop()
    assert time.monotonic() - started < 5
    assert outbox.depth() == 1


@pytest.mark.parametrize("content", ["", "hush\nhush\n", "hush\rhush", "hush \x7f"])
def test_a_file_that_holds_no_token_is_named_and_its_content_is_not(
    content: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(content)
    with pytest.raises(LedgerError) as caught:
        Connection(Endpoint("http://127.0.0.1:9", token)).request("GET", "/")
    assert caught.value.reason == "CredentialsUnreadable"
    assert "holds no token" in str(caught.value)
    assert "hush" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "audit",
        "ftp://audit",
        "http://audit.example",
        "https://",
        "https://u:p@audit",
        "https://audit:x",
        "https://audit?x=1",
    ],
)
def test_a_url_that_would_send_the_token_in_the_clear_is_refused(
    url: str, outbox: Outbox
) -> None:
    with pytest.raises(ConfigError, match="audit URL"):
        Deliverer(outbox, url)


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pedigree.ledger.transport.ANSWER_MAX_BYTES", 1000)
    ledger = SimulatedLedger()
    ledger.body = b"x" * 2000
    with (
        ledger.served() as url,
        Connection(Endpoint(url)) as connection,
        pytest.raises(LedgerError, match="more than 1000 bytes"),
    ):
        connection.request("POST", "/", b'{"entries":[]}')
