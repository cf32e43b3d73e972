# SPDX-License-Identifier: Apache-2.0
"""The one door to the API server: a few typed calls over the official client.

Objects are plain JSON values here and everywhere in the operator.  Calls run in a pool
of threads of their own, so that the event loop never waits for the network.  Nothing
is retried here: whoever calls knows whether and when that makes sense.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3.exceptions
from kubernetes import client, config

from pedigree.errors import ConfigError, PedigreeError, quote
from pedigree_operator.kinds import Resource

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
PAGE_SIZE = 500
CONNECTIONS = 16
_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"

Object = dict[str, Any]


class ClusterError(PedigreeError):
    """The API server did not do what it was asked.

    Attributes:
        status: HTTP status; 0 when nothing was answered.
        retry_after_s: How long the server asked to be left alone, if it did.
    """

    default_reason = "ClusterUnavailable"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        reason: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, reason=reason or None)
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def missing(self) -> bool:
        """Whether there is no such object, or no such kind."""
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """Whether the object is there already, or has changed meanwhile."""
        return self.status == 409


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the API server, for the library that watches.

    Attributes:
        server: URL.
        ca_file: Who signed its certificate.
        token: Bearer token, or empty.
        certificate_file: Client certificate, or empty.
        key_file: Its key, or empty.
    """

    server: str
    ca_file: str
    token: str
    certificate_file: str
    key_file: str


class Cluster:
    """Typed access to the API server.

    Args:
        kubeconfig: None means the ServiceAccount of the Pod this runs in.

    Raises:
        ConfigError: There is no usable configuration.
    """

    def __init__(self, kubeconfig: Path | None) -> None:
        self._settings = client.Configuration()
        try:
            if kubeconfig is None:
                config.load_incluster_config(  # type: ignore[no-untyped-call]
                    client_configuration=self._settings
                )
            else:
                config.load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=str(kubeconfig), client_configuration=self._settings
                )
        except (config.ConfigException, OSError, ValueError) as error:
            raise ConfigError(
                f"the API server cannot be found: {error}",
                hint="set PEDIGREE_KUBECONFIG, or run in a Pod with a ServiceAccount",
            ) from error
        self._settings.connection_pool_maxsize = CONNECTIONS
        self._settings.retries = urllib3.Retry(0)
        self._api = client.ApiClient(self._settings)
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="cluster")

    def connection(self) -> Connection:
        """The same access for another client; a rotated token is read anew."""
        header = self._settings.get_api_key_with_prefix("BearerToken") or ""
        return Connection(
            server=self._settings.host,
            ca_file=self._settings.ssl_ca_cert or "",
            token=header.removeprefix("Bearer ").removeprefix("bearer "),
            certificate_file=self._settings.cert_file or "",
            key_file=self._settings.key_file or "",
        )

    async def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        """All objects of a kind.

        Args:
            resource: Kind.
            namespace: Empty for those of every namespace.

        Raises:
            ClusterError: They could not be listed.
        """
        items: list[Object] = []
        after = ""
        while True:
            query = {"limit": str(PAGE_SIZE)}
            if resource.label_selector:
                query["labelSelector"] = resource.label_selector
            if after:
                query["continue"] = after
            page = await self._call("GET", resource.path(namespace), query=query)
            items += page.get("items") or []
            after = (page.get("metadata") or {}).get("continue") or ""
            if not after:
                return items

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """One object, or None if there is none."""
        try:
            return await self._call("GET", resource.path(namespace, name))
        except ClusterError as error:
            if error.missing:
                return None
            raise

    async def create(self, resource: Resource, obj: Mapping[str, Any]) -> Object:
        """Create an object and return it.

        Raises:
            ClusterError: It could not be created; ``conflict`` if it is there already.
        """
        namespace = obj["metadata"].get("namespace", "")
        return await self._call("POST", resource.path(namespace), body=obj)

    async def patch_status(
        self, resource: Resource, namespace: str, name: str, patch: Mapping[str, Any]
    ) -> Object:
        """Merge a patch into an object's status and return the object.

        Args:
            resource: Kind.
            namespace: Empty for objects of the cluster.
            name: Which object.
            patch: Whole merge patch, ``{"status": ...}``; with
                ``metadata.resourceVersion`` it applies to that version only.
        """
        path = resource.path(namespace, name, "status")
        return await self._call("PATCH", path, body=patch, content_type=_MERGE_PATCH)

    async def patch_json(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        operations: Sequence[Mapping[str, Any]],
    ) -> Object:
        """Apply JSON patch operations, all or none; a failed ``test`` is a 422."""
        path = resource.path(namespace, name)
        body = list(operations)
        return await self._call("PATCH", path, body=body, content_type=_JSON_PATCH)

    async def create_once(self, resource: Resource, obj: Mapping[str, Any]) -> bool:
        """Create an object unless one of its name is there; returns whether it did."""
        try:
            await self.create(resource, obj)
        except ClusterError as error:
            if error.conflict:
                return False
            raise
        return True

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str
    ) -> None:
        """Delete an object and, after it, what it owns; it may be gone already.

        Args:
            resource: Kind.
            namespace: Empty for objects of the cluster.
            name: Which object.
            uid: Its UID: another object that took its name stays.

        Raises:
            ClusterError: It could not be deleted.
        """
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        try:
            await self._call("DELETE", resource.path(namespace, name), body=options)
        except ClusterError as error:
            if not error.missing and not error.conflict:
                raise

    def close(self) -> None:
        """Let go of connections and threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._api.close()  # type: ignore[no-untyped-call]

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = _JSON,
    ) -> Object:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._pool, self._request, method, path, query or {}, body, content_type
        )

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: object,
        content_type: str,
    ) -> Object:
        headers = {"Accept": _JSON, "User-Agent": "pedigree-operator"}
        if body is not None:
            headers["Content-Type"] = content_type
        request = self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        what = f"{method} {path}"
        try:
            response = self._api.call_api(
                *request, _request_timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
            )
            content = response.read()  # type: ignore[no-untyped-call]
        except (client.ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterError(
                f"{what} was not answered: {quote(str(error))}", status=0
            ) from error
        if not 200 <= response.status <= 299:
            raise _refusal(what, response.status, content, response.headers)
        try:
            answer: Object = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ClusterError(
                f"{what} was answered with no JSON that can be read: "
                f"{type(error).__name__}",
                status=0,
            ) from error
        return answer


def _refusal(
    what: str, status: int, content: bytes, headers: Mapping[str, str]
) -> ClusterError:
    """The error for an answer that is not a success."""
    try:
        said = json.loads(content)
        message, reason = str(said.get("message", "")), str(said.get("reason", ""))
    except (ValueError, AttributeError):
        message, reason = content[:256].decode("utf-8", "replace"), ""
    after = headers.get("Retry-After", "")
    return ClusterError(
        f"{what} was answered {status} {reason}: {message[:512]}",
        status=status,
        reason=reason,
        retry_after_s=float(after) if after.isdigit() else None,
    )
