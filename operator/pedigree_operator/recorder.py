# SPDX-License-Identifier: Apache-2.0
"""Writes ``ModelEvidence`` objects: one per digest, whoever found it first."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from pedigree.digests import Digest
from pedigree.errors import LedgerError
from pedigree.evidence import (
    SOURCES_MAX,
    Evidence,
    Lineage,
    Resolution,
    from_object,
    to_object,
    to_status,
)
from pedigree_operator.cache import Cache
from pedigree_operator.cluster import Cluster, ClusterError, Object
from pedigree_operator.kinds import RESOURCES, Key, Kind
from pedigree_operator.moments import read_time
from pedigree_operator.status import merge_patch

ATTEMPTS = 5
REFRESH_AFTER_S = 600.0
"""A resolution that is younger is not written again; no revalidation is shorter."""
_EVIDENCE = RESOURCES[Kind.MODEL_EVIDENCE]

log = logging.getLogger(__name__)


def merge_resolutions(
    old: tuple[Resolution, ...], new: tuple[Resolution, ...]
) -> tuple[Resolution, ...]:
    """Newest first, one for each reference, bounded."""
    by_uri = {seen.uri: seen for seen in old} | {seen.uri: seen for seen in new}
    newest = sorted(
        by_uri.values(), key=lambda seen: read_time(seen.resolved_at), reverse=True
    )
    return tuple(newest[:SOURCES_MAX])


def without_outdated(
    resolutions: tuple[Resolution, ...], uri: str, identity: str
) -> tuple[Resolution, ...]:
    """Resolutions without those by which a reference meant something else than now.

    What a commit is never changes, so a branch that has moved on leaves the commit
    that it once meant.

    Args:
        resolutions: Of one evidence.
        uri: The reference, in its canonical form.
        identity: What it means now.
    """
    kept: list[Resolution] = []
    for seen in resolutions:
        if seen.uri != uri or seen.identity == identity:
            kept.append(seen)
        elif seen.pinned_uri != seen.uri:
            kept.append(replace(seen, uri=seen.pinned_uri))
    return merge_resolutions((), tuple(kept))


class Recorder:
    """Creates evidence and brings its status up to date.

    Args:
        cluster: The API server.
        cache: Takes in what was written, before the watch tells of it.
    """

    def __init__(self, cluster: Cluster, cache: Cache) -> None:
        self._cluster = cluster
        self._cache = cache
        self._locks: defaultdict[Digest, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def record(self, evidence: Evidence) -> None:
        """Record what an examination found; evidence that is there already stays.

        What the reference meant before is withdrawn first: a kill in between leaves a
        reference that means nothing yet, never one that means too much.

        Raises:
            ClusterError: It could not be recorded.
        """

        def add(before: Evidence) -> Evidence:
            return replace(
                before,
                lineage=evidence.lineage or before.lineage,
                resolutions=merge_resolutions(before.resolutions, evidence.resolutions),
            )

        for seen in evidence.resolutions:
            await self.withdraw(seen.uri, seen.identity)
        async with self._locks[evidence.digest]:
            await self._create(evidence)
            await self._change(evidence.digest, add)

    async def set_lineage(self, digest: Digest, lineage: Lineage) -> None:
        """Record a newer comparison.

        Raises:
            ClusterError: It could not be recorded.
        """
        async with self._locks[digest]:
            await self._change(digest, lambda before: replace(before, lineage=lineage))

    async def saw(self, digest: Digest, seen: Resolution, now: datetime) -> None:
        """Record that a reference was seen to mean this content still.

        Raises:
            ClusterError: It could not be recorded.
        """

        def add(before: Evidence) -> Evidence:
            merged = merge_resolutions(before.resolutions, (seen,))
            return replace(before, resolutions=merged)

        obj = self._cache.get(self._key(digest))
        known = from_object(obj).resolutions if obj is not None else ()
        for old in known:
            same = (old.uri, old.identity) == (seen.uri, seen.identity)
            age_s = (now - read_time(old.resolved_at)).total_seconds()
            if same and age_s < REFRESH_AFTER_S:
                return
        async with self._locks[digest]:
            await self._change(digest, add)

    async def withdraw(self, uri: str, identity: str) -> None:
        """Have no evidence say any more that a reference means other content.

        The webhook goes by what evidence says of a reference.  Were an outdated
        resolution left, it would count again as soon as the true one is not recorded:
        not yet, or no more for want of room.

        Args:
            uri: The reference, in its canonical form.
            identity: What it means now.

        Raises:
            ClusterError: Some of it could not be recorded.
        """
        outdated = [
            obj
            for obj in self._cache.all(Kind.MODEL_EVIDENCE)
            if any(
                seen.get("uri") == uri and seen.get("identity") != identity
                for seen in (obj.get("status") or {}).get("resolutions") or ()
            )
        ]
        for obj in outdated:
            try:
                digest = from_object(obj).digest
            except LedgerError:  # the webhook cannot read it either, and says so
                continue
            async with self._locks[digest]:
                await self._change(
                    digest,
                    lambda before: replace(
                        before,
                        resolutions=without_outdated(before.resolutions, uri, identity),
                    ),
                )

    @staticmethod
    def _key(digest: Digest) -> Key:
        return Key(Kind.MODEL_EVIDENCE, "", f"sha256-{digest.hex}")

    async def _create(self, evidence: Evidence) -> None:
        if self._cache.get(self._key(evidence.digest)) is not None:
            return
        obj = to_object(evidence)
        obj.pop("status")
        try:
            self._take(await self._cluster.create(_EVIDENCE, obj))
        except ClusterError as error:
            if not error.conflict:
                raise
            return
        log.info("evidence recorded: %s", evidence.digest)

    async def _change(
        self, digest: Digest, change: Callable[[Evidence], Evidence]
    ) -> None:
        """Read, change and write the status; again when somebody was quicker."""
        key = self._key(digest)
        obj = self._cache.get(key)
        for attempt in range(ATTEMPTS):
            if obj is None or attempt:
                obj = await self._cluster.get(_EVIDENCE, "", key.name)
                if obj is not None:
                    self._take(obj)
            if obj is None:
                return
            after = to_status(change(from_object(obj)))
            patch = merge_patch(obj.get("status") or {}, after)
            if not patch:
                return
            version = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            body = {"metadata": version, "status": patch}
            try:
                self._take(
                    await self._cluster.patch_status(_EVIDENCE, "", key.name, body)
                )
            except ClusterError as error:
                if not error.conflict or attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    def _take(self, obj: Object) -> None:
        self._cache.put(Kind.MODEL_EVIDENCE, obj)
