# SPDX-License-Identifier: Apache-2.0
"""Sigstore bundles that carry a signature of a model: JSON, read strictly.

Source: OpenSSF Model Signing v1.0, sections 4 and 11, with its bundle and envelope
schemas; DSSE v1.0 for the bytes that are signed.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, NoReturn

from pedigree.errors import ArtifactError, quote
from pedigree.signatures.verdict import SigningMethod
from pedigree.tensors import strictjson

BUNDLE_MAX_BYTES = 16_000_000
"""Arbitrary; a bundle of 10,000 files has about 2,500,000."""
BUNDLE_VALUES_MAX = 2_000
"""The payload is one.  Arbitrary; real ones have about 60, and a library may have
several things to say of each."""
MATERIAL_MAX_BYTES = 500_000
"""What stands beside the payload of a signature made with an identity, which a library
reads in ways of its own.  Arbitrary; real ones have about 10,000."""
CERTIFICATES_MAX = 10
"""Of one chain.  Arbitrary; real ones have two to four."""
_CERTIFICATE_MAX_BYTES = 65_536
_SIGNATURE_MAX_BYTES = 1_024
"""An ECDSA signature of P-521 has at most 139."""
_TEXT_MAX_CHARS = 4_096
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle"
_VERSIONS = (
    f"{_MEDIA_TYPE}.v0.3+json",
    f"{_MEDIA_TYPE}+json;version=0.1",
    f"{_MEDIA_TYPE}+json;version=0.2",
    f"{_MEDIA_TYPE}+json;version=0.3",
)
PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """One signature and what it was made over; nothing of it is verified.

    Attributes:
        method: How it says who made it.
        hint: Names the key, where the method is ``key``: 64 hex digits or empty.
        chain: DER of the certificates, the signer's first; empty for a key.
        payload: The signed statement, JSON.
        signature: Over :func:`pre_authentication` of the payload.
    """

    method: SigningMethod
    hint: str
    chain: tuple[bytes, ...]
    payload: bytes
    signature: bytes


def read_bundle(data: bytes, path: str) -> Bundle:
    """Read a bundle.

    Raises:
        ArtifactError: It is none (reasons ``MalformedSignature`` and those of
            :func:`pedigree.tensors.strictjson.load`).
    """
    if len(data) > BUNDLE_MAX_BYTES:
        refuse(path, f"has {len(data)} bytes, wanted at most {BUNDLE_MAX_BYTES}")
    root = strictjson.load(
        data,
        what="signature",
        path=path,
        depth_max=32,
        values_max=BUNDLE_VALUES_MAX,
        malformed="MalformedSignature",
    )
    if not isinstance(root, dict):
        refuse(path, "is no JSON object")
    only(path, root, "", ("mediaType", "verificationMaterial", "dsseEnvelope"))
    if root.get("mediaType") not in _VERSIONS:
        refuse(
            path,
            f"has the mediaType {quote(root.get('mediaType'), 80)}, "
            f"wanted {_VERSIONS[0]}",
        )
    envelope = child(path, root, "dsseEnvelope")
    only(path, envelope, "dsseEnvelope", ("payload", "payloadType", "signatures"))
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        refuse(
            path,
            f"has the payloadType {quote(envelope.get('payloadType'), 80)}, "
            f"wanted {PAYLOAD_TYPE}",
        )
    method, hint, chain = _material(path, child(path, root, "verificationMaterial"))
    payload = _bytes(path, envelope.get("payload"), "payload", BUNDLE_MAX_BYTES)
    beside = len(data) - len(envelope["payload"])
    if method is SigningMethod.SIGSTORE and beside > MATERIAL_MAX_BYTES:
        refuse(
            path,
            f"has {beside} bytes beside its payload, wanted at most "
            f"{MATERIAL_MAX_BYTES}",
        )
    return Bundle(method, hint, chain, payload, _signature(path, envelope))


def _signature(path: str, envelope: dict[str, Any]) -> bytes:
    """The one signature: a bundle of Sigstore holds exactly one."""
    signatures = envelope.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1:
        refuse(path, "has not exactly one signature in its envelope")
    signature = signatures[0]
    if not isinstance(signature, dict):
        refuse(path, "has a signature that is no object")
    only(path, signature, "signatures[0]", ("sig", "keyid"))
    if not isinstance(signature.get("keyid"), str | None):
        refuse(path, "has a keyid that is no text")
    return _bytes(path, signature.get("sig"), "sig", _SIGNATURE_MAX_BYTES)


def _material(
    path: str, material: dict[str, Any]
) -> tuple[SigningMethod, str, tuple[bytes, ...]]:
    kinds = ("publicKey", "x509CertificateChain", "certificate")
    given = [kind for kind in kinds if kind in material]
    if len(given) != 1:
        got = " and ".join(given) or "nothing"
        refuse(path, f"names its signer by {got}, wanted one of {', '.join(kinds)}")
    if given == ["publicKey"]:
        hint = child(path, material, "publicKey").get("hint")
        if not isinstance(hint, str | None) or len(hint or "") > _TEXT_MAX_CHARS:
            refuse(path, f"has the key hint {quote(hint, 80)}, wanted short text")
        return SigningMethod.KEY, hint or "", ()
    if given == ["certificate"]:
        one = child(path, material, "certificate")
        return SigningMethod.SIGSTORE, "", (_certificate(path, one),)
    chain = child(path, material, "x509CertificateChain").get("certificates")
    if not isinstance(chain, list) or not 1 <= len(chain) <= CERTIFICATES_MAX:
        refuse(path, f"has not 1 to {CERTIFICATES_MAX} certificates in its chain")
    return SigningMethod.CERTIFICATE, "", tuple(_certificate(path, c) for c in chain)


def _certificate(path: str, value: object) -> bytes:
    raw = value.get("rawBytes") if isinstance(value, dict) else None
    return _bytes(path, raw, "certificate", _CERTIFICATE_MAX_BYTES)


def _bytes(path: str, value: object, what: str, most: int) -> bytes:
    """Base64 of RFC 4648 section 4, with padding and nothing else."""
    if not isinstance(value, str) or not value:
        refuse(path, f"has no {what}")
    if len(value) > 4 * (most // 3 + 1):
        refuse(path, f"has a {what} of {len(value)} characters, of {most} bytes wanted")
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        refuse(path, f"has a {what} that is no Base64")


def pre_authentication(payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding of a payload."""
    kind = PAYLOAD_TYPE.encode("ascii")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def old_pre_authentication(payload: bytes) -> bytes:
    """What release 0.2 of the reference tool signed instead, by a mistake.

    It wrote the payload as Python shows bytes.  Its statements are still about; the
    encoding is as unambiguous as the right one, since the length stands before it.
    """
    kind = len(PAYLOAD_TYPE)
    return f"DSSEV1 {kind} {PAYLOAD_TYPE} {len(payload)} {payload!r}".encode("ascii")


def child(path: str, parent: dict[str, Any], key: str) -> dict[str, Any]:
    """A member that must be an object."""
    value = parent.get(key)
    if not isinstance(value, dict):
        refuse(path, f"has no object {key}")
    return value


def only(path: str, found: dict[str, Any], where: str, known: tuple[str, ...]) -> None:
    """Refuse members that the schema does not have: another reader may heed them."""
    for key in found:
        if key not in known:
            refuse(path, f"has the unknown member {quote(key, 80)} in {where or 'it'}")


def refuse(path: str, what: str) -> NoReturn:
    """Say that a signature is malformed."""
    raise ArtifactError(
        f"signature {quote(path)} {what}", reason="MalformedSignature", path=path
    )
