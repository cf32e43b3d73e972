# SPDX-License-Identifier: Apache-2.0
"""HASH: which tensors are equal, value by value.

Definition
    A tensor of A and one of B are equal if the 128-bit digests of their shapes and
    canonical values (rounded to bfloat16) are: of all values if both fingerprints have
    read them, else of the sampled ones; the result says which.  Only trained matrices
    with at least 64 distinct values count: vectors of ones, masks and position tables
    are equal in models that never met.
Effect
    Share of the weights of the smaller model's counted tensors that are in the other.
Survives
    New names, shards, order, transposition, casts that lose nothing; freezing or
    replacing the other tensors.  Any change of a tensor removes it.
Cost
    All bytes, or a sample of each tensor, when the fingerprint is made; a set
    intersection here.
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
from collections.abc import Callable

from pedigree.fingerprint.model import NO_DIGEST, Fingerprint, TensorRecord
from pedigree.lineage.results import NotRun, TestResult

NAME = "HASH"
COLLISION_LOG10 = -128 * math.log10(2)
_Digest = Callable[[TensorRecord], bytes]


def run(
    a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None = None
) -> TestResult:
    """Compare the digests of all counted tensors; see the module's docstring.

    Args:
        a: First model.
        b: Second model.
        alpha_log10: Not used; every test of the family is called alike.
    """
    first, second = _counted(a), _counted(b)
    if not first or not second:
        return TestResult(
            name=NAME,
            reason=NotRun.NOTHING_INFORMATIVE,
            detail="one model has no trained matrix of a known role "
            "with 64 distinct values",
        )
    equal = _equal(first, second, _digest(a, b))
    shared = sum(record.size for record in equal)
    smaller = min(sum(r.size for r in first), sum(r.size for r in second))
    pairs = len(first) * len(second)
    log10_p = min(0.0, COLLISION_LOG10 + math.log10(pairs)) if equal else 0.0
    return TestResult(
        name=NAME,
        detail=f"{len(equal)} of {min(len(first), len(second))} tensors are equal "
        f"({basis(a, b)})",
        effect=min(1.0, shared / smaller),
        log10_p=log10_p,
        method="Collision",
        n=len(equal),
        cells=pairs,
        samples=len(first),
        deciding="tensors",
        smallest_effect=min(1.0, min(r.size for r in first) / smaller),
    )


def all_bytes(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether both fingerprints have digests of all values of every tensor."""
    return all(r.full_digest != NO_DIGEST for x in (a, b) for r in x.tensors)


def basis(a: Fingerprint, b: Fingerprint) -> str:
    """What equality of tensors rests on, for people."""
    if all_bytes(a, b):
        return "all bytes"
    counted = [r for x in (a, b) for r in _counted(x)] or [*a.tensors, *b.tensors]
    least = min((record.seen for record in counted), default=0)
    return f"{least} or more sampled values of each tensor"


def same_content(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether both hold the same tensors in the same places, as far as was read.

    Never true of models with nothing that could tell two models apart.  What it rests
    on is told by :func:`basis`.
    """
    digest = _digest(a, b)
    return (
        bool(_telling(a))
        and len(a.tensors) == len(b.tensors)
        and all(
            x.slot == y.slot and x.shape == y.shape and digest(x) == digest(y)
            for x, y in zip(a.tensors, b.tensors, strict=True)
        )
    )


def same_tensors(a: Fingerprint, b: Fingerprint) -> bool:
    """Whether both hold the same tensors, in whatever places."""
    digest = _digest(a, b)
    digests = [Counter((r.shape, digest(r)) for r in x.tensors) for x in (a, b)]
    return bool(_telling(a)) and digests[0] == digests[1]


def _digest(a: Fingerprint, b: Fingerprint) -> _Digest:
    if all_bytes(a, b):
        return lambda record: record.full_digest
    return lambda record: record.sample_digest


def _telling(fingerprint: Fingerprint) -> list[TensorRecord]:
    """Tensors, of known role or not, that two unrelated models would not share."""
    return [r for r in fingerprint.tensors if r.informative or r.distinct >= 256]


def _counted(fingerprint: Fingerprint) -> list[TensorRecord]:
    return [record for record in fingerprint.tensors if record.informative]


def _equal(
    first: list[TensorRecord], second: list[TensorRecord], digest: _Digest
) -> list[TensorRecord]:
    """Tensors of the first that are in the second, each partner used once."""
    left = Counter((record.shape, digest(record)) for record in second)
    equal = []
    for record in first:
        key = (record.shape, digest(record))
        if left[key]:
            left[key] -= 1
            equal.append(record)
    return equal
