# SPDX-License-Identifier: Apache-2.0
"""Verifies one signature against the files of a model, without a network.

In this order: the bundle is read, its maker is looked for among those trusted, the
signature is verified, and only then what was signed is read and compared.  So nobody
but a trusted signer reaches more code than the first two steps.

Source: OpenSSF Model Signing v1.0, section 8, with one difference: files that are not
signed do not void a signature here.  They are facts, for a policy to judge, and so is
what the signer chose to leave out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pedigree.errors import ArtifactError, quote
from pedigree.manifest import Manifest
from pedigree.ranges import ModelSource
from pedigree.signatures.bundle import (
    Bundle,
    old_pre_authentication,
    pre_authentication,
    read_bundle,
)
from pedigree.signatures.chain import check_purpose, leads_to
from pedigree.signatures.contents import compare
from pedigree.signatures.keys import (
    Unreadable,
    key_id,
    read_certificate,
    signing_key,
)
from pedigree.signatures.statement import Statement, read_statement
from pedigree.signatures.trust import Trust
from pedigree.signatures.verdict import (
    SignatureReason,
    SignatureVerdict,
    SigningMethod,
    Worthless,
)

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_IDENTITY_MAX_CHARS = 256


@dataclass(frozen=True, slots=True)
class _Signer:
    """Who made a signature, and whether in the way of release 0.2."""

    name: str
    key: ec.EllipticCurvePublicKey
    old: bool
    identity: str = ""


def verify(
    data: bytes,
    manifest: Manifest,
    trust: Trust,
    *,
    at: datetime,
    path: str = "model.sig",
    source: ModelSource | None = None,
) -> SignatureVerdict:
    """Verify one signature of a model.

    Args:
        data: The bundle.
        manifest: Files of the model.
        trust: Whom to believe.
        at: When certificates must be valid, with a time zone.
        path: File of the bundle, relative to the model's root; it is not expected to
            be signed itself.
        source: Where files are read from again, for signatures over byte ranges or with
            another hash than SHA-256; without it those are not compared.

    Raises:
        SourceError: The source failed while files were read again.
    """
    verdict = SignatureVerdict(path=path, reason=SignatureReason.VALID, message="")
    try:
        bundle = read_bundle(data, path)
        verdict = replace(verdict, method=bundle.method)
        signer = _signer(data, bundle, trust, at)
        statement = _statement(bundle, signer, path)
        verdict = replace(
            verdict,
            signer=signer.name,
            key_id=key_id(signer.key),
            identity=signer.identity,
            subject=statement.root_digest,
            allow_symlinks=statement.allow_symlinks,
        )
        found = compare(statement, manifest, path, source)
    except ArtifactError as error:
        return replace(verdict, reason=SignatureReason.MALFORMED, message=error.message)
    except Worthless as error:
        message = f"signature {quote(path)} {error.message}"
        return replace(verdict, reason=error.reason, message=message)
    return replace(
        verdict,
        reason=found.reason,
        message=f"signature {quote(path)} of {quote(signer.name)} {found.message}",
        covered=found.covered,
        changed=found.changed,
        missing=found.missing,
        unsigned=found.unsigned,
        ignored=found.ignored,
    )


def _statement(bundle: Bundle, signer: _Signer, path: str) -> Statement:
    """What was signed, if it agrees with itself."""
    statement = read_statement(bundle.payload, path)
    if signer.old and not statement.old:
        raise Worthless(
            SignatureReason.MALFORMED,
            "is made as release 0.2 did and signs what that never wrote",
        )
    if statement.subject is not None and statement.subject != statement.root_digest:
        raise Worthless(
            SignatureReason.SUBJECT_MISMATCH,
            f"gives the model the digest {statement.subject}, but its files have "
            f"{statement.root_digest}",
        )
    return statement


def _signer(data: bytes, bundle: Bundle, trust: Trust, at: datetime) -> _Signer:
    match bundle.method:
        case SigningMethod.KEY:
            return _key_signer(bundle, trust)
        case SigningMethod.CERTIFICATE:
            return _certificate_signer(bundle, trust, at)
    return _identity_signer(data, bundle, trust, at)


def _key_signer(bundle: Bundle, trust: Trust) -> _Signer:
    """The trusted key that made it; the hint is only a hint, so all are tried."""
    signed = _signed(bundle)
    for trusted in trust.keys:
        made = _made_by(trusted.key, bundle.signature, signed)
        if made is not None:
            return _Signer(trusted.name, trusted.key, made)
    for trusted in trust.keys:
        if bundle.hint == key_id(trusted.key):
            raise Worthless(
                SignatureReason.BAD_SIGNATURE,
                f"names the key of {quote(trusted.name)}, which did not make it",
            )
    named = f" {quote(bundle.hint, 80)}" if bundle.hint else ""
    raise Worthless(
        SignatureReason.UNTRUSTED, f"was made by the key{named}, which nobody trusts"
    )


def _certificate_signer(bundle: Bundle, trust: Trust, at: datetime) -> _Signer:
    with _readable():
        leaf, *others = [read_certificate(der) for der in bundle.chain]
        check_purpose(leaf)
        key = signing_key(leaf.public_key())
    identity = quote(leaf.subject.rfc4514_string(), _IDENTITY_MAX_CHARS)
    for trusted in trust.authorities:
        if leads_to(trusted.roots, leaf, others, at):
            made = _made_by(key, bundle.signature, _signed(bundle))
            if made is None:
                raise Worthless(
                    SignatureReason.BAD_SIGNATURE,
                    f"was not made by the key of its certificate {identity}",
                )
            return _Signer(trusted.name, key, made, identity)
    for trusted in trust.authorities:
        if leads_to(trusted.roots, leaf, others, leaf.not_valid_before_utc):
            raise Worthless(
                SignatureReason.CERTIFICATE_EXPIRED,
                f"was made with the certificate {identity}, which is valid from "
                f"{leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}, or a "
                "certificate above it is not valid now; sign again",
            )
    raise Worthless(
        SignatureReason.UNTRUSTED,
        f"was made with the certificate {identity}, which leads to no trusted one",
    )


def _identity_signer(
    data: bytes, bundle: Bundle, trust: Trust, at: datetime
) -> _Signer:
    """Who proved a trusted identity to a trusted Sigstore instance."""
    if not trust.identities:
        raise Worthless(
            SignatureReason.UNTRUSTED,
            "was made with an identity by Sigstore, and no identity is trusted",
        )
    # Loading the library takes longer than examining a small model.
    from pedigree.signatures import keyless

    with _readable():
        leaf = read_certificate(bundle.chain[0])
        key = signing_key(leaf.public_key())
    if leaf.not_valid_before_utc > at:
        raise Worthless(
            SignatureReason.CERTIFICATE_EXPIRED,
            f"was made with a certificate of {leaf.not_valid_before_utc}, which is yet "
            "to come",
        )
    # Not the errors: they hold the frame that holds them, and what the library read.
    refused: list[tuple[SignatureReason, str]] = []
    strangers: list[str] = []
    for root in trust.roots:
        try:
            identity = keyless.identity_of(data, bundle, leaf, root)
        except Worthless as error:
            refused.append((error.reason, error.message))
            continue
        for trusted in trust.identities:
            if trusted.root == root.name and trusted.matches(
                identity.issuer, identity.subject
            ):
                return _Signer(trusted.name, key, old=False, identity=str(identity))
        strangers.append(f"{identity} under the root {quote(root.name)}")
    if strangers:
        raise Worthless(
            SignatureReason.UNTRUSTED, f"was made by {strangers[0]}, whom nobody trusts"
        )
    # An instance that does not know the certificate has the least to say.
    raise Worthless(
        *max(refused, key=lambda told: told[0] is not SignatureReason.UNTRUSTED)
    )


@contextmanager
def _readable() -> Iterator[None]:
    """What cannot be read of certificates makes a signature that cannot be judged."""
    try:
        yield
    except Unreadable as error:
        raise Worthless(
            SignatureReason.UNSUPPORTED, f"cannot be verified: {error}"
        ) from error


def _signed(bundle: Bundle) -> tuple[tuple[bool, bytes], ...]:
    """What may have been signed, and whether that was the way of release 0.2."""
    return (
        (False, pre_authentication(bundle.payload)),
        (True, old_pre_authentication(bundle.payload)),
    )


def _made_by(
    key: ec.EllipticCurvePublicKey,
    signature: bytes,
    signed: tuple[tuple[bool, bytes], ...],
) -> bool | None:
    """Whether a key made a signature: False as today, True as release 0.2, or None.

    Release 0.2 hashed with SHA-256 whatever the curve.
    """
    for old, message in signed:
        algorithm = hashes.SHA256() if old else _HASHES[key.curve.name]
        try:
            key.verify(signature, message, ec.ECDSA(algorithm))
        except (InvalidSignature, ValueError):
            continue
        return old
    return None
