# SPDX-License-Identifier: Apache-2.0
"""Known models: their fingerprints, and the scan against them."""

from __future__ import annotations

from pedigree.registry.catalogue import Entry
from pedigree.registry.folder import Problem, Registry
from pedigree.registry.references import ReferenceSet
from pedigree.registry.store import FingerprintStore

__all__ = ["Entry", "FingerprintStore", "Problem", "ReferenceSet", "Registry"]
