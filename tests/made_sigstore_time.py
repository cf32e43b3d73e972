# SPDX-License-Identifier: Apache-2.0
"""An authority that stamps times for a made Sigstore; RFC 3161 and RFC 5652."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from made_signatures import Issued, issue
from made_sigstore_log import der

SEQUENCE, SET, OCTETS, CONTEXT_0 = 0x30, 0x31, 0x04, 0xA0
# Libraries ask their own clock whether a root is in use, so it begins long ago.
BEGIN = datetime(2021, 1, 12, tzinfo=UTC)
END = datetime(2049, 1, 12, tzinfo=UTC)


class TimeAuthority:
    """A root and a certificate for stamping times."""

    def __init__(self, name: str = "sigstore.example") -> None:
        """Makes new keys."""
        self.root = issue(f"{name} times", authority=True, begin=BEGIN, end=END)
        self.signer = issue(
            f"{name} time stamps",
            self.root,
            purpose=None,
            extra=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]),
            begin=BEGIN,
            end=END,
        )

    @property
    def chain(self) -> list[x509.Certificate]:
        """The certificates, signer first."""
        return [self.signer.certificate, self.root.certificate]

    def stamp(self, data: bytes, at: datetime) -> bytes:
        """A response that says when these bytes were there, DER."""
        granted = der(SEQUENCE, _number(0))
        return der(SEQUENCE, granted, _token(self.signer, _info(data, at)))


def _info(data: bytes, at: datetime) -> bytes:
    imprint = der(SEQUENCE, _SHA256, der(OCTETS, hashlib.sha256(data).digest()))
    stamp = der(0x18, at.strftime("%Y%m%d%H%M%SZ").encode())
    policy = _oid("1.3.6.1.4.1.57264.2")
    serial = _number(x509.random_serial_number())
    return der(SEQUENCE, _number(1), policy, imprint, serial, stamp)


def _token(signer: Issued, info: bytes) -> bytes:
    certificate = signer.certificate.public_bytes(Encoding.DER)
    one = der(SEQUENCE, der(OCTETS, hashlib.sha256(certificate).digest()))
    attributes = [
        _attribute("1.2.840.113549.1.9.3", _INFO),
        _attribute("1.2.840.113549.1.9.4", der(OCTETS, hashlib.sha256(info).digest())),
        _attribute("1.2.840.113549.1.9.16.2.47", der(SEQUENCE, der(SEQUENCE, one))),
    ]
    # A set's elements are sorted in DER; it is signed as a set, and carried otherwise.
    attributes.sort()
    made = signer.key.sign(der(SET, *attributes), ec.ECDSA(hashes.SHA256()))
    issuer = signer.certificate.issuer.public_bytes()
    who = der(SEQUENCE, issuer, _number(signer.certificate.serial_number))
    carried = der(CONTEXT_0, *attributes)
    signed = (_number(1), who, _SHA256, carried, _ECDSA_SHA256, der(OCTETS, made))
    content = der(SEQUENCE, _INFO, der(CONTEXT_0, der(OCTETS, info)))
    data = der(
        SEQUENCE,
        _number(3),
        der(SET, _SHA256),
        content,
        der(CONTEXT_0, certificate),
        der(SET, der(SEQUENCE, *signed)),
    )
    return der(SEQUENCE, _oid("1.2.840.113549.1.7.2"), der(CONTEXT_0, data))


def _attribute(kind: str, value: bytes) -> bytes:
    return der(SEQUENCE, _oid(kind), der(SET, value))


def _number(value: int) -> bytes:
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    content = b""
    for part in (first * 40 + second, *rest):
        groups = [part & 0x7F]
        while part := part >> 7:
            groups.append(part & 0x7F | 0x80)
        content += bytes(reversed(groups))
    return der(0x06, content)


_INFO = _oid("1.2.840.113549.1.9.16.1.4")
_SHA256 = der(SEQUENCE, _oid("2.16.840.1.101.3.4.2.1"), b"\5\0")
_ECDSA_SHA256 = der(SEQUENCE, _oid("1.2.840.10045.4.3.2"))
