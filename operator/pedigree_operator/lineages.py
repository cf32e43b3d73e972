# SPDX-License-Identifier: Apache-2.0
"""Keeps the lineage in the evidence up to date with the known references."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from pedigree.digests import Digest
from pedigree.errors import PedigreeError
from pedigree.evidence import Evidence, Lineage
from pedigree.registry.store import FingerprintStore
from pedigree_operator.access import Access, access_by
from pedigree_operator.index import Index
from pedigree_operator.kinds import Key, Kind
from pedigree_operator.lookups import Lookups
from pedigree_operator.metrics import Metrics
from pedigree_operator.recorder import Recorder
from pedigree_operator.rescan import FingerprintMissing, Rescanner

LOOKS_MAX = 3
"""How often a model is examined again for today's signers, by one reference; each look
reads it whole, and one whose answer is always about other signers must end."""

log = logging.getLogger(__name__)


class Lineages:
    """Compares again what is stale; examines again only where a fingerprint is lost.

    Args:
        index: What is known.
        store: Fingerprints.
        rescanner: Compares.
        recorder: Records.
        metrics: Counts.
        now: Wall clock.
        wake: Has objects looked at.
    """

    def __init__(
        self,
        *,
        index: Index,
        store: FingerprintStore,
        rescanner: Rescanner,
        recorder: Recorder,
        metrics: Metrics,
        now: Callable[[], datetime],
        wake: Callable[[Key], None],
    ) -> None:
        self._index = index
        self._store = store
        self._rescanner = rescanner
        self._recorder = recorder
        self._metrics = metrics
        self._now = now
        self._wake = wake
        self._lookups: Lookups
        self._tried: set[tuple[str, Access]] = set()
        self._doubted: set[Digest] = set()
        self._looks: Counter[tuple[str, Access]] = Counter()
        self.failed: dict[str, str] = {}
        """Objects whose lineage cannot be brought up to date, by name, and why."""

    def assemble(self, lookups: Lookups) -> None:
        """Take in the lookups, which in turn need this."""
        self._lookups = lookups

    def is_stored(self, digest: Digest) -> bool:
        """Whether a usable fingerprint of the model is stored."""
        return digest not in self._doubted and self._store.path(digest).is_file()

    def examined(self, evidence: Evidence) -> None:
        """A model was examined: its fingerprint is as good as new."""
        name = evidence.object_name
        if not evidence.confined_to:
            self._doubted.discard(evidence.digest)
        self.failed.pop(name, None)
        self._tried = {pair for pair in self._tried if pair[0] != name}

    async def compare(self, evidence: Evidence) -> Lineage | None:
        """Lineage of a model just examined; None leaves it to :meth:`refresh`."""
        if evidence.fingerprint is None:
            return None
        try:
            return await self._compare(evidence)
        except PedigreeError as error:
            log.warning("%s is compared later: %s", evidence.digest, error)
            return None

    async def refresh(self, key: Key) -> None:
        """Bring one ``ModelEvidence`` up to date: its lineage, and who signed it.

        Raises:
            PedigreeError: Not now; try again.
        """
        evidence = self._index.evidence_named(key.name)
        if evidence is None:
            return
        if self._index.is_unsigned(evidence):
            self._look_for_signers(evidence, key)
        if not self._index.is_stale(evidence):
            return
        try:
            lineage = await self._compare(evidence)
        except FingerprintMissing as error:
            if error.reference:
                self._read_reference_again(error.reference)
                raise
            self._examine_again(evidence, key, error)
            return
        self.failed.pop(evidence.object_name, None)
        await self._recorder.set_lineage(evidence, lineage)

    async def _compare(self, evidence: Evidence) -> Lineage:
        compared = self._index.compared
        lineage = await self._rescanner.compare(evidence, compared, self._now())
        self._metrics.rescans.inc()
        return lineage

    def _read_reference_again(self, name: str) -> None:
        digest, _ = self._index.compared.get(name, (None, ""))
        if digest is not None:
            self._doubted.add(digest)
            self._wake(Key(Kind.REFERENCE_MODEL, "", name))

    def _look_for_signers(self, evidence: Evidence, key: Key) -> None:
        """Have the files examined again, by the first reference that is not failing."""
        for access in self._ways_to(evidence):
            failure = self._lookups.state(access).failure
            look = (evidence.object_name, access)
            waits = failure is not None and self._now() < failure.retry_at
            if not waits and self._looks[look] < LOOKS_MAX:
                self._looks[look] += 1
                log.info("looking for signatures of today's signers at %s", access)
                self._lookups.examine(access, key)
                return

    def _ways_to(self, evidence: Evidence) -> Iterator[Access]:
        """Accesses that led to a model; a Secret only while an object names it.

        Only those whose examination is about this very evidence: what a namespace's
        own registry shows never counts everywhere, however often it is read.
        """
        used = self._index.accesses()
        for seen in evidence.resolutions:
            access = access_by(seen.uri, seen.scope)
            named = not seen.scope or access in used
            if named and access.confined_to == evidence.confined_to:
                yield access

    def _examine_again(
        self, evidence: Evidence, key: Key, error: FingerprintMissing
    ) -> None:
        """Try each reference that led to this model once; then give up and say so."""
        for access in self._ways_to(evidence):
            attempt = (evidence.object_name, access)
            if attempt not in self._tried:
                self._tried.add(attempt)
                log.warning("%s; reading %s again", error.message, access)
                self._lookups.examine(access, key)
                return
        self.failed[evidence.object_name] = error.message
        for user in self._index.users(evidence):
            self._wake(user)
