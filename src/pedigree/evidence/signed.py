# SPDX-License-Identifier: Apache-2.0
"""What evidence says of signatures, and its stored form.

Who is believed is no property of a model.  So signatures stand in the changing half of
evidence, with the digest of the set of trusted signers under which they were verified;
under another set they say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pedigree.digests import Digest, json_digest
from pedigree.evidence.room import cut, fitting, stored_bytes

SIGNATURES_MAX = 4
"""Signatures of one model in its evidence; those that are valid come first."""
FILES_TOLD_MAX = 8
"""Names of unsigned files, and of ignored ones, of each signature."""
SIGNATURES_MAX_BYTES = 1024
NO_TRUST = json_digest([])
"""Digest of the set in which nobody is trusted."""
VALID = "Valid"
_PATH_MAX_CHARS = 96
_FILES_MAX_BYTES = 144


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of a model, verified.

    Attributes:
        path: File that it is in.
        reason: What it is worth; ``Valid``, or why it is not.
        signer: Name under which its maker is trusted; empty unless somebody is.
        method: ``key``, ``certificate``, ``sigstore`` or empty.
        key_id: SHA-256 of the maker's key, 64 hex digits; empty like ``signer``.
        unsigned: Files of the model that it does not cover, the first few.
        unsigned_files: How many there are.
        ignored: Files that the signer chose to leave out, the first few.
        ignored_files: How many there are.
        message: Why it is not valid, for whoever examines it by hand.  It is not stored
            and does not tell two of them apart.
    """

    path: str
    reason: str
    signer: str = ""
    method: str = ""
    key_id: str = ""
    unsigned: tuple[str, ...] = ()
    unsigned_files: int = 0
    ignored: tuple[str, ...] = ()
    ignored_files: int = 0
    message: str = field(default="", compare=False)

    @property
    def valid(self) -> bool:
        """Whether somebody trusted signed what the model holds."""
        return self.reason == VALID and bool(self.signer)


@dataclass(frozen=True, slots=True)
class Signatures:
    """All signatures of a model, verified under one set of trusted signers.

    Attributes:
        trust: Digest of that set.
        found: Valid ones first.
    """

    trust: Digest
    found: tuple[Signature, ...] = ()


def merge_signatures(
    before: Signatures | None, now: Signatures | None
) -> Signatures | None:
    """What is known after one more look, perhaps at another copy of the same files.

    A copy without its signature, or with a broken one, does not undo that the same
    files were seen validly signed; but a new set of trusted signers does.  Nor does a
    broken one speak against files that were seen without it: whoever makes a copy could
    so have those of others refused.
    """
    if now is None:
        return before
    if before is None or before.trust != now.trust:
        return now
    kept = [item for item in before.found if item.valid]
    seen = [item for item in now.found if item.valid or item in before.found]
    found = sorted(dict.fromkeys((*seen, *kept)), key=lambda item: not item.valid)
    return Signatures(now.trust, tuple(found[:SIGNATURES_MAX]))


def signatures_to_dict(signatures: Signatures) -> dict[str, Any]:
    """JSON form, as stored in ``status.signatures``; at most 1 KiB and a bit."""
    stored = [_to_dict(item) for item in signatures.found[:SIGNATURES_MAX]]
    return {
        "trustDigest": str(signatures.trust),
        "found": fitting(stored, SIGNATURES_MAX_BYTES),
    }


def _to_dict(item: Signature) -> dict[str, Any]:
    return {
        "path": cut(item.path, _PATH_MAX_CHARS),
        "reason": cut(item.reason, 64),
        "signer": cut(item.signer, 63),
        "method": cut(item.method, 32),
        "keyId": cut(item.key_id, 64),
        **_files("unsigned", item.unsigned, item.unsigned_files),
        **_files("ignored", item.ignored, item.ignored_files),
    }


def _files(what: str, names: Sequence[str], count: int) -> dict[str, Any]:
    """Names that can be told exactly, up to the first that cannot, and how many."""
    told: list[str] = []
    room = _FILES_MAX_BYTES
    for name in names[:FILES_TOLD_MAX]:
        room -= stored_bytes(name.encode("utf-8", "replace").decode()) + 1
        if room < 0 or cut(name, _FILES_MAX_BYTES) != name:
            break
        told.append(name)
    stored: dict[str, Any] = {f"{what}Files": count} if count else {}
    return stored | ({what: told} if told else {})


def signatures_from_dict(data: Mapping[str, Any]) -> Signatures:
    """Read the JSON form."""
    return Signatures(
        Digest.parse(data["trustDigest"]),
        tuple(
            Signature(
                path=item["path"],
                reason=item["reason"],
                signer=item.get("signer", ""),
                method=item.get("method", ""),
                key_id=item.get("keyId", ""),
                unsigned=tuple(item.get("unsigned", ())),
                unsigned_files=item.get("unsignedFiles", 0),
                ignored=tuple(item.get("ignored", ())),
                ignored_files=item.get("ignoredFiles", 0),
            )
            for item in data.get("found", ())
        ),
    )
