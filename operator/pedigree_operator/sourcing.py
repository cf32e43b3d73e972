# SPDX-License-Identifier: Apache-2.0
"""Resolves and examines references, and records what was found before it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Protocol

from pedigree.digests import Digest
from pedigree.errors import PedigreeError
from pedigree.evidence import Evidence, Resolution
from pedigree.refs import ModelRef, Scheme, parse
from pedigree.registry.store import within
from pedigree.sources import SourceSettings, resolve_identity
from pedigree_operator.access import Access
from pedigree_operator.cluster import ClusterError
from pedigree_operator.credentials import (
    NONE,
    Credentials,
    Reader,
    read_credentials,
)
from pedigree_operator.fair_room import in_thread
from pedigree_operator.index import Index
from pedigree_operator.jobs import ExamineCommand, Examined, examine, outcome_of
from pedigree_operator.lineages import Lineages
from pedigree_operator.lookups import Located
from pedigree_operator.metrics import Metrics
from pedigree_operator.moments import format_time
from pedigree_operator.recorder import Recorder

RECORD_RETRY_FIRST_S = 1.0
RECORD_RETRY_MAX_S = 60.0
NEVER_TAKEN = frozenset({400, 413, 422})
"""How the API server answers to an object that it refuses for what is in it."""

log = logging.getLogger(__name__)


class VolumeReader(Protocol):
    """What reads volume claims: a Job in their namespace."""

    async def resolve(self, access: Access) -> tuple[str, str]:
        """The pinned reference and the identity, as every source gives them."""

    async def examine(self, access: Access) -> Examined:
        """The evidence; its fingerprint is in the store of the claim's namespace."""


class Sourcing:
    """What :class:`pedigree_operator.lookups.Lookups` does its work with.

    Args:
        command: How models are examined.
        settings: How sources are asked, for objects that bring no credentials.
        cluster: Where Secrets are read.
        index: What is recorded already.
        recorder: Records evidence.
        lineages: Compares.
        metrics: Counts.
        now: Wall clock.
        volumes: Reads volume claims; None if nothing does.
    """

    def __init__(
        self,
        *,
        command: ExamineCommand,
        settings: SourceSettings,
        cluster: Reader,
        index: Index,
        recorder: Recorder,
        lineages: Lineages,
        metrics: Metrics,
        now: Callable[[], datetime],
        volumes: VolumeReader | None = None,
    ) -> None:
        self._command = command
        # One connection each: all of them share the client's hundred.
        self._settings = replace(settings, connections=1)
        self._index = index
        self._recorder = recorder
        self._lineages = lineages
        self._metrics = metrics
        self._now = now
        self._cluster = cluster
        self._volumes = volumes

    async def resolve(self, access: Access) -> Located:
        """What a reference means now; no content is read.

        Raises:
            ModelRefError: It cannot be understood.
            SourceError: The source refused, or failed for now.
        """
        ref = parse(access.uri)
        pinned, identity = await self._identity(ref, access)
        located = Located(pinned, identity, self._now())
        known = (
            self._index.content.get((access.scope, name, identity))
            for name in (access.uri, located.pinned_uri)
        )
        digest = next(filter(None, known), None)
        await self._saw(replace(access, uri=str(ref)), located, digest)
        return located

    async def _identity(self, ref: ModelRef, access: Access) -> tuple[str, str]:
        if ref.scheme is Scheme.PVC and self._volumes is not None:
            return await self._volumes.resolve(access)
        credentials = await self._credentials(access)
        try:
            settings = self._settings_with(credentials)
            asked = partial(resolve_identity, ref, settings)
            pinned, identity = await in_thread(asked)
            credentials.check(f"{pinned} {identity}", access.uri)
        except PedigreeError as error:
            raise credentials.clean(error) from None
        except Exception as error:
            if not credentials.values:
                raise
            # A traceback would show the message as it is.
            what = credentials.redact(f"{type(error).__name__}: {error}")
            raise PedigreeError(what) from None
        return str(pinned), identity

    async def _credentials(self, access: Access) -> Credentials:
        """What the object's own Secret holds; nothing is kept of it."""
        if not access.secret:
            return NONE
        return await read_credentials(self._cluster, access)

    def _settings_with(self, credentials: Credentials) -> SourceSettings:
        """Settings with these credentials and no others."""
        values = credentials.values
        if not values:
            return self._settings
        return replace(
            self._settings, hub_token=values.get("HF_TOKEN"), credentials=values
        )

    async def _saw(
        self, access: Access, located: Located, digest: Digest | None
    ) -> None:
        """Have the evidence say that the reference still means it, and no other.

        Args:
            access: The reference, in its canonical form, and for whom it means that.
            located: What it means now.
            digest: The evidence of that; None if there is none yet.
        """
        uri, scope = access.uri, access.scope
        at = format_time(located.at)
        seen = Resolution(uri, located.pinned_uri, located.identity, at, scope)
        known = self._index.find(digest, access.namespace) if digest else None
        try:
            await self._recorder.withdraw(uri, located.identity, scope)
            if known is not None:
                await self._recorder.saw(known, seen, located.at)
        except ClusterError as error:
            log.warning("resolution of %s is recorded later: %s", access, error)

    async def examine(self, access: Access) -> Examined:
        """Examine a model, compare it, and record the evidence.

        Raises:
            PedigreeError: There is no evidence; see :func:`jobs.examine`.
        """
        scheme: Scheme = parse(access.uri).scheme
        try:
            result = await self._examine(scheme, access)
        except PedigreeError as error:
            self._metrics.examined(outcome_of(error))
            raise
        self._metrics.examined(outcome_of(result))
        self._metrics.read_from(scheme, result.usage)
        evidence = result.evidence
        if evidence.fingerprint is not None:
            self._metrics.fingerprinted(scheme, result.seconds, result.bytes_read)
        self._lineages.examined(evidence)
        lineage = await self._lineages.compare(evidence)
        await self._record(replace(evidence, lineage=lineage))
        return result

    async def _examine(self, scheme: Scheme, access: Access) -> Examined:
        """Examine, and say for whom what was found is true."""
        confined_to = access.confined_to
        if scheme is Scheme.PVC and self._volumes is not None:
            result = await self._volumes.examine(access)
        else:
            credentials = await self._credentials(access)
            store = within(self._command.store, confined_to)
            command = replace(self._command, store=store)
            result = await examine(access.uri, command, credentials)
            result = replace(result, evidence=self._under_our_trust(result.evidence))
        seen = tuple(
            replace(one, scope=access.scope) for one in result.evidence.resolutions
        )
        evidence = replace(
            result.evidence, resolutions=seen, confined_to=confined_to, lineage=None
        )
        return replace(result, evidence=evidence)

    def _under_our_trust(self, evidence: Evidence) -> Evidence:
        """The evidence, without signatures that were verified under another set.

        A mounted folder can change while this process runs, and each examination reads
        it anew. What it found would replace what was verified under the set with which
        this process and the webhook began, and both would then believe nobody.
        """
        found = evidence.signatures
        if found is None or found.trust == self._index.trusted_signers:
            return evidence
        log.error(
            "signatures of %s were verified under other trusted signers than those of "
            "when this process began, and are left out: PEDIGREE_TRUST has changed; "
            "restart the operator and the webhook",
            evidence.digest,
        )
        return replace(evidence, signatures=None)

    async def _record(self, evidence: Evidence) -> None:
        """Record evidence, however long the API server is away.

        It was dear to get, and its loss would be told as a failure of the model.

        Raises:
            PedigreeError: The API server will never take it (``EvidenceRefused``);
                others need the room of this examination.
        """
        wait_s = RECORD_RETRY_FIRST_S
        while True:
            try:
                await self._recorder.record(evidence)
            except ClusterError as error:
                if error.status in NEVER_TAKEN:
                    raise PedigreeError(
                        f"evidence of {evidence.digest} cannot be recorded: {error}",
                        reason="EvidenceRefused",
                    ) from error
                log.warning("evidence is not recorded yet: %s", error)
                await asyncio.sleep(max(wait_s, error.retry_after_s or 0.0))
                wait_s = min(2 * wait_s, RECORD_RETRY_MAX_S)
            else:
                return
