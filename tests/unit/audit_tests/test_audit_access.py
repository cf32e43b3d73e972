# SPDX-License-Identifier: Apache-2.0
"""What happens when the API server does not answer as it should.

That it answers at all, and what, is tested against a real one in tests/cluster.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from pedigree.errors import ConfigError
from pedigree_audit.access import (
    CACHE_MAX,
    AccessDenied,
    KubernetesAccess,
    OpenAccess,
    kubernetes_access,
)

ENTRIES = "/api/v1/entries"
USER = {"username": "system:serviceaccount:a:b", "groups": ["g"], "uid": "u"}


class SimulatedApiServer:
    """TokenReview and SubjectAccessReview, as they are or as they should not be."""

    def __init__(self) -> None:
        self.token: Any = {"authenticated": True, "user": USER}
        self.access: Any = {"allowed": True}
        self.raw: bytes | None = None
        self.status = 201
        self.asked: list[dict[str, Any]] = []

    @contextmanager
    def served(self) -> Iterator[client.ApiClient]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                world.asked.append(asked)
                is_token = self.path.endswith("tokenreviews")
                status = world.token if is_token else world.access
                answer = json.dumps({"spec": asked["spec"], "status": status}).encode()
                answer = answer if world.raw is None else world.raw
                self.send_response(world.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        configuration = client.Configuration(
            host=f"http://127.0.0.1:{server.server_port}"
        )
        configuration.retries = False
        try:
            with client.ApiClient(configuration) as api:
                yield api
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@pytest.fixture
def world() -> SimulatedApiServer:
    return SimulatedApiServer()


@pytest.fixture
def api(world: SimulatedApiServer) -> Iterator[client.ApiClient]:
    with world.served() as api:
        yield api


def test_both_questions_are_asked_and_the_user_is_named(
    world: SimulatedApiServer, api: client.ApiClient
) -> None:
    access = KubernetesAccess(api)
    assert access.authorize("t", ENTRIES, "post") == "system:serviceaccount:a:b"
    token, subject = (asked["spec"] for asked in world.asked)
    assert token == {"token": "t"}
    assert subject["nonResourceAttributes"] == {"path": ENTRIES, "verb": "post"}
    assert (subject["user"], subject["groups"]) == (USER["username"], ["g"])


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"authenticated": False},
        {"authenticated": False, "user": USER},
        {"authenticated": True, "user": {}},
        {"authenticated": True, "user": {"username": ""}},
        {"authenticated": "yes", "user": USER},
        {"error": "bad"},
    ],
)
def test_a_token_that_is_not_clearly_good_is_not_accepted(
    world: SimulatedApiServer, api: client.ApiClient, status: Any
) -> None:
    world.token = status
    with pytest.raises(AccessDenied) as caught:
        KubernetesAccess(api).authorize("t", ENTRIES, "post")
    assert caught.value.status in (401, 503)


@pytest.mark.parametrize(
    "status",
    [{}, {"allowed": False}, {"allowed": True, "denied": True}, {"allowed": "yes"}],
)
def test_access_that_is_not_clearly_allowed_is_refused(
    world: SimulatedApiServer, api: client.ApiClient, status: Any
) -> None:
    world.access = status
    with pytest.raises(AccessDenied) as caught:
        KubernetesAccess(api).authorize("t", ENTRIES, "post")
    assert caught.value.status in (403, 503)


@pytest.mark.parametrize("status", [200, 401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("raw", [b"", b"{}", b"null", b"no JSON", b'{"status": 7}'])
def test_an_api_server_that_fails_lets_nobody_in(
    world: SimulatedApiServer, api: client.ApiClient, status: int, raw: bytes
) -> None:
    world.status, world.raw = status, raw
    with pytest.raises(AccessDenied) as caught:
        KubernetesAccess(api).authorize("t", ENTRIES, "post")
    assert caught.value.status == 503


def test_an_api_server_that_is_away_lets_nobody_in_and_is_asked_again(
    world: SimulatedApiServer, api: client.ApiClient
) -> None:
    access = KubernetesAccess(api)
    world.status = 500
    with pytest.raises(AccessDenied, match="no answer"):
        access.authorize("t", ENTRIES, "post")
    world.status = 201
    assert access.authorize("t", ENTRIES, "post")


def test_answers_are_kept_for_a_while_and_not_longer(
    world: SimulatedApiServer, api: client.ApiClient
) -> None:
    now = 0.0
    access = KubernetesAccess(api, clock=lambda: now)
    access.authorize("t", ENTRIES, "post")
    now = 59.0
    access.authorize("t", ENTRIES, "post")
    assert len(world.asked) == 2
    access.authorize("t", "/api/v1/verify", "get")  # another permission: asked
    assert len(world.asked) == 4
    now = 61.0
    world.access = {"allowed": False}
    for _ in range(2):
        with pytest.raises(AccessDenied):
            access.authorize("t", ENTRIES, "post")
    assert len(world.asked) == 6
    now = 72.0
    world.access = {"allowed": True}
    assert access.authorize("t", ENTRIES, "post")


def test_the_memory_of_answers_is_bounded_and_holds_no_tokens(
    api: client.ApiClient,
) -> None:
    access = KubernetesAccess(api)
    access._ask = lambda *_: _answer()  # type: ignore[method-assign]
    for number in range(CACHE_MAX + 10):
        access.authorize(f"secret-{number}", ENTRIES, "post")
    assert len(access._answers) == CACHE_MAX
    assert "secret" not in repr(access._answers)


def _answer() -> Any:
    from pedigree_audit.access import _Answer

    return _Answer("me", None, 1e12)


@pytest.mark.parametrize("token", ["", "x" * 20_000, "tök"])
def test_what_is_no_token_is_refused_without_asking(
    world: SimulatedApiServer, api: client.ApiClient, token: str
) -> None:
    with pytest.raises(AccessDenied) as caught:
        KubernetesAccess(api).authorize(token, ENTRIES, "post")
    assert caught.value.status == 401
    assert world.asked == []


def test_a_token_for_another_audience_is_not_accepted(
    world: SimulatedApiServer, api: client.ApiClient
) -> None:
    access = KubernetesAccess(api, audiences=("pedigree",))
    for audiences in ([], ["kubernetes"]):
        world.token = {"authenticated": True, "user": USER, "audiences": audiences}
        with pytest.raises(AccessDenied):
            access.authorize(f"t{len(audiences)}", ENTRIES, "post")
    world.token = {"authenticated": True, "user": USER, "audiences": ["pedigree"]}
    assert access.authorize("t", ENTRIES, "post")
    assert world.asked[0]["spec"]["audiences"] == ["pedigree"]


def test_a_cluster_that_is_not_known_is_an_error_at_start(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("{")
    for kubeconfig in (tmp_path / "missing", tmp_path / "broken", None):
        with pytest.raises(ConfigError, match="API server is not known"):
            kubernetes_access(kubeconfig, ())


def test_open_access_names_everybody_anonymous() -> None:
    assert OpenAccess().authorize("", ENTRIES, "post") == "system:anonymous"
