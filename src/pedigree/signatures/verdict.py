# SPDX-License-Identifier: Apache-2.0
"""What came of verifying one signature: facts, never an exception."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pedigree.digests import Digest


class SignatureReason(StrEnum):
    """What a signature is worth.  Closed set."""

    VALID = "Valid"
    """Somebody trusted signed it, and every signed file is there unchanged."""
    MALFORMED = "Malformed"
    """The bundle, or what it signs, is not what OpenSSF Model Signing describes."""
    UNSUPPORTED = "Unsupported"
    """It is sound as far as it can be read, but needs what is not implemented."""
    KEYLESS_NOT_SUPPORTED = "KeylessNotSupported"
    """Signed with an identity by Sigstore, and its library is not there."""
    UNTRUSTED = "Untrusted"
    """No trusted key or certificate made it; what it says was not looked at."""
    BAD_SIGNATURE = "BadSignature"
    """It names somebody trusted who did not sign these bytes."""
    CERTIFICATE_EXPIRED = "CertificateExpired"
    """A certificate of its chain is not valid at the time of looking."""
    SUBJECT_MISMATCH = "SubjectMismatch"
    """The digest it gives of all files does not follow from those it lists."""
    FILES_CHANGED = "FilesChanged"
    FILES_MISSING = "FilesMissing"
    NOT_COMPARED = "NotCompared"
    """It holds hashes other than those the source states, and files were not read."""


class SigningMethod(StrEnum):
    """How a signature says who made it."""

    KEY = "key"
    CERTIFICATE = "certificate"
    SIGSTORE = "sigstore"
    UNKNOWN = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureVerdict:
    """One signature against one model.

    Attributes:
        path: File that the signature is in.
        reason: What it is worth.
        message: The same for people.
        method: How it says who made it.
        signer: Name under which the maker is trusted; empty if nobody trusted made it.
        key_id: SHA-256 of the maker's public key as PEM, 64 hex digits; empty as above.
        identity: Subject of the signing certificate, or the identity that Sigstore
            certified and its issuer; empty without one.
        subject: Digest of all signed files together, recomputed; None if unread.
        covered: Files of the model that were signed and are unchanged.
        changed: Signed files with other contents.
        missing: Signed files that the model does not have.
        unsigned: Files of the model that are not signed.
        ignored: Unsigned files that the signer chose to leave out, by ``ignore_paths``;
            not among ``unsigned``.
        allow_symlinks: Whether the signer followed symbolic links.
    """

    path: str
    reason: SignatureReason
    message: str
    method: SigningMethod = SigningMethod.UNKNOWN
    signer: str = ""
    key_id: str = ""
    identity: str = ""
    subject: Digest | None = None
    covered: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unsigned: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    allow_symlinks: bool = False

    @property
    def valid(self) -> bool:
        """Whether somebody trusted signed what the model holds."""
        return self.reason is SignatureReason.VALID


class Worthless(Exception):  # noqa: N818 - never leaves this package
    """A signature is worth nothing; why, as reason and as the end of a sentence."""

    def __init__(self, reason: SignatureReason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message
