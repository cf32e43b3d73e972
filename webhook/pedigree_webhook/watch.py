# SPDX-License-Identifier: Apache-2.0
"""Feeds the store from the API server; the only module that talks to Kubernetes.

One thread per kind lists, then watches from there.  Each watch is asked to end after
at most a minute, so that a connection that died in silence is noticed and the store's
age keeps meaning something.  A watch that has expired (410) is followed by a new list;
any other failure by a pause that grows.

``kubernetes.informer`` (client 37.0.2) was tried and is not used: for custom objects,
which the client returns as plain dictionaries, it takes the method ``dict.items`` for
the items and starts every watch at version "0"; and it tells nobody when a watch ends
well, which is what the store's age is made of.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from kubernetes import client, config
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from pedigree import __version__
from pedigree.errors import ConfigError, PedigreeError, quote
from pedigree.evidence import GROUP, VERSION
from pedigree_webhook.store import Store, StoreKind

log = logging.getLogger(__name__)

WATCH_MAX_S = 60
"""Longest watch; shorter when the store may be less than two of these old."""
CONNECT_S = 5.0
LIST_S = 30.0
GRACE_S = 10.0
"""How long a watch may go on in silence after the time it was asked to end."""
PAGE = 500
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0

_OURS = f"/apis/{GROUP}/{VERSION}"
_PATHS: Mapping[StoreKind, str] = {
    StoreKind.CLUSTER_POLICY: f"{_OURS}/clusterlineagepolicies",
    StoreKind.POLICY: f"{_OURS}/lineagepolicies",
    StoreKind.REFERENCE: f"{_OURS}/referencemodels",
    StoreKind.EVIDENCE: f"{_OURS}/modelevidences",
    StoreKind.NAMESPACE: "/api/v1/namespaces",
}


class ApiError(PedigreeError):
    """The API server refused, or could not be asked.

    Args:
        message: What it said.
        status: HTTP status; 0 when there was no answer.
    """

    default_reason = "ApiUnavailable"

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def connect(kubeconfig: Path | None) -> client.ApiClient:
    """A client for the API server; does not call it yet.

    Raises:
        ConfigError: There is no usable kubeconfig, or no service account.
    """
    configuration = client.Configuration()
    try:
        if kubeconfig is not None:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                str(kubeconfig), client_configuration=configuration
            )
        else:
            config.load_incluster_config(  # type: ignore[no-untyped-call]
                client_configuration=configuration
            )
    except (ConfigException, OSError, ValueError) as error:
        raise ConfigError(
            f"the API server cannot be addressed: {error}",
            hint="set PEDIGREE_KUBECONFIG, or run with a service account",
        ) from error
    configuration.retries = False  # the pauses here are the only ones
    api = client.ApiClient(configuration)
    api.user_agent = f"pedigree-webhook/{__version__}"  # as the audit log shows it
    return api


class Feed:
    """Keeps one kind of the store current, in a thread of its own.

    Args:
        api: The client; threads may share it.
        kind: What to list and watch.
        store: What to feed.
        watch_s: Seconds after which a watch is asked to end.
        stopping: Set to end the thread.
        on_error: Told of every failure.
    """

    def __init__(
        self,
        api: client.ApiClient,
        kind: StoreKind,
        store: Store,
        *,
        watch_s: int,
        stopping: threading.Event,
        on_error: Callable[[StoreKind], None],
    ) -> None:
        self.kind = kind
        self.error = ""
        self._api = api
        self._store = store
        self._watch_s = watch_s
        self._stopping = stopping
        self._on_error = on_error
        self._version = ""
        self._failures = 0
        self.thread = threading.Thread(
            target=self._run, name=f"watch-{kind}", daemon=True
        )

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self._version:
                    self._list()
                self._watch()
            except ApiError as error:
                self._failed(error)
            except Exception as error:  # a bug must not end the feed
                log.exception("watching %s failed unexpectedly", self.kind)
                self._version = ""
                self._failed(ApiError(f"{type(error).__name__}: {error}"))

    def _list(self) -> None:
        objects: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self._page(token)
            items = page.get("items") or []
            objects += [self._slim(item) for item in items]
            token = page["metadata"].get("continue") or ""
            if not token:
                break
        self._store.replace(self.kind, objects)
        self._version = page["metadata"]["resourceVersion"]
        self._worked()
        log.info("read %d of kind %s", len(objects), self.kind)

    def _page(self, token: str) -> dict[str, Any]:
        more = {"continue": token} if token else {}
        response = self._call({"limit": PAGE, **more}, LIST_S)
        try:
            page: dict[str, Any] = orjson.loads(_read(response))
        finally:
            response.release_conn()
        return page

    def _watch(self) -> None:
        response = self._call(
            {
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": self._version,
                "timeoutSeconds": self._watch_s,
            },
            self._watch_s + GRACE_S,
        )
        self._worked()
        try:
            for line in _lines(response):
                self._take(orjson.loads(line))
                if self._stopping.is_set():
                    return
        finally:
            response.close()
            response.release_conn()
        # It ended as asked: everything up to now has been delivered.
        self._store.confirm(self.kind)

    def _take(self, event: dict[str, Any]) -> None:
        obj = event["object"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self._store.put(self.kind, self._slim(obj))
            case "DELETED":
                self._store.remove(self.kind, obj)
            case "BOOKMARK":
                self._store.confirm(self.kind)
            case _:  # ERROR: the object is a Status
                raise ApiError(str(obj.get("message", obj)), int(obj.get("code") or 0))
        self._version = obj["metadata"]["resourceVersion"]

    def _call(self, query: Mapping[str, object], silence_s: float) -> Any:
        """One request; the raw response, its body not yet read.

        The client's typed methods would read every object into classes of its own,
        only for them to be turned back.

        Args:
            query: Parameters.
            silence_s: How long the server may say nothing.

        Raises:
            ApiError: It failed, or the answer is not 200.
        """
        request = self._api.param_serialize(
            "GET",
            _PATHS[self.kind],
            query_params=list(query.items()),
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        try:
            response = self._api.call_api(
                *request, _request_timeout=(CONNECT_S, silence_s)
            ).response
        except client.ApiException as error:  # TLS failed; the client hides which way
            raise ApiError(str(error.reason), int(error.status or 0)) from error
        except HTTPError as error:
            raise ApiError(f"{type(error).__name__}: {error}") from error
        if response.status != 200:
            raise ApiError(_told(_read(response)), response.status)
        return response

    def _slim(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Without what is never looked at; lists leave out what items are."""
        obj.setdefault("kind", str(self.kind))
        obj["metadata"].pop("managedFields", None)
        return obj

    def _worked(self) -> None:
        if self.error:
            log.info("watching %s works again", self.kind)
        self.error = ""
        self._failures = 0

    def _failed(self, error: ApiError) -> None:
        if error.status == 410:
            log.info("watch of %s has expired, listing again", self.kind)
            self._version = ""
            return
        self._on_error(self.kind)
        message = self._explain(error)
        if message != self.error:  # one line per outage, not one per attempt
            log.error("cannot read %s: %s", self.kind, message)
        self.error = message
        self._failures += 1
        pause_s = min(BACKOFF_FIRST_S * 2 ** min(self._failures - 1, 10), BACKOFF_MAX_S)
        self._stopping.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def _explain(self, error: ApiError) -> str:
        plural = _PATHS[self.kind].rpartition("/")[2]
        if error.status in (401, 403):
            return (
                f"forbidden: {quote(error.message)}; grant this service account list "
                f"and watch of {plural}"
            )
        if error.status == 404:
            return f"the API server does not know {plural}; install Pedigree's CRDs"
        return quote(error.message)


class Watcher:
    """Feeds for every kind of the store."""

    def __init__(
        self,
        api: client.ApiClient,
        store: Store,
        *,
        max_age_s: float,
        stopping: threading.Event,
        on_error: Callable[[StoreKind], None],
    ) -> None:
        watch_s = max(1, min(WATCH_MAX_S, int(max_age_s / 2)))
        self._feeds = [
            Feed(
                api,
                kind,
                store,
                watch_s=watch_s,
                stopping=stopping,
                on_error=on_error,
            )
            for kind in StoreKind
        ]

    def start(self) -> None:
        """Start a thread per kind."""
        for feed in self._feeds:
            feed.thread.start()

    def alive(self) -> bool:
        """Whether every thread still runs."""
        return all(feed.thread.is_alive() for feed in self._feeds)

    def errors(self) -> Mapping[StoreKind, str]:
        """What each failing feed last met."""
        return {feed.kind: feed.error for feed in self._feeds if feed.error}


def _read(response: Any) -> bytes:
    try:
        data: bytes = response.read()
    except HTTPError as error:
        raise ApiError(f"{type(error).__name__}: {error}") from error
    return data


def _lines(response: Any) -> Iterator[bytes]:
    """The lines of a streamed body, each as soon as it is complete."""
    buffer = b""
    try:
        for part in response.stream(amt=None, decode_content=False):
            *lines, buffer = (buffer + part).split(b"\n")
            yield from (line for line in lines if line)
    except HTTPError as error:
        raise ApiError(f"{type(error).__name__}: {error}") from error
    if buffer.strip():
        raise ApiError("the watch ended in the middle of an event")


def _told(body: bytes) -> str:
    """The message of a Status, or the body itself."""
    try:
        status = orjson.loads(body)
        return str(status["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body[:256].decode("utf-8", "replace")
