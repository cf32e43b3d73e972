# SPDX-License-Identifier: Apache-2.0
"""Whether a chain of certificates leads from a signer to a trusted authority.

The path is built and judged by ``cryptography``, which follows RFC 5280 and the key
and algorithm rules of the web's authorities, with two differences: the signer's own
certificate may look as the specification's vectors do (no host names, another purpose,
even marked as an authority), and an authority may be limited to code signing.  That the
signer's key may sign is asked for here.

Time is that of looking.  A bundle says nothing verifiable about when it was signed, so
a certificate that has run out is not believed: whoever stole its key could sign today.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from pedigree.signatures.keys import Unreadable

DEPTH_MAX = 8
"""Authorities between a signer and its root.  Arbitrary."""
_SIGNING_PURPOSES = (
    ExtendedKeyUsageOID.CODE_SIGNING,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
)
_JUDGED = (x509.BasicConstraints, x509.SubjectAlternativeName)
"""Beside what a key is for; names are told, and decide nothing."""


def leads_to(
    roots: Sequence[x509.Certificate],
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    at: datetime,
) -> bool:
    """Whether a path of valid certificates leads from a leaf to one of the roots.

    Args:
        roots: Trusted authorities.
        leaf: The signer's certificate.
        others: Certificates that may stand between.
        at: When all of them must be valid, with a time zone.
    """
    authorities = ExtensionPolicy.webpki_defaults_ca().may_be_present(
        x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _signs_code
    )
    verifier = (
        PolicyBuilder()
        .store(Store(list(roots)))
        .time(at)
        .max_chain_depth(DEPTH_MAX)
        .extension_policies(
            ca_policy=authorities, ee_policy=ExtensionPolicy.permit_all()
        )
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, list(others))
    except (VerificationError, ValueError, TypeError):
        return False
    return True


def check_purpose(leaf: x509.Certificate) -> None:
    """See that a certificate is for signing, and asks for nothing unknown.

    Raises:
        Unreadable: It is for something else.
    """
    usage: x509.KeyUsage | None = None
    purposes: x509.ExtendedKeyUsage | None = None
    for extension in leaf.extensions:
        if isinstance(extension.value, x509.KeyUsage):
            usage = extension.value
        elif isinstance(extension.value, x509.ExtendedKeyUsage):
            purposes = extension.value
        elif extension.critical and not isinstance(extension.value, _JUDGED):
            what = extension.oid.dotted_string
            raise Unreadable(f"the certificate demands the extension {what}")
    if usage is None and purposes is None:
        raise Unreadable("the certificate does not say what its key is for")
    if usage is not None and not usage.digital_signature:
        raise Unreadable("the key of the certificate is not for signatures")
    if purposes is not None and not any(p in purposes for p in _SIGNING_PURPOSES):
        raise Unreadable("the certificate is not for signing code")


def _signs_code(
    _policy: Policy,
    _certificate: x509.Certificate,
    purposes: x509.ExtendedKeyUsage | None,
) -> None:
    if purposes is not None and not any(p in purposes for p in _SIGNING_PURPOSES):
        raise ValueError("an authority is not for signing code")
