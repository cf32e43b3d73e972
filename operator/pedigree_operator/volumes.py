# SPDX-License-Identifier: Apache-2.0
"""Reads volume claims with Jobs in their own namespaces.

What a Job is and found is in the cluster: its name follows from what it reads, and its
answer waits in ConfigMaps that go with it.  So a restart of this process finds a Job
where it is and goes on, and nothing is examined twice.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from pedigree.errors import (
    PedigreeError,
    SourceError,
    SourceRefused,
    SourceUnavailable,
    quote,
)
from pedigree.evidence import Resolution
from pedigree.examine.handed_back import part_names
from pedigree.fingerprint.model import Fingerprint
from pedigree.refs import ModelRef, parse
from pedigree.registry.store import FingerprintStore
from pedigree_operator.access import Access
from pedigree_operator.cluster import Cluster, ClusterError, Object
from pedigree_operator.jobs import Examined
from pedigree_operator.moments import format_time, read_time
from pedigree_operator.volume_answers import answer_in, understood
from pedigree_operator.volume_manifests import (
    CLAIMS,
    CONFIG_MAPS,
    EXAMINATION,
    JOBS,
    PODS,
    Volume,
    belongings,
    job,
    split,
)
from pedigree_operator.volume_outcomes import (
    answer_name,
    ended,
    failure,
    late,
    why_pending,
)
from pedigree_operator.volume_settings import VolumeSettings

GONE_S = 60.0
"""How long the end of an old Job is waited for."""
JOBS_MAX = 4
"""Jobs at once in one namespace: none of them waits for another namespace's."""
PAST_DEADLINE_S = 120.0
"""What the cluster's own clock gets to end a Job."""


class Volumes:
    """Resolves and examines ``pvc://`` references.

    Args:
        cluster: The API server.
        settings: Which namespaces, and how.
        store: Fingerprints; those of claims are kept apart, by namespace.
        now: Wall clock.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        settings: VolumeSettings,
        store: FingerprintStore,
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._store = store
        self._now = now
        self._sleep = sleep
        self._told: dict[str, str] = {}
        self._room = {name: asyncio.Semaphore(JOBS_MAX) for name in settings.namespaces}
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = (
            WeakValueDictionary()
        )

    async def resolve(self, access: Access) -> tuple[str, str]:
        """The reference and its identity: of the claim, and of what was in it.

        That is what the last Job found, if it is younger than the settings say;
        else a Job is run.

        Raises:
            SourceError: See :meth:`examine`.
        """
        examined, _ = await self._result(access)
        seen = examined.evidence.resolutions[0]
        return seen.pinned_uri, seen.identity

    async def examine(self, access: Access) -> Examined:
        """What the Job found that :meth:`resolve` spoke of; its fingerprint is kept.

        Raises:
            SourceRefused: Claims are not read (``VolumesDisabled``); there is no such
                claim (``NotFound``); this process may not (``VolumesForbidden``); the
                Job may not be made (``JobRefused``); its answer is none of ours
                (``AnswerRefused``); what the examination itself refused.
            SourceUnavailable: ``VolumeNotMounted``, ``DeadlineExceeded``,
                ``NotHandedBack``, ``JobDeleted``, ``QuotaExceeded``,
                ``ClusterUnavailable``; what the examination itself could not have.
            ExaminationFailed: It crashed.
        """
        examined, fingerprint = await self._result(access)
        if fingerprint is not None:
            store = self._store.within(access.namespace)
            await asyncio.to_thread(store.put, examined.evidence.digest, fingerprint)
        return examined

    async def _result(self, access: Access) -> tuple[Examined, Fingerprint | None]:
        ref = parse(access.uri)
        namespace = access.namespace
        self._check_allowed(ref, namespace)
        key = (namespace, split(ref)[0])
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock, self._room[namespace], _translated(ref):
            return await self._run(ref, namespace)

    def _check_allowed(self, ref: ModelRef, namespace: str) -> None:
        if not namespace:
            raise SourceRefused(
                f"{quote(str(ref))} is a volume claim, and what refers to it is in no "
                "namespace",
                reason="OnlyInCluster",
                hint="refer to it from a ModelDeployment in the claim's namespace",
            )
        if namespace not in self._settings.namespaces:
            raise SourceRefused(
                f"{quote(str(ref))} is a volume claim, and those of namespace "
                f"{namespace} are not read",
                reason="VolumesDisabled",
                hint="have the platform team set volumes.enabled in the chart and name "
                "the namespace in volumes.namespaces",
            )

    async def _run(
        self, ref: ModelRef, namespace: str
    ) -> tuple[Examined, Fingerprint | None]:
        volume = await self._volume(ref, namespace)
        found = await self._cluster.get(JOBS, namespace, volume.name)
        if found is not None and self._is_spent(volume, found):
            await self._remove(volume, found)
            found = None
        if found is None:
            found = await self._create(volume, ref)
        if found["spec"].get("suspend"):
            await self._let_run(volume, found)
        try:
            return await self._outcome(volume, found, ref)
        except PedigreeError as error:
            if not isinstance(error, ClusterError):
                self._told[volume.name] = found["metadata"]["uid"]
            raise

    async def _volume(self, ref: ModelRef, namespace: str) -> Volume:
        claim, path = split(ref)
        found = await self._cluster.get(CLAIMS, namespace, claim)
        if found is None:
            raise SourceRefused(
                f"there is no PersistentVolumeClaim {quote(claim)} in namespace "
                f"{namespace}",
                reason="NotFound",
            )
        return Volume(namespace, claim, found["metadata"]["uid"], path)

    def _is_spent(self, volume: Volume, found: Object) -> bool:
        """Whether a Job is of no more use: told of, too old, going away, not ours."""
        metadata = found["metadata"]
        if metadata.get("deletionTimestamp") or not answer_name(found):
            return True
        if ended(found) is None:
            return False
        if self._told.get(volume.name) == metadata["uid"]:
            return True
        started = read_time((found.get("status") or {}).get("startTime"))
        age = self._now() - started
        return age >= timedelta(seconds=self._settings.reexamine_s)

    async def _remove(self, volume: Volume, found: Object) -> None:
        uid = found["metadata"]["uid"]
        await self._cluster.delete(JOBS, volume.namespace, volume.name, uid)
        until = time.monotonic() + GONE_S
        while True:
            now = await self._cluster.get(JOBS, volume.namespace, volume.name)
            if now is None or now["metadata"]["uid"] != uid:
                return
            if time.monotonic() > until:
                raise SourceUnavailable(
                    f"Job {volume.namespace}/{volume.name} of before does not go away",
                    reason="JobDeleted",
                )
            await self._sleep(self._settings.poll_s)

    async def _create(self, volume: Volume, ref: ModelRef) -> Object:
        answer = f"{volume.name}-{secrets.token_hex(8)}"
        try:
            return await self._cluster.create(
                JOBS, job(volume, self._settings, ref, answer)
            )
        except ClusterError as error:
            if error.conflict:  # somebody else's was first
                found = await self._cluster.get(JOBS, volume.namespace, volume.name)
                if found is not None and answer_name(found):
                    return found
            raise

    async def _let_run(self, volume: Volume, found: Object) -> None:
        made = belongings(volume, found["metadata"]["uid"], answer_name(found))
        for resource, obj in made:
            await self._cluster.create_once(resource, obj)
        go = [{"op": "replace", "path": "/spec/suspend", "value": False}]
        await self._cluster.patch_json(JOBS, volume.namespace, volume.name, go)

    async def _outcome(
        self, volume: Volume, found: Object, ref: ModelRef
    ) -> tuple[Examined, Fingerprint | None]:
        """Wait for the answer of a Job, or for its end without one."""
        settings = self._settings
        longest_s = settings.mount_s + settings.deadline_s + PAST_DEADLINE_S
        until = time.monotonic() + longest_s
        uid = found["metadata"]["uid"]
        while True:
            # The Job is looked at before its answer: what it wrote before it ended is
            # then seen.
            now = await self._cluster.get(JOBS, volume.namespace, volume.name)
            handed = await self._handed_back(volume, found, ref)
            if handed is not None:
                return handed
            if now is None or now["metadata"]["uid"] != uid:
                raise SourceUnavailable(
                    f"Job {volume.namespace}/{volume.name} was deleted before it had "
                    "an answer",
                    reason="JobDeleted",
                )
            pod = await self._pod(volume, uid)
            if ended(now) is not None:
                raise failure(volume, ref, now, pod)
            await self._check_mounted(volume, now, pod)
            if time.monotonic() > until:
                raise late(ref, settings.deadline_s)
            await self._sleep(settings.poll_s)

    async def _handed_back(
        self, volume: Volume, found: Object, ref: ModelRef
    ) -> tuple[Examined, Fingerprint | None] | None:
        name, namespace = answer_name(found), volume.namespace
        answer = answer_in(await self._cluster.get(CONFIG_MAPS, namespace, name))
        if answer is None:
            return None
        parts = [
            await self._cluster.get(CONFIG_MAPS, namespace, part)
            for part in part_names(name)[: answer.parts]
        ]
        at = format_time(self._now())
        seen = Resolution(str(ref), str(ref), volume.uid, at, scope=namespace)
        return await asyncio.to_thread(understood, str(ref), answer, parts, seen)

    async def _pod(self, volume: Volume, job_uid: str) -> Object | None:
        ours = replace(PODS, label_selector=f"{EXAMINATION}={volume.name}")
        for pod in await self._cluster.list(ours, volume.namespace):
            owners = pod["metadata"].get("ownerReferences") or ()
            if any(owner.get("uid") == job_uid for owner in owners):
                return pod
        return None

    async def _check_mounted(
        self, volume: Volume, found: Object, pod: Object | None
    ) -> None:
        """Give a Pod up that does not start.

        Raises:
            SourceUnavailable: It has not for too long (``VolumeNotMounted``).
        """
        started = (found.get("status") or {}).get("startTime")
        waits = pod is None or (pod.get("status") or {}).get("phase") == "Pending"
        if not started or not waits:
            return
        most = timedelta(seconds=self._settings.mount_s)
        if self._now() - read_time(started) < most:
            return
        uid = found["metadata"]["uid"]
        await self._cluster.delete(JOBS, volume.namespace, volume.name, uid)
        raise SourceUnavailable(
            f"claim {quote(volume.claim)} in namespace {volume.namespace} was not "
            f"mounted within {self._settings.mount_s:g} s: {why_pending(pod)}",
            reason="VolumeNotMounted",
            hint="is it bound, and not held by a Pod on another node?",
        )


@asynccontextmanager
async def _translated(ref: ModelRef) -> AsyncIterator[None]:
    """Errors of the API server, as a source tells them."""
    try:
        yield
    except ClusterError as error:
        raise _source_error(ref, error) from error


def _source_error(ref: ModelRef, error: ClusterError) -> SourceError:
    what = f"{quote(str(ref))} cannot be read: {error.message}"
    if error.status == 403 and "exceeded quota" in error.message:
        return SourceUnavailable(what, reason="QuotaExceeded")
    if error.status == 403:
        return SourceRefused(
            what,
            reason="VolumesForbidden",
            hint="name the namespace in volumes.namespaces of the chart",
        )
    if error.status in (400, 422):
        return SourceRefused(what, reason="JobRefused")
    return SourceUnavailable(
        what, reason="ClusterUnavailable", retry_after_s=error.retry_after_s
    )
