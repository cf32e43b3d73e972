# SPDX-License-Identifier: Apache-2.0
"""``pedigree examine --hand-back``: what a Job writes, to an API server of a test."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from controlplane.certificates import make_ca, make_leaf
from pedigree.cli import main
from pedigree.cli.hand_back import ApiServer, Target, hand_back
from pedigree.errors import ConfigError, PedigreeError
from pedigree.examine.handed_back import ANSWER_KEY, join, read_answer

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
TARGET = Target("team", "answer")
Json = dict[str, Any]


class Server:
    """ConfigMaps over TLS, with the API server's rule about immutable ones."""

    def __init__(self, folder: Path) -> None:
        self.objects: dict[str, Json] = {}
        self.refusals: list[int] = []
        self.heard: list[tuple[str, str, str, Json]] = []
        ca = make_ca("test CA")
        leaf = make_leaf(ca, ip_addresses=("127.0.0.1",))
        (folder / "ca.crt").write_bytes(ca.certificate_pem)
        (folder / "token").write_text("secret-token\n")
        (folder / "leaf").write_bytes(leaf.certificate_pem + leaf.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "leaf")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_PATCH(self) -> None:
                length = int(self.headers["Content-Length"])
                self.answer("PATCH", json.loads(self.rfile.read(length)))

            def do_GET(self) -> None:
                self.answer("GET", {})

            def answer(self, method: str, body: Json) -> None:
                token = self.headers["Authorization"]
                outer.heard.append((method, self.path, token, body))
                status, said = outer.act(method, self.path, body)
                content = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.environment = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.http.server_port),
            "PEDIGREE_ACCOUNT_DIR": str(folder),
        }

    def act(self, method: str, path: str, body: Json) -> tuple[int, Json]:
        if self.refusals:
            return self.refusals.pop(0), {"message": "not now"}
        held = self.objects.setdefault(path, {})
        if method == "PATCH" and held.get("immutable"):
            return 422, {"message": "field is immutable"}
        held |= body
        return 200, held

    def value(self, name: str, key: str) -> bytes:
        held = self.objects[f"/api/v1/namespaces/team/configmaps/{name}"]
        assert held["immutable"] is True
        return base64.b64decode(held["binaryData"][key])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    thread = threading.Thread(target=made.http.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


def api(server: Server) -> ApiServer:
    return ApiServer(server.environment, sleep=lambda seconds: None)


def examine(server: Server, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return main(["examine", *arguments, "--hand-back", "team/answer", "--json"])


def test_an_examination_is_handed_back_whole(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"file://{EXAMPLES}/llama-a"
    assert examine(server, monkeypatch, model, "--file-root", str(EXAMPLES)) == 0
    answer = read_answer(server.value("answer", ANSWER_KEY))
    assert answer.code == 0
    assert answer.document == json.loads(capsys.readouterr().out)
    parts = [server.value(f"answer-{n + 1}", "part") for n in range(answer.parts)]
    fingerprint = join(answer, parts)
    assert fingerprint is not None
    spec = answer.document["evidence"]["spec"]
    assert str(fingerprint.digest) == spec["fingerprint"]["digest"]


def test_the_answer_is_written_after_what_it_vouches_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine(server, monkeypatch, f"file://{EXAMPLES}/llama-a")
    names = [path.rpartition("/")[2] for _, path, _, _ in server.heard]
    assert names[-1] == "answer"
    assert names[:-1] == [f"answer-{number}" for number in range(1, len(names))]
    assert {token for _, _, token, _ in server.heard} == {"Bearer secret-token"}


def test_an_error_is_handed_back_as_well(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert examine(server, monkeypatch, f"file://{tmp_path}/nothing") == 3
    answer = read_answer(server.value("answer", ANSWER_KEY))
    assert (answer.code, answer.parts) == (3, 0)
    assert answer.document["error"]["class"] == "SourceRefused"
    assert answer.document["error"]["reason"] == "NotFound"


def test_a_folder_outside_the_mount_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = f"file://{EXAMPLES}/llama-a"
    assert examine(server, monkeypatch, model, "--file-root", str(tmp_path)) == 3
    answer = read_answer(server.value("answer", ANSWER_KEY))
    assert answer.document["error"]["reason"] == "OutsideRoots"


def test_a_deep_fingerprint_that_is_too_large_gives_way_to_a_fast_one(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pedigree.examine.handed_back.FINGERPRINT_MAX_BYTES", 100_000)
    examine(server, monkeypatch, f"file://{EXAMPLES}/llama-a")
    answer = read_answer(server.value("answer", ANSWER_KEY))
    assert answer.code == 0
    assert 0 < answer.size < 100_000


def test_a_fingerprint_that_never_fits_is_an_error_that_is_handed_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pedigree.examine.handed_back.FINGERPRINT_MAX_BYTES", 10_000)
    assert examine(server, monkeypatch, f"file://{EXAMPLES}/llama-a") == 3
    answer = read_answer(server.value("answer", ANSWER_KEY))
    assert answer.document["error"]["reason"] == "AnswerTooLarge"


@pytest.mark.parametrize("status", [403, 404, 409, 429, 500, 503])
def test_what_may_be_better_in_a_moment_is_tried_again(
    server: Server, status: int
) -> None:
    server.refusals = [status] * 3
    hand_back(api(server), TARGET, 3, {"error": {}}, b"")
    assert read_answer(server.value("answer", ANSWER_KEY)).code == 3


def test_an_api_server_that_goes_on_refusing_is_given_up(server: Server) -> None:
    server.refusals = [503] * 100
    with pytest.raises(PedigreeError, match="HTTP 503 'not now'") as caught:
        hand_back(api(server), TARGET, 3, {}, b"")
    assert caught.value.reason == "NotHandedBack"
    assert len(server.heard) == 6


def test_an_answer_that_arrived_though_nobody_said_so_is_no_failure(
    server: Server,
) -> None:
    hand_back(api(server), TARGET, 3, {"error": {}}, b"")
    hand_back(api(server), TARGET, 3, {"error": {}}, b"")
    with pytest.raises(PedigreeError, match="sealed with another content"):
        hand_back(api(server), TARGET, 3, {"error": {"other": 1}}, b"")


def test_a_server_that_another_authority_vouches_for_gets_no_token(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "ca.crt").write_bytes(make_ca("other CA").certificate_pem)
    with pytest.raises(PedigreeError, match="CERTIFICATE_VERIFY_FAILED"):
        hand_back(api(server), TARGET, 3, {}, b"")
    assert not server.heard


def test_a_token_that_is_none_is_not_shown(server: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("canary\nInjected: header")
    with pytest.raises(PedigreeError) as caught:
        hand_back(api(server), TARGET, 3, {}, b"")
    assert "canary" not in str(caught.value)
    assert not server.heard


@pytest.mark.parametrize("target", ["", "team", "team/", "a/b/c", "Team/x", "../x/y"])
def test_a_target_is_a_namespace_and_a_name(target: str) -> None:
    with pytest.raises(ConfigError, match="--hand-back"):
        Target.parse(target)


def test_outside_a_cluster_there_is_nobody_to_hand_back_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    arguments = ["examine", str(EXAMPLES / "llama-a"), "--hand-back", "team/answer"]
    assert main(arguments) == 2
    assert "KUBERNETES_SERVICE_HOST" in capsys.readouterr().err
