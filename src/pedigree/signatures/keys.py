# SPDX-License-Identifier: Apache-2.0
"""Public keys and certificates, read from the bytes that somebody gave.

Apart from :mod:`pedigree.signatures.trust`, because ``cryptography`` takes longer to
load than a small model to examine, and most models bring no signature.
"""

from __future__ import annotations

import warnings

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from pedigree.digests import sha256

CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""What the specification's algorithm registry lists."""
_REFUSED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    Warning,
)
"""What reading a wrong certificate or key raises."""


class Unreadable(Exception):  # noqa: N818 - never leaves this package
    """A key or certificate cannot be used; the text says why."""


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the key as PEM: what bundles give as ``hint``."""
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return sha256(pem).hex


def certificate_id(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate as DER."""
    return sha256(certificate.public_bytes(Encoding.DER)).hex


def signing_key(key: object) -> ec.EllipticCurvePublicKey:
    """The key, if it is of a kind that signs models.

    Raises:
        Unreadable: It is not.
    """
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        kind = getattr(getattr(key, "curve", None), "name", type(key).__name__)
        raise Unreadable(f"the key is a {kind}, wanted one of {', '.join(CURVES)}")
    return key


def read_public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Read one public key.

    Raises:
        Unreadable: It is none that signs models.
    """
    try:
        return signing_key(load_pem_public_key(pem))
    except _REFUSED as error:
        raise Unreadable(_why(error)) from error


def read_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Read certificates, one after the other.

    Raises:
        Unreadable: There are none, or one is wrong.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
    except _REFUSED as error:
        raise Unreadable(_why(error)) from error
    return tuple(read_certificate(item.public_bytes(Encoding.DER)) for item in found)


def read_certificate(der: bytes) -> x509.Certificate:
    """Read one certificate; what is only tolerated is refused.

    Raises:
        Unreadable: It is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            certificate = x509.load_der_x509_certificate(der)
            _ = certificate.extensions, certificate.public_key(), certificate.version
            _ = certificate.subject, certificate.issuer, certificate.serial_number
            # The year 0 can be written, and is no date that Python knows.
            _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            return certificate
    except _REFUSED as error:
        raise Unreadable(f"a certificate cannot be read: {_why(error)}") from error


def _why(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
