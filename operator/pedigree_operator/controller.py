# SPDX-License-Identifier: Apache-2.0
"""The controller: from changes to keys, from keys to reconciles.

Changes arrive at :meth:`Controller.seen` and :meth:`Controller.gone`; the cache keeps
them, the index says whom they concern, the queue has each of those looked at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from pedigree.digests import Digest
from pedigree.errors import LedgerError, PedigreeError, SourceError
from pedigree.evidence import NO_TRUST
from pedigree.policy.verdict import Action
from pedigree_operator.access import sources_in
from pedigree_operator.cache import Cache
from pedigree_operator.cluster import Cluster, ClusterError, Connection
from pedigree_operator.effects import Effects
from pedigree_operator.index import Index, labels_of
from pedigree_operator.kinds import POLICIES, RESOURCES, Key, Kind
from pedigree_operator.lineages import Lineages
from pedigree_operator.lookups import Lookups
from pedigree_operator.metrics import Metrics, Readings
from pedigree_operator.plan import Examine, Resolve, View
from pedigree_operator.policies import policy_patch
from pedigree_operator.reconcile import reconcile
from pedigree_operator.references import reconcile_reference
from pedigree_operator.workqueue import WorkQueue

WORKERS = 8
SYNC_RETRY_S = 5.0
Object = Mapping[str, Any]

log = logging.getLogger(__name__)


class Controller:
    """Keeps every object's status, workload and ledger entries up to date.

    The parts that it is made of are given to :meth:`assemble`, because they in turn
    need the controller's cache and queue.

    Args:
        cluster: The API server.
        metrics: Counts.
        now: Wall clock.
        no_match: What becomes of objects that no policy matches.
        trusted_signers: Digest of the set of signers whose signatures are believed.
    """

    def __init__(
        self,
        cluster: Cluster,
        metrics: Metrics,
        now: Callable[[], datetime],
        no_match: Action,
        trusted_signers: Digest = NO_TRUST,
    ) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._now = now
        self._no_match = no_match
        self.queue: WorkQueue[Key] = WorkQueue(time.monotonic)
        self.index = Index(trusted_signers)
        self.cache = Cache(time.monotonic, self._changed)
        self._effects: Effects
        self._lookups: Lookups
        self._lineages: Lineages

    def assemble(self, effects: Effects, lookups: Lookups, lineages: Lineages) -> None:
        """Take in the parts that need the controller's cache and queue."""
        self._effects, self._lookups, self._lineages = effects, lookups, lineages

    # What kopf calls.

    def seen(self, kind: Kind, obj: dict[str, Any]) -> None:
        """An object is there, or has changed."""
        obj.get("metadata", {}).pop("managedFields", None)
        self.cache.put(kind, obj)

    def gone(self, kind: Kind, obj: dict[str, Any]) -> None:
        """An object was deleted."""
        self.cache.drop(kind, obj)

    def connection(self) -> Connection:
        """How to reach the API server."""
        return self._cluster.connection()

    # Keeping the picture complete.

    async def sync(self) -> None:
        """List everything; returns when all of it is in the cache."""
        while True:
            try:
                await self._list_all()
            except ClusterError as error:
                log.warning("not synced, trying again: %s", error)
                await asyncio.sleep(error.retry_after_s or SYNC_RETRY_S)
            else:
                return

    async def resync(self, interval_s: float) -> None:
        """List everything again now and then, for as long as the process runs."""
        while True:
            await asyncio.sleep(interval_s)
            await self.sync()
            self._effects.outcomes.clear()
            self._lookups.keep_only(self.index.accesses())
            for kind in (Kind.REFERENCE_MODEL, *POLICIES, Kind.MODEL_DEPLOYMENT):
                self._add(self.cache.keys(kind))
            self._add_stale()

    async def _list_all(self) -> None:
        for kind, resource in RESOURCES.items():
            since = self.cache.newest(kind)
            objects = await self._cluster.list(resource)
            for obj in objects:
                obj["metadata"].pop("managedFields", None)
            self.cache.replace(kind, objects, since)

    def _changed(self, key: Key, old: Object | None, new: Object | None) -> None:
        """Queue whoever a change concerns."""
        concerned = self.index.users_of(key) if key.kind is Kind.MODEL_EVIDENCE else ()
        means = self.index.update(key, old, new)
        if _generation(old) != _generation(new) and new is not None:
            for access in sources_in(new):
                self._lookups.forgive(access)
        if new is not None and key.kind not in (Kind.POD, Kind.NAMESPACE):
            self.queue.add(key)
        if not means:
            return
        if key.kind is Kind.MODEL_EVIDENCE:
            self._add((*concerned, *self.index.users_of(key)))
        elif key.kind is Kind.POD and new is not None:
            self._add([self.index.owner_of_pod(key, new)])
        elif key.kind is Kind.NAMESPACE:
            self._add_deployments(key.name)
        elif key.kind is Kind.REFERENCE_MODEL:
            for kind in POLICIES:
                self._add(self.cache.keys(kind))
            self._add_stale()
            self._add_deployments("")
        elif key.kind in POLICIES:
            self._add_stale()  # one that asks who signed may be the first
            self._add_deployments(key.namespace)

    def _add(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.queue.add(key)

    def _add_deployments(self, namespace: str) -> None:
        keys = self.cache.keys(Kind.MODEL_DEPLOYMENT)
        self._add(key for key in keys if namespace in ("", key.namespace))

    def _add_stale(self) -> None:
        for evidence in list(self.index.evidence.values()):
            if self.index.is_stale(evidence) or self.index.is_unsigned(evidence):
                self.queue.add(Key(Kind.MODEL_EVIDENCE, "", evidence.object_name))

    # Working on keys.

    async def work(self) -> None:
        """One worker: takes keys for as long as the process runs."""
        while True:
            key = await self.queue.get()
            started = time.monotonic()
            try:
                await self._handle(key)
                self.queue.forget(key)
            except Exception as error:
                self._failed(key, error)
            finally:
                self.queue.done(key)
                self._metrics.reconciled(key.kind, time.monotonic() - started)

    def _failed(self, key: Key, error: Exception) -> None:
        match error:
            case ClusterError():
                reason = "cluster"
            case LedgerError():
                reason = "ledger"
            case SourceError():
                reason = "source"
            case _:
                reason = "bug"
        self._metrics.failed(reason)
        delay_s = self.queue.retry(key)
        log.log(
            logging.ERROR if reason == "bug" else logging.WARNING,
            "reconcile failed, trying again: %s",
            error,
            exc_info=error if not isinstance(error, PedigreeError) else None,
            extra={"fields": {"key": "/".join(key), "delayS": delay_s}},
        )

    async def _handle(self, key: Key) -> None:
        obj = self.cache.get(key)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return
        match key.kind:
            case Kind.MODEL_DEPLOYMENT:
                await self._deployment(key, obj)
            case Kind.REFERENCE_MODEL:
                await self._reference(key, obj)
            case Kind.LINEAGE_POLICY | Kind.CLUSTER_LINEAGE_POLICY:
                await self._policy(key, obj)
            case Kind.MODEL_EVIDENCE:
                await self._lineages.refresh(key)

    async def _deployment(self, key: Key, obj: Object) -> None:
        namespace = await self._namespace(key.namespace)
        if namespace is None:
            return
        now = self._now()
        plan = reconcile(obj, self._view(key, obj, labels_of(namespace)), now)
        for lookup in plan.lookups:
            self._look_up(lookup, key)
        await self._effects.carry_out(obj, plan)
        self._requeue(key, plan.requeue_at, now)

    def _view(self, key: Key, obj: Object, labels: Mapping[str, str]) -> View:
        index = self.index
        return View(
            namespace_labels=labels,
            policies=index.policies_for(key.namespace),
            references=index.references,
            registry=index.registry,
            references_awaited=tuple(sorted(index.awaited)),
            evidence=index.find,
            content=index.content,
            lookup=self._lookups.state,
            rescan_failed=self._lineages.failed,
            gated_pods=index.gated_pods(key.namespace, key.name),
            outcome=self._effects.outcomes.get(obj["metadata"]["uid"]),
            no_match=self._no_match,
            trusted_signers=index.trusted_signers,
        )

    async def _namespace(self, name: str) -> Object | None:
        """The namespace, asked for if its event has not arrived yet.

        Without its labels the wrong policies would select.
        """
        known = self.cache.get(Key(Kind.NAMESPACE, "", name))
        if known is not None:
            return known
        found = await self._cluster.get(RESOURCES[Kind.NAMESPACE], "", name)
        if found is not None:
            self.cache.put(Kind.NAMESPACE, found)
        return found

    async def _reference(self, key: Key, obj: Object) -> None:
        now = self._now()
        plan = reconcile_reference(
            obj,
            lookup=self._lookups.state,
            evidence=self.index.find,
            content=self.index.content,
            is_stored=self._lineages.is_stored,
            now=now,
        )
        if plan.lookup is not None:
            self._look_up(plan.lookup, key)
        if plan.status:
            await self._effects.patch_status(key.kind, obj, plan.status)
        self._requeue(key, plan.requeue_at, now)

    async def _policy(self, key: Key, obj: Object) -> None:
        policy = self.index.policies[key]
        patch = policy_patch(obj, policy, self.index.references, self._now())
        if patch:
            await self._effects.patch_status(key.kind, obj, patch)

    def _look_up(self, lookup: Resolve | Examine, key: Key) -> None:
        if isinstance(lookup, Resolve):
            self._lookups.resolve(lookup.access, key)
        else:
            self._lookups.examine(lookup.access, key)

    def _requeue(self, key: Key, at: datetime | None, now: datetime) -> None:
        if at is not None:
            self.queue.add_after(key, max((at - now).total_seconds(), 0.05))

    # What is asked from outside.

    def unready(self, resync_s: float) -> str:
        """Why the operator is not ready; empty when it is."""
        if not self.cache.synced:
            return "not all objects have been listed yet"
        age_s = self.cache.age_s()
        if age_s > 3 * resync_s + 60:
            return f"objects were last listed {age_s:.0f} s ago"
        return ""

    def read_into(self, readings: Readings) -> None:
        """Add what the controller knows to a scrape."""
        age_s = self.cache.age_s()
        readings.gauges |= {
            "pedigree_queue_depth": (
                "Objects that wait to be reconciled.",
                self.queue.depth(),
            ),
            "pedigree_queue_oldest_seconds": (
                "How long the first of them has waited.",
                self.queue.oldest_age_s(),
            ),
            "pedigree_examinations_in_flight": (
                "Examinations that run now.",
                self._lookups.in_flight,
            ),
            "pedigree_cache_age_seconds": (
                "Time since everything was listed last; -1 before the first time.",
                age_s if self.cache.synced else -1.0,
            ),
        }
        readings.deployments = Counter(
            str(((obj.get("status") or {}).get("verdict") or {}).get("result"))
            for obj in self.cache.all(Kind.MODEL_DEPLOYMENT)
        )


def _generation(obj: Object | None) -> object:
    return obj["metadata"].get("generation") if obj is not None else None
