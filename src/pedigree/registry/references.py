# SPDX-License-Identifier: Apache-2.0
"""A set of known models in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pedigree.digests import Digest
from pedigree.evidence import registry_digest
from pedigree.fingerprint.model import Fingerprint


class ReferenceSet(Mapping[str, Fingerprint]):
    """Fingerprints by name, in order of name whatever order they came in."""

    def __init__(self, fingerprints: Mapping[str, Fingerprint]) -> None:
        self._fingerprints = dict(sorted(fingerprints.items()))

    def __getitem__(self, name: str) -> Fingerprint:
        return self._fingerprints[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fingerprints)

    def __len__(self) -> int:
        return len(self._fingerprints)

    @property
    def digest(self) -> Digest:
        """Identity of the set; names and fingerprint digests, in any order."""
        return registry_digest({name: str(f.digest) for name, f in self.items()})
