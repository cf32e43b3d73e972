# SPDX-License-Identifier: Apache-2.0
"""Compares stored fingerprints with the known references; never reads weights.

When a reference is added, changed or removed, the lineage of every model is compared
again from what is stored.  The arithmetic runs in one thread of its own: numpy lets go
of the interpreter while it works, and one rescan at a time leaves room for the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from pedigree import __version__
from pedigree.digests import Digest
from pedigree.errors import PedigreeError
from pedigree.evidence import Evidence, Lineage
from pedigree.fingerprint.model import Fingerprint
from pedigree.registry.scan import scan
from pedigree.registry.store import FingerprintStore


class FingerprintMissing(PedigreeError):  # noqa: N818 - reads as the reason it carries
    """A stored fingerprint is not there, or not the one that is wanted.

    Attributes:
        reference: Name of the reference it belongs to; empty for the model itself.
    """

    default_reason = "FingerprintMissing"

    def __init__(self, message: str, *, reference: str = "") -> None:
        super().__init__(message, hint="the source is examined again")
        self.reference = reference


class Rescanner:
    """Compares models with references, from stored fingerprints.

    Args:
        store: Fingerprints by the digest of their model.
    """

    def __init__(self, store: FingerprintStore) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rescan")
        self._loaded: dict[Digest, Fingerprint] = {}

    async def compare(
        self,
        evidence: Evidence,
        references: Mapping[str, tuple[Digest, str]],
        now: datetime,
    ) -> Lineage:
        """Lineage of one model against all references.

        Args:
            evidence: Of the model; must have a fingerprint.
            references: By name: the digest of the reference's model, and the
                digest that its fingerprint must have.
            now: Is stored with the result.

        Raises:
            FingerprintMissing: The model's or a reference's fingerprint is not stored.
            PedigreeError: A stored fingerprint cannot be read.
        """
        loop = asyncio.get_running_loop()
        frozen = dict(references)
        return await loop.run_in_executor(
            self._pool, self._compare, evidence, frozen, now
        )

    def stop(self) -> None:
        """Let go of the thread after the comparison it is in."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _compare(
        self,
        evidence: Evidence,
        references: Mapping[str, tuple[Digest, str]],
        now: datetime,
    ) -> Lineage:
        wanted = {digest for digest, _ in references.values()}
        for digest in set(self._loaded) - wanted:
            del self._loaded[digest]
        known = {
            name: self._reference(name, digest, fingerprint)
            for name, (digest, fingerprint) in references.items()
        }
        mine = self._store.within(evidence.confined_to).get(evidence.digest)
        if mine is None:
            raise FingerprintMissing(f"no fingerprint of {evidence.digest} is stored")
        return scan(mine, known, now=now, engine=__version__)

    def _reference(self, name: str, digest: Digest, wanted: str) -> Fingerprint:
        loaded = self._loaded.get(digest) or self._store.get(digest)
        if loaded is None or str(loaded.digest) != wanted:
            self._loaded.pop(digest, None)
            got = "is not stored" if loaded is None else f"is {loaded.digest}"
            raise FingerprintMissing(
                f"fingerprint of reference model {name} {got}, wanted {wanted}",
                reference=name,
            )
        self._loaded[digest] = loaded
        return loaded
