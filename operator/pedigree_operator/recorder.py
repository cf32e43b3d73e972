# SPDX-License-Identifier: Apache-2.0
"""Writes ``ModelEvidence`` objects: one per digest, whoever found it first."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
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
    evidence_name,
    from_object,
    merge_signatures,
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
    """One for each reference and scope, bounded, the newest first.

    Who names a model by many references does not push out those of others: each
    namespace and place has its newest one kept, before any has its second.
    """
    by_name = {(seen.scope, seen.uri): seen for seen in (*old, *new)}
    newest = sorted(
        by_name.values(), key=lambda seen: read_time(seen.resolved_at), reverse=True
    )
    taken: Counter[tuple[str, ...]] = Counter()
    ranked: list[tuple[int, Resolution]] = []
    for seen in newest:
        namespace, place = seen.scope.partition("/")[0], seen.uri.split("/", 3)[:3]
        ranked.append((taken[namespace, *place], seen))
        taken[namespace, *place] += 1
    ranked.sort(key=lambda pair: pair[0])
    return tuple(seen for _, seen in ranked[:SOURCES_MAX])


def without_outdated(
    resolutions: tuple[Resolution, ...], uri: str, identity: str, scope: str = ""
) -> tuple[Resolution, ...]:
    """Resolutions without those by which a reference meant something else than now.

    What a commit is never changes, so a branch that has moved on leaves the commit
    that it once meant.

    Args:
        resolutions: Of one evidence.
        uri: The reference, in its canonical form.
        identity: What it means now.
        scope: For whom; what it means for others is not touched.
    """
    kept: list[Resolution] = []
    for seen in resolutions:
        if (seen.scope, seen.uri) != (scope, uri) or seen.identity == identity:
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
        self._locks: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def record(self, evidence: Evidence) -> None:
        """Record what an examination found; evidence that is there already stays.

        What the reference meant before is withdrawn first: a kill in between leaves a
        reference that means nothing yet, never one that means too much.

        Facts that count in one namespace only never touch those that count everywhere:
        where there are such, just the reference is added to them.

        Raises:
            ClusterError: It could not be recorded.
        """

        def add(before: Evidence) -> Evidence:
            ours_alone = before.confined_to == evidence.confined_to
            ours = evidence.lineage if ours_alone else None
            signed = evidence.signatures if ours_alone else None
            return replace(
                before,
                lineage=ours or before.lineage,
                signatures=merge_signatures(before.signatures, signed),
                resolutions=merge_resolutions(before.resolutions, evidence.resolutions),
            )

        for seen in evidence.resolutions:
            await self.withdraw(seen.uri, seen.identity, seen.scope)
        key = _key(evidence.digest, evidence.confined_to)
        everywhere = _key(evidence.digest, "")
        if self._cache.get(everywhere) is not None:
            key = everywhere
        async with self._locks[key]:
            if key == _key(evidence.digest, evidence.confined_to):
                await self._create(evidence)
            await self._change(key, add)

    async def set_lineage(self, evidence: Evidence, lineage: Lineage) -> None:
        """Record a newer comparison.

        Raises:
            ClusterError: It could not be recorded.
        """
        key = _key(evidence.digest, evidence.confined_to)
        async with self._locks[key]:
            await self._change(key, lambda before: replace(before, lineage=lineage))

    async def saw(self, evidence: Evidence, seen: Resolution, now: datetime) -> None:
        """Record that a reference was seen to mean this content still.

        Raises:
            ClusterError: It could not be recorded.
        """

        def add(before: Evidence) -> Evidence:
            merged = merge_resolutions(before.resolutions, (seen,))
            return replace(before, resolutions=merged)

        key = _key(evidence.digest, evidence.confined_to)
        obj = self._cache.get(key)
        known = from_object(obj).resolutions if obj is not None else ()
        for old in known:
            same = replace(old, resolved_at="") == replace(seen, resolved_at="")
            age_s = (now - read_time(old.resolved_at)).total_seconds()
            if same and age_s < REFRESH_AFTER_S:
                return
        async with self._locks[key]:
            await self._change(key, add)

    async def withdraw(self, uri: str, identity: str, scope: str = "") -> None:
        """Have no evidence say any more that a reference means other content.

        The webhook goes by what evidence says of a reference.  Were an outdated
        resolution left, it would count again as soon as the true one is not recorded:
        not yet, or no more for want of room.

        Args:
            uri: The reference, in its canonical form.
            identity: What it means now.
            scope: For whom it does.

        Raises:
            ClusterError: Some of it could not be recorded.
        """
        outdated = [
            obj
            for obj in self._cache.all(Kind.MODEL_EVIDENCE)
            if any(
                (seen.get("scope", ""), seen.get("uri")) == (scope, uri)
                and seen.get("identity") != identity
                for seen in (obj.get("status") or {}).get("resolutions") or ()
            )
        ]
        for obj in outdated:
            try:
                found = from_object(obj)
            except LedgerError:  # the webhook cannot read it either, and says so
                continue
            key = _key(found.digest, found.confined_to)
            async with self._locks[key]:
                await self._change(
                    key,
                    lambda before: replace(
                        before,
                        resolutions=without_outdated(
                            before.resolutions, uri, identity, scope
                        ),
                    ),
                )

    async def _create(self, evidence: Evidence) -> None:
        if self._cache.get(_key(evidence.digest, evidence.confined_to)) is not None:
            return
        obj = to_object(evidence)
        obj.pop("status")
        try:
            self._take(await self._cluster.create(_EVIDENCE, obj))
        except ClusterError as error:
            if not error.conflict:
                raise
            return
        log.info("evidence recorded: %s", evidence.object_name)

    async def _change(self, key: Key, change: Callable[[Evidence], Evidence]) -> None:
        """Read, change and write the status; again when somebody was quicker."""
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


def _key(digest: Digest, confined_to: str) -> Key:
    return Key(Kind.MODEL_EVIDENCE, "", evidence_name(digest, confined_to))
