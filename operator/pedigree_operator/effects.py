# SPDX-License-Identifier: Apache-2.0
"""Carries out plans, effect by effect, in the order that makes a crash harmless."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pedigree.ledger.outbox import Outbox
from pedigree_operator.cache import Cache, key_of
from pedigree_operator.cluster import Cluster, ClusterError
from pedigree_operator.conditions import Progress
from pedigree_operator.events import NORMAL, build_event
from pedigree_operator.kinds import DEPLOYMENTS, EVENTS, RESOURCES, Key, Kind
from pedigree_operator.metrics import Metrics
from pedigree_operator.plan import EnsureDeployment, Outcome, Plan, ReleasePods
from pedigree_operator.workloads import (
    Json,
    is_owned,
    release_operations,
    template_digest,
    update_operations,
)

log = logging.getLogger(__name__)

_GONE = (404, 409, 422)
"""Answers to a patch with preconditions when the object is no longer the same."""


class Effects:
    """Carries out plans.

    Args:
        cluster: The API server.
        cache: Takes in what was written.
        outbox: Takes ledger entries.
        metrics: Counts.
        now: Wall clock.
        again: Has an object looked at once more.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        outbox: Outbox,
        metrics: Metrics,
        now: Callable[[], datetime],
        again: Callable[[Key], None],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._outbox = outbox
        self._metrics = metrics
        self._now = now
        self._again = again
        self.outcomes: dict[str, Outcome] = {}
        """What came of making Deployments, by uid of the ModelDeployment."""

    async def carry_out(self, obj: Mapping[str, Any], plan: Plan) -> None:
        """Ledger, events, status, workload, in this order.

        Raises:
            LedgerError: The judgement could not be written down; nothing else is done.
            ClusterError: The API server failed; the rest is done by the next attempt.
        """
        if plan.entry is not None:
            await self._write_down(obj, plan.entry)
        for event in plan.events:
            await self.tell(event)
        if plan.status:
            await self.patch_status(Kind.MODEL_DEPLOYMENT, obj, plan.status)
        match plan.workload:
            case EnsureDeployment(manifest):
                await self._ensure(obj, manifest)
            case ReleasePods(pods):
                for pod in pods:
                    await self._release(obj, pod)

    async def tell(self, event: Json) -> None:
        """Create an Event unless it was told before.

        An Event that is refused for good (no permission, a namespace on its way out)
        is logged and let go: it must not hold up a verdict.

        Raises:
            ClusterError: It may work later.
        """
        try:
            await self._cluster.create_once(EVENTS, event)
        except ClusterError as error:
            if error.status == 0 or error.status == 429 or error.status >= 500:
                raise
            log.warning("event %s was refused: %s", event["reason"], error)

    async def patch_status(
        self, kind: Kind, obj: Mapping[str, Any], patch: Mapping[str, Any]
    ) -> None:
        """Merge into the status of that very object; nothing if it is gone.

        Raises:
            ClusterError: The API server failed.
        """
        metadata = obj["metadata"]
        body = {"metadata": {"uid": metadata["uid"]}, "status": patch}
        try:
            fresh = await self._cluster.patch_status(
                RESOURCES[kind], metadata.get("namespace", ""), metadata["name"], body
            )
        except ClusterError as error:
            if error.missing or error.conflict:
                return
            raise
        self._cache.put(kind, fresh)

    async def _write_down(self, obj: Mapping[str, Any], entry: Json) -> None:
        if not await asyncio.to_thread(self._outbox.append, entry):
            return
        verdict = entry["verdict"]
        self._metrics.verdict(verdict["result"], verdict["reason"])
        metadata = obj["metadata"]
        log.info(
            "judged: %s",
            verdict["message"],
            extra={
                "fields": {
                    "namespace": metadata["namespace"],
                    "name": metadata["name"],
                    "result": verdict["result"],
                    "action": verdict["action"],
                    "reason": verdict["reason"],
                    "inputsDigest": verdict["inputsDigest"],
                }
            },
        )

    async def _ensure(self, obj: Mapping[str, Any], manifest: Json) -> None:
        """Make the Deployment, or bring it to the template; remember the outcome.

        Raises:
            ClusterError: The API server failed for now.
        """
        uid, digest = obj["metadata"]["uid"], template_digest(obj)
        name = manifest["metadata"]["name"]
        namespace = manifest["metadata"]["namespace"]
        existing = await self._cluster.get(DEPLOYMENTS, namespace, name)
        outcome = Outcome(digest)
        if existing is not None and not is_owned(existing, obj):
            text = (
                f"a Deployment {name} exists and does not belong to this "
                "ModelDeployment; rename or delete one of the two"
            )
            outcome = Outcome(digest, text, Progress.NOT_OWNED)
        else:
            try:
                await self._write(obj, existing, manifest)
            except ClusterError as error:
                if error.status not in (400, 403, 422):
                    raise
                text = f"Deployment {name} was refused: {error.message}"
                outcome = Outcome(digest, text, Progress.CREATE_FAILED)
        self.outcomes[uid] = outcome
        # The status follows from the outcome: look at the object once more.
        self._again(key_of(Kind.MODEL_DEPLOYMENT, obj))

    async def _write(
        self, obj: Mapping[str, Any], existing: Json | None, manifest: Json
    ) -> None:
        metadata = manifest["metadata"]
        if existing is None:
            await self._cluster.create(DEPLOYMENTS, manifest)
            await self._tell_created(obj, manifest)
            return
        if not _known_as_created(obj):
            # It was created, and whoever did it was killed before saying so.
            await self._tell_created(obj, manifest)
        operations = update_operations(existing, manifest)
        if operations:
            await self._cluster.patch_json(
                DEPLOYMENTS, metadata["namespace"], metadata["name"], operations
            )

    async def _tell_created(self, obj: Mapping[str, Any], manifest: Json) -> None:
        metadata = manifest["metadata"]
        await self.tell(
            build_event(
                obj,
                type_=NORMAL,
                reason=str(Progress.CREATED),
                message=f"Deployment {metadata['name']} was created",
                parts=(metadata["ownerReferences"][0]["uid"],),
                now=self._now(),
            )
        )

    async def _release(self, obj: Mapping[str, Any], pod: Mapping[str, Any]) -> None:
        """Take our gate away from one Pod; one that has changed comes again.

        Raises:
            ClusterError: The API server failed for now.
        """
        metadata = pod["metadata"]
        try:
            freed = await self._cluster.patch_json(
                RESOURCES[Kind.POD],
                metadata["namespace"],
                metadata["name"],
                release_operations(pod),
            )
        except ClusterError as error:
            if error.status in _GONE:
                return
            raise
        self._cache.put(Kind.POD, freed)
        await self.tell(
            build_event(
                obj,
                type_=NORMAL,
                reason=str(Progress.RELEASED),
                message="Pods that waited for the verdict were released",
                parts=(),
                now=self._now(),
            )
        )


def _known_as_created(obj: Mapping[str, Any]) -> bool:
    workload = (obj.get("status") or {}).get("workload") or {}
    return bool(workload.get("state") == str(Progress.CREATED))
