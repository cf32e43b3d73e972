# SPDX-License-Identifier: Apache-2.0
"""Signatures made with an identity by Sigstore, verified by its library, offline.

The only module that talks to ``sigstore`` (extra ``keyless``).  The library is given
the trust root of an instance and asks nobody: it verifies the certificate's chain, its
entry in the log of certificates, the entry of the signature in the transparency log
with promise, proof and checkpoint, that the certificate was valid at the time that the
log or an authority of time stamps vouches for, and the signature itself.

What it leaves to its callers is judged here: who was certified, and that keys and
authorities which an instance no longer uses vouch for nothing of later.  Sources:
Sigstore's client specification; Fulcio's list of certificate extensions
(1.3.6.1.4.1.57264.1).
"""

from __future__ import annotations

import base64
import json
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from pedigree.errors import ConfigError, quote
from pedigree.signatures.bundle import PAYLOAD_TYPE, Bundle
from pedigree.signatures.trusted import (
    ROOT_PARTS,
    SigstoreRoot,
    in_use,
    invalid,
    is_plain,
)
from pedigree.signatures.verdict import SignatureReason, Worthless

if TYPE_CHECKING:
    from sigstore.verify import Verifier

_ISSUER_RAW = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_USER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_TEXT_MAX_BYTES = 2_048
_LEADS_NOWHERE = (
    "was made with a certificate that leads to no trusted Sigstore instance"
)
_SIGNING_CONFIG = "application/vnd.dev.sigstore.signingconfig.v0.2+json"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who was certified.

    Attributes:
        issuer: Who vouched for the subject.
        subject: An address, the URI of a workflow or the name of a user.
    """

    issuer: str
    subject: str

    def __str__(self) -> str:
        return f"{quote(self.subject)} of {quote(self.issuer)}"


def check_roots(roots: tuple[SigstoreRoot, ...]) -> None:
    """Make sure, when a process starts, that every root can be used.

    Raises:
        ConfigError: The library is not there as a whole (reason ``ExtraMissing``), or
            a root is none (reason ``TrustInvalid``).
    """
    for root in roots:
        try:
            _verifier(root)
        except ImportError as error:
            raise ConfigError(
                f"the root {quote(root.name)} of Sigstore is trusted, and to verify "
                "identities needs the extra 'keyless', which cannot be loaded: "
                f"{_why(error)}",
                reason="ExtraMissing",
                hint='pip install "pedigree-gate[keyless]"',
            ) from error


def identity_of(
    data: bytes, bundle: Bundle, leaf: x509.Certificate, root: SigstoreRoot
) -> Identity:
    """Who made a signature, verified under one root.

    Args:
        data: The bundle as it was read.
        bundle: What was read of it.
        leaf: Its certificate.
        root: Whom to believe.

    Raises:
        Worthless: Nobody whom the root vouches for, or it is malformed.
    """
    try:
        _verifier(root)  # a root that is none has no parts to choose from
    except ImportError as error:
        raise Worthless(
            SignatureReason.KEYLESS_NOT_SUPPORTED,
            "was made with an identity by Sigstore, which takes the extra 'keyless' to "
            f"verify, and that cannot be loaded: {_why(error)}; install it where "
            "models are read: pip install 'pedigree-gate[keyless]'",
        ) from error
    used, seen = _in_use(root, leaf), _Certified()
    if not any(_issued(leaf, authority) for authority in _authorities(used)):
        # Nothing else that a stranger wrote is then read by the library.
        raise Worthless(SignatureReason.UNTRUSTED, _LEADS_NOWHERE)
    same = (PAYLOAD_TYPE, bundle.payload, leaf)
    if _verified(data, used, seen) != same:
        raise Worthless(
            SignatureReason.MALFORMED, "was read in two ways by two readers"
        )
    return seen.identity


def _verified(
    data: bytes, root: SigstoreRoot, seen: _Certified
) -> tuple[str, bytes, x509.Certificate]:
    """What the library verified: the payload's type, the payload, and by whose key.

    Raises:
        Worthless: It did not.
    """
    from sigstore.errors import CertValidationError, VerificationError
    from sigstore.models import Bundle as SigstoreBundle
    from sigstore.models import InvalidBundle

    try:
        with warnings.catch_warnings():
            # What others wrote badly is nothing for this process's log.
            warnings.simplefilter("ignore")
            read = SigstoreBundle.from_json(data)
            kind, payload = _verifier(root).verify_dsse(read, seen)
    except Worthless:
        raise
    except CertValidationError as error:
        raise Worthless(SignatureReason.UNTRUSTED, _LEADS_NOWHERE) from error
    except VerificationError as error:
        raise Worthless(
            SignatureReason.BAD_SIGNATURE,
            f"is not what the root {quote(root.name)} vouches for: {_why(error)}",
        ) from error
    except InvalidBundle as error:
        raise Worthless(
            SignatureReason.MALFORMED, f"cannot be read by Sigstore: {_why(error)}"
        ) from error
    except Exception as error:
        # A library that reads what strangers wrote: whatever it raises, nothing is
        # verified.  Seen: missing extensions, keys of another kind, numbers too large.
        raise Worthless(
            SignatureReason.MALFORMED,
            f"cannot be read by Sigstore: {type(error).__name__}",
        ) from error
    return kind, payload, read.signing_certificate


def _in_use(root: SigstoreRoot, leaf: x509.Certificate) -> SigstoreRoot:
    """The root without what was not in use all the while that a certificate was valid.

    The library believes keys and authorities beyond their end, and whoever got hold of
    an old one could go on.  The time it verifies is one at which the certificate is
    valid, so what was in use throughout was in use then.
    """
    told = json.loads(root.data)
    for part in ROOT_PARTS:
        told[part] = [each for each in told[part] if _covers(each, leaf)]
        if not told[part]:
            raise Worthless(
                SignatureReason.UNTRUSTED,
                f"was made when none of the {part} of the root {quote(root.name)} was "
                "in use",
            )
    return replace(root, data=json.dumps(told).encode())


def _issued(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


@lru_cache(maxsize=64)
def _authorities(root: SigstoreRoot) -> tuple[x509.Certificate, ...]:
    """The certificates of a root that can be used."""
    told = json.loads(root.data)["certificateAuthorities"]
    return tuple(
        x509.load_der_x509_certificate(base64.b64decode(each["rawBytes"]))
        for authority in told
        for each in authority["certChain"]["certificates"]
    )


def _covers(member: object, leaf: x509.Certificate) -> bool:
    """Whether a log or an authority was in use as long as a certificate was valid."""
    begin, end = in_use(member)
    return (begin is None or begin <= leaf.not_valid_before_utc) and (
        end is None or leaf.not_valid_after_utc <= end
    )


class _Certified:
    """Takes down who was certified, where the library asks whether that will do."""

    def __init__(self) -> None:
        self.identity = Identity("", "")

    def verify(self, cert: x509.Certificate) -> None:
        """See :class:`sigstore.verify.policy.VerificationPolicy`."""
        self.identity = Identity(_issuer(cert), _subject(cert))


def _issuer(certificate: x509.Certificate) -> str:
    """The issuer of the token; newer instances write it twice."""
    from cryptography.hazmat import asn1

    found = {
        extension.oid: extension.value.value
        for extension in certificate.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }
    told = []
    if _ISSUER in found:
        told.append(asn1.decode_der(str, _short(found[_ISSUER])))
    if _ISSUER_RAW in found:
        told.append(_short(found[_ISSUER_RAW]).decode("utf-8"))
    if not told or len(set(told)) != 1:
        raise Worthless(
            SignatureReason.UNSUPPORTED,
            "was made with a certificate that names not one issuer of its identity",
        )
    return told[0]


def _subject(certificate: x509.Certificate) -> str:
    """The one name, if its text can be taken for no name of another kind.

    Trusted subjects are texts alone.  So a text with ``://`` is a URI, another with
    ``@`` an address, any other the name of a user, and an instance that certifies one
    of them as another kind is not followed.
    """
    from cryptography.hazmat import asn1

    names = list(
        certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    )
    match names:
        case [x509.UniformResourceIdentifier(value=text)]:
            said = "://" in text
        case [x509.RFC822Name(value=text)]:
            said = "@" in text and "://" not in text
        case [x509.OtherName(type_id=kind, value=der)] if kind == _USER_NAME:
            text = asn1.decode_der(str, _short(der))
            said = "@" not in text and "://" not in text
        case _:
            raise Worthless(
                SignatureReason.UNSUPPORTED,
                f"was made with a certificate of {len(names)} names, wanted one: an "
                "address, a URI or the name of a user",
            )
    if said and is_plain(text):
        return text
    raise Worthless(
        SignatureReason.UNSUPPORTED,
        f"was made with a certificate for {quote(text)}, which reads as another kind "
        "of name or holds what cannot be seen",
    )


def _short(data: bytes) -> bytes:
    if len(data) > _TEXT_MAX_BYTES:
        raise ValueError("a text of a certificate is too long")
    return data


@lru_cache(maxsize=64)
def _verifier(root: SigstoreRoot) -> Verifier:
    """The library's verifier for one root.

    Raises:
        ConfigError: The root cannot be used (reason ``TrustInvalid``).
    """
    from sigstore.models import ClientTrustConfig
    from sigstore.verify import Verifier

    # The library reads roots from files, or as a part of what is read from a text.
    told = {
        "mediaType": ClientTrustConfig.ClientTrustConfigType.CONFIG_0_1.value,
        "trustedRoot": json.loads(root.data),
        "signingConfig": {"mediaType": _SIGNING_CONFIG},
    }
    try:
        found = ClientTrustConfig.from_json(json.dumps(told)).trusted_root
        found.get_timestamp_authorities()  # it reads them only where it needs them
        return Verifier(trusted_root=found)
    except Exception as error:
        # Anything that is wrong in what the operator of the cluster gave.
        what = f"is no root of Sigstore that can be used: {_why(error)}"
        raise invalid(
            root.name, what, "give the trusted_root.json of a Sigstore instance"
        ) from error


def _why(error: Exception) -> str:
    """What a library said, in one line; the second line is where it tells the place."""
    text = " ".join(str(error).split()) or type(error).__name__
    return quote(text, 200)
