# SPDX-License-Identifier: Apache-2.0
"""Looks for signatures in a model's folder and verifies them.

What comes of it is no finding: who is trusted is no property of the files, and a copy
of a model may lack the signature that another copy brings.  It stands beside the
lineage, in the half of evidence that changes.
"""

from __future__ import annotations

from datetime import datetime

from pedigree.errors import quote
from pedigree.evidence import SIGNATURES_MAX, Signature, Signatures
from pedigree.manifest import Manifest
from pedigree.ranges import FileEntry, ModelSource
from pedigree.signatures.bundle import BUNDLE_MAX_BYTES
from pedigree.signatures.trust import Trust
from pedigree.signatures.verdict import SignatureReason, SignatureVerdict

NAME = "model.sig"
"""What the reference tool writes, and what is no part of a model."""
SUFFIXES = (".sig", ".sig.json", ".sigstore", ".sigstore.json")
"""The first is the specification's, section 9; the others are about."""
LOOKED_AT_MAX = 8
_MARK = b"application/vnd.dev.sigstore.bundle"


def signatures_of(
    source: ModelSource, manifest: Manifest, trust: Trust, at: datetime
) -> Signatures:
    """Every signature in the root of a model's folder, verified.

    Args:
        source: The model.
        manifest: Its files.
        trust: Whom to believe.
        at: When certificates must be valid, with a time zone.

    Raises:
        SourceError: The bytes could not be had.
    """
    found = [
        verdict
        for entry in _candidates(source)
        if (verdict := _look(source, entry, manifest, trust, at)) is not None
    ]
    found.sort(key=lambda verdict: not verdict.valid)
    return Signatures(trust.digest, tuple(map(_fact, found[:SIGNATURES_MAX])))


def _candidates(source: ModelSource) -> list[FileEntry]:
    named = [
        entry
        for entry in source.files()
        if "/" not in entry.path and entry.path.endswith(SUFFIXES)
    ]
    return sorted(named, key=lambda entry: (entry.path != NAME, entry.path))[
        :LOOKED_AT_MAX
    ]


def _look(
    source: ModelSource,
    entry: FileEntry,
    manifest: Manifest,
    trust: Trust,
    at: datetime,
) -> SignatureVerdict | None:
    """A verdict; None where a file only bears the name of another kind of signature."""
    if entry.size > BUNDLE_MAX_BYTES:
        return SignatureVerdict(
            path=entry.path,
            reason=SignatureReason.MALFORMED,
            message=f"signature {quote(entry.path)} has {entry.size} bytes, wanted at "
            f"most {BUNDLE_MAX_BYTES}",
        )
    data = source.open(entry.path).read(0, entry.size) if entry.size else b""
    if entry.path != NAME and _MARK not in data:
        return None
    # Loading it takes longer than examining a small model, and few models are signed.
    from pedigree.signatures.verification import verify

    return verify(data, manifest, trust, at=at, path=entry.path, source=source)


def _fact(verdict: SignatureVerdict) -> Signature:
    return Signature(
        path=verdict.path,
        reason=str(verdict.reason),
        signer=verdict.signer,
        method=str(verdict.method),
        key_id=verdict.key_id,
        unsigned=verdict.unsigned,
        unsigned_files=len(verdict.unsigned),
        ignored=verdict.ignored,
        ignored_files=len(verdict.ignored),
        message=verdict.message,
    )
