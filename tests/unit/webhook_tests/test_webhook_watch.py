# SPDX-License-Identifier: Apache-2.0
"""The watch against an API server that misbehaves on purpose."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pedigree.errors import ConfigError
from pedigree_webhook import watch
from pedigree_webhook.store import Store, StoreKind
from pedigree_webhook.watch import Feed, connect
from webhook_world import namespace
from webhook_world.api_server import ApiServer

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
users: [{{name: u, user: {{token: secret}}}}]
"""


def wait_for(true: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Watched:
    """A store that is fed from a server."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server = server
        self.store = Store()
        self.errors = 0
        self.stopping = threading.Event()
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(KUBECONFIG.format(url=server.url))
        self.feed = Feed(
            connect(kubeconfig),
            StoreKind.NAMESPACE,
            self.store,
            watch_s=1,
            stopping=self.stopping,
            on_error=self.count,
        )

    def count(self, _kind: StoreKind) -> None:
        self.errors += 1

    def names(self) -> set[str]:
        return set(self.store.snapshot.namespaces)

    def age(self) -> float:
        return self.store.view().age_s[StoreKind.NAMESPACE]

    def lists(self) -> int:
        return sum("watch" not in query for query in self.server.requests)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        yield running


@pytest.fixture
def watched(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    monkeypatch.setattr(watch, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(watch, "BACKOFF_MAX_S", 0.1)
    it = Watched(server, tmp_path)
    yield it
    it.stopping.set()
    server.status = 500
    it.feed.thread.join(15)


def test_a_list_of_many_pages_is_read_whole(
    server: ApiServer, watched: Watched
) -> None:
    for number in range(7):
        server.put(namespace(f"n{number}"))
    watched.feed.thread.start()
    wait_for(lambda: len(watched.names()) == 7)
    assert watched.lists() == 4


def test_nothing_is_known_before_the_last_page(
    server: ApiServer, watched: Watched
) -> None:
    server.status = 500
    watched.feed.thread.start()
    wait_for(lambda: watched.errors > 2)
    assert StoreKind.NAMESPACE in watched.store.view().unsynced
    server.status = 200
    wait_for(lambda: StoreKind.NAMESPACE not in watched.store.view().unsynced)


def test_changes_arrive_as_they_happen(server: ApiServer, watched: Watched) -> None:
    server.put(namespace("a"))
    watched.feed.thread.start()
    wait_for(lambda: watched.names() == {"a"})
    server.put(namespace("b"))
    wait_for(lambda: watched.names() == {"a", "b"})
    server.put(namespace("b", tier="production"))
    wait_for(lambda: watched.store.snapshot.namespaces["b"].get("tier") == "production")
    server.remove("a")
    wait_for(lambda: watched.names() == {"b"})
    assert watched.lists() == 1
    assert watched.errors == 0


@pytest.mark.parametrize("bookmarks", [True, False])
def test_a_quiet_cluster_keeps_the_store_young(
    server: ApiServer, watched: Watched, bookmarks: bool
) -> None:
    server.bookmarks = bookmarks
    watched.feed.thread.start()
    wait_for(lambda: len(server.requests) >= 4)
    assert watched.age() < 2
    assert watched.lists() == 1
    assert watched.errors == 0


def test_an_expired_watch_is_followed_by_a_new_list(
    server: ApiServer, watched: Watched
) -> None:
    server.put(namespace("a"))
    watched.feed.thread.start()
    wait_for(lambda: watched.names() == {"a"})
    server.bookmarks = False
    with server._changed:
        server.objects["missed"] = namespace("missed")
        server.objects.pop("a")
        server.forget()
    wait_for(lambda: watched.names() == {"missed"})
    assert watched.lists() == 2


def test_an_outage_lets_the_store_age_and_loses_nothing(
    server: ApiServer, watched: Watched
) -> None:
    watched.feed.thread.start()
    wait_for(lambda: watched.store.view().unsynced.count(StoreKind.NAMESPACE) == 0)
    server.status = 503
    wait_for(lambda: watched.errors > 0)
    server.put(namespace("meanwhile"))
    before = watched.age()
    time.sleep(0.2)
    assert watched.age() > before
    assert "answer 503 on purpose" in watched.feed.error
    server.status = 200
    wait_for(lambda: watched.names() == {"meanwhile"})
    assert watched.feed.error == ""
    assert watched.lists() == 1


def test_a_watch_that_breaks_off_resumes_without_a_gap(
    server: ApiServer, watched: Watched
) -> None:
    watched.feed.thread.start()
    wait_for(lambda: len(server.requests) >= 2)
    server.cut = True
    for number in range(5):
        server.put(namespace(f"n{number}"))
    wait_for(lambda: len(watched.names()) == 5)
    assert watched.errors >= 4
    assert watched.lists() == 1


def test_a_connection_that_falls_silent_is_given_up(
    server: ApiServer, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "GRACE_S", 0.2)
    server.silent = True
    watched.feed.thread.start()
    wait_for(lambda: len(server.requests) >= 2)
    server.put(namespace("unheard"))
    wait_for(lambda: watched.errors > 0)
    assert watched.age() > 1
    server.silent = False
    wait_for(lambda: watched.names() == {"unheard"})


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "grant this service account list and watch of namespaces"),
        (401, "grant this service account list and watch of namespaces"),
        (404, "install Pedigree's CRDs"),
        (500, "answer 500 on purpose"),
    ],
)
def test_a_refusal_is_explained_once(
    server: ApiServer,
    watched: Watched,
    caplog: pytest.LogCaptureFixture,
    status: int,
    said: str,
) -> None:
    server.status = status
    watched.feed.thread.start()
    wait_for(lambda: watched.errors > 3)
    assert said in watched.feed.error
    assert caplog.text.count("cannot read Namespace") == 1


def test_a_server_that_is_away_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BACKOFF_FIRST_S", 0.01)
    with ApiServer() as gone:
        pass
    it = Watched(gone, tmp_path)
    it.feed.thread.start()
    wait_for(lambda: it.errors > 2)
    assert it.feed.thread.is_alive()
    it.stopping.set()
    it.feed.thread.join(10)
    assert not it.feed.thread.is_alive()


def test_an_object_that_makes_no_sense_does_not_end_the_feed(
    server: ApiServer, watched: Watched
) -> None:
    watched.feed.thread.start()
    wait_for(lambda: len(server.requests) >= 2)
    server._change("ADDED", {"metadata": {}})
    wait_for(lambda: watched.errors > 0)
    server.put(namespace("fine"))
    wait_for(lambda: watched.names() == {"fine"})
    assert watched.feed.thread.is_alive()


def test_the_token_of_the_kubeconfig_is_sent(server: ApiServer, tmp_path: Path) -> None:
    api = Watched(server, tmp_path).feed._api
    request = api.param_serialize("GET", "/", auth_settings=["BearerToken"])
    assert request[2]["authorization"] == "Bearer secret"


def test_without_kubeconfig_or_service_account_the_start_is_wrong(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="PEDIGREE_KUBECONFIG"):
        connect(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="PEDIGREE_KUBECONFIG"):
        connect(None)
