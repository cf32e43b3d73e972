# SPDX-License-Identifier: Apache-2.0
"""As much of an API server as keeps evidence."""

from __future__ import annotations

from typing import Any

from pedigree_operator.cluster import ClusterError
from pedigree_operator.kinds import Resource

Json = dict[str, Any]


class EvidenceServer:
    """An API server that knows nothing but evidence."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.version = 0

    async def create(self, resource: Resource, obj: Json) -> Json:
        return self._store(obj["metadata"]["name"], obj)

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        return self.objects.get(name)

    async def patch_status(
        self, resource: Resource, namespace: str, name: str, patch: Json
    ) -> Json:
        obj = self.objects[name]
        wanted = patch["metadata"]["resourceVersion"]
        if obj["metadata"]["resourceVersion"] != wanted:
            raise ClusterError("it has changed", status=409)
        status = {**obj.get("status", {}), **patch["status"]}
        return self._store(name, {**obj, "status": status})

    def _store(self, name: str, obj: Json) -> Json:
        self.version += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        self.objects[name] = {**obj, "metadata": metadata}
        return self.objects[name]
