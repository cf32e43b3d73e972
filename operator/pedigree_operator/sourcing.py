# SPDX-License-Identifier: Apache-2.0
"""Resolves and examines references, and records what was found before it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

from pedigree.digests import Digest
from pedigree.errors import PedigreeError, SourceUnavailable, quote
from pedigree.evidence import Evidence, Resolution
from pedigree.refs import ModelRef, Scheme, parse
from pedigree.sources import SourceSettings, resolve_identity
from pedigree_operator.cluster import ClusterError
from pedigree_operator.index import Index
from pedigree_operator.jobs import ExamineCommand, Examined, examine, outcome_of
from pedigree_operator.lineages import Lineages
from pedigree_operator.lookups import Located
from pedigree_operator.metrics import Metrics
from pedigree_operator.moments import format_time
from pedigree_operator.recorder import Recorder

RESOLVE_TIMEOUT_S = 60.0
RECORD_RETRY_FIRST_S = 1.0
RECORD_RETRY_MAX_S = 60.0
THREADS = 8

log = logging.getLogger(__name__)


class Sourcing:
    """What :class:`pedigree_operator.lookups.Lookups` does its work with.

    Args:
        command: How models are examined.
        settings: How sources are asked.
        index: What is recorded already.
        recorder: Records evidence.
        lineages: Compares.
        metrics: Counts.
        now: Wall clock.
    """

    def __init__(
        self,
        *,
        command: ExamineCommand,
        settings: SourceSettings,
        index: Index,
        recorder: Recorder,
        lineages: Lineages,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._command = command
        self._settings = settings
        self._index = index
        self._recorder = recorder
        self._lineages = lineages
        self._metrics = metrics
        self._now = now
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="resolve")

    async def resolve(self, uri: str) -> Located:
        """What a reference means now; no content is read.

        Raises:
            ModelRefError: It cannot be understood.
            SourceError: The source refused, or failed for now.
        """
        ref = parse(uri)
        pinned, identity = await self._ask(ref)
        located = Located(str(pinned), identity, self._now())
        known = (
            self._index.content.get((name, identity))
            for name in (uri, located.pinned_uri)
        )
        await self._saw(str(ref), located, next(filter(None, known), None))
        return located

    async def _ask(self, ref: ModelRef) -> tuple[ModelRef, str]:
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._pool, resolve_identity, ref, self._settings)
        try:
            return await asyncio.wait_for(work, RESOLVE_TIMEOUT_S)
        except TimeoutError:
            raise SourceUnavailable(
                f"source of {quote(str(ref))} did not answer within "
                f"{RESOLVE_TIMEOUT_S:g} s"
            ) from None

    async def _saw(self, uri: str, located: Located, digest: Digest | None) -> None:
        """Have the evidence say that the reference still means it, and no other.

        Args:
            uri: The reference, in its canonical form.
            located: What it means now.
            digest: The evidence of that; None if there is none yet.
        """
        at = format_time(located.at)
        seen = Resolution(uri, located.pinned_uri, located.identity, at)
        try:
            await self._recorder.withdraw(uri, located.identity)
            if digest is not None:
                await self._recorder.saw(digest, seen, located.at)
        except ClusterError as error:
            log.warning("resolution of %s is recorded later: %s", uri, error)

    async def examine(self, uri: str) -> Examined:
        """Examine a model, compare it, and record the evidence.

        Raises:
            PedigreeError: There is no evidence; see :func:`jobs.examine`.
        """
        try:
            result = await examine(uri, self._command)
        except PedigreeError as error:
            self._metrics.examined(outcome_of(error))
            raise
        self._metrics.examined(outcome_of(result))
        evidence = result.evidence
        if evidence.fingerprint is not None:
            scheme: Scheme = parse(uri).scheme
            self._metrics.fingerprinted(scheme, result.seconds, result.bytes_read)
        self._lineages.examined(evidence.digest)
        lineage = await self._lineages.compare(evidence)
        await self._record(replace(evidence, lineage=lineage))
        return result

    async def _record(self, evidence: Evidence) -> None:
        """Record evidence, however long the API server is away.

        It was dear to get, and its loss would be told as a failure of the model.
        """
        wait_s = RECORD_RETRY_FIRST_S
        while True:
            try:
                await self._recorder.record(evidence)
            except ClusterError as error:
                log.warning("evidence is not recorded yet: %s", error)
                await asyncio.sleep(max(wait_s, error.retry_after_s or 0.0))
                wait_s = min(2 * wait_s, RECORD_RETRY_MAX_S)
            else:
                return

    def stop(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
