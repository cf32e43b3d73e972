# SPDX-License-Identifier: Apache-2.0
"""HASH: which tensors are equal, value by value.

Definition
    A tensor of A and one of B are equal if their shapes and canonical values
    (rounded to bfloat16) have the same 128-bit digest.  Only trained matrices with at
    least 64 distinct values count: vectors of ones, masks and position tables are
    equal in models that never met.
Effect
    Share of the weights of the smaller model's counted tensors that are in the other.
Survives
    New names, shards, order, transposition, casts that lose nothing; freezing or
    replacing the other tensors.  Any change of a tensor removes it.
Cost
    All bytes when the fingerprint is made; a set intersection here.
Null
    Two independent matrices are equal with probability far below 2**-128, at which a
    collision of digests would count too; that bound times the pairs is the p-value.
Assumes
    Equal weights were not drawn from one seed.  A frozen random initialisation that
    two models share is real dependence, but not descent.
Source
    FIPS 180-4 for SHA-256.
"""

from __future__ import annotations

import math
from collections import Counter

from pedigree.fingerprint.model import Fingerprint, TensorRecord
from pedigree.lineage.results import NotRun, TestResult

NAME = "HASH"
COLLISION_LOG10 = -128 * math.log10(2)


def run(a: Fingerprint, b: Fingerprint) -> TestResult:
    """Compare the digests of all counted tensors; see the module's docstring."""
    first, second = _counted(a), _counted(b)
    if not first or not second:
        return TestResult(
            name=NAME,
            reason=NotRun.NOTHING_INFORMATIVE,
            detail="one model has no trained matrix of a known role "
            "with 64 distinct values",
        )
    equal = _equal(first, second)
    shared = sum(record.size for record in equal)
    smaller = min(sum(r.size for r in first), sum(r.size for r in second))
    pairs = len(first) * len(second)
    log10_p = min(0.0, COLLISION_LOG10 + math.log10(pairs)) if equal else 0.0
    return TestResult(
        name=NAME,
        detail=f"{len(equal)} of {min(len(first), len(second))} tensors are equal",
        effect=shared / smaller,
        log10_p=log10_p,
        method="Collision",
        n=len(equal),
        cells=pairs,
        samples=len(first),
        deciding="tensors",
        smallest_effect=min(r.size for r in first) / smaller,
    )


def same_content(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether both hold the same tensors in the same places.

    Never true of models with nothing that could tell two models apart.
    """
    return (
        bool(_telling(a))
        and len(a.tensors) == len(b.tensors)
        and all(
            x.slot == y.slot and x.digest == y.digest
            for x, y in zip(a.tensors, b.tensors, strict=True)
        )
    )


def same_tensors(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether both hold the same tensors, in whatever places."""
    digests = [Counter(record.digest for record in x.tensors) for x in (a, b)]
    return bool(_telling(a)) and digests[0] == digests[1]


def _telling(fingerprint: Fingerprint) -> list[TensorRecord]:
    """Tensors, of known role or not, that two unrelated models would not share."""
    return [r for r in fingerprint.tensors if r.informative or r.distinct >= 256]


def _counted(fingerprint: Fingerprint) -> list[TensorRecord]:
    return [record for record in fingerprint.tensors if record.informative]


def _equal(first: list[TensorRecord], second: list[TensorRecord]) -> list[TensorRecord]:
    """Tensors of the first that are in the second, each partner used once."""
    left = Counter(record.digest for record in second)
    equal = []
    for record in first:
        if left[record.digest]:
            left[record.digest] -= 1
            equal.append(record)
    return equal
