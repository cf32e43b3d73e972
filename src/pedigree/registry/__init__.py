# SPDX-License-Identifier: Apache-2.0
"""Known models: their fingerprints, and the scan against them."""

from __future__ import annotations

from pedigree.registry.catalogue import Advisory, Entry, Parent
from pedigree.registry.folder import Registry
from pedigree.registry.references import ReferenceSet
from pedigree.registry.store import FingerprintStore

__all__ = [
    "Advisory",
    "Entry",
    "FingerprintStore",
    "Parent",
    "ReferenceSet",
    "Registry",
]
