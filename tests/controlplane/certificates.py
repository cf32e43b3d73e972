# SPDX-License-Identifier: Apache-2.0
"""ES256 certificate authorities and leaf certificates, PEM in and PEM out.

For tests and demonstrations: keys are not encrypted and nothing is ever revoked.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
BACKDATE = timedelta(minutes=1)  # clocks of one machine agree; arbitrary, generous


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key.

    Attributes:
        certificate_pem: One X.509 certificate.
        key_pem: Its key, PKCS #8, P-256, not encrypted.
    """

    certificate_pem: bytes
    key_pem: bytes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write ``NAME.crt`` and ``NAME.key`` (mode 0600) and return both paths."""
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_bytes(self.certificate_pem)
        write_private(key, self.key_pem)
        return certificate, key


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


def make_key() -> bytes:
    """A new P-256 private key as PEM (PKCS #8, not encrypted)."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def public_key(key_pem: bytes) -> bytes:
    """The public half of a private key, as PEM (SubjectPublicKeyInfo)."""
    return (
        _load_key(key_pem)
        .public_key()
        .public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def make_ca(
    common_name: str = "Pedigree test CA",
    *,
    lifetime: timedelta = 30 * DAY,
    not_before: datetime | None = None,
) -> KeyPair:
    """A self-signed certificate authority that may sign leaves, not other authorities.

    Args:
        common_name: Its subject; give two authorities two names.
        lifetime: From ``not_before`` on.
        not_before: Start of validity, with time zone; None means a minute ago.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        _builder(subject, subject, key, lifetime, not_before)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    return _sign(builder, key, key)


def make_leaf(
    ca: KeyPair,
    *,
    common_name: str | None = None,
    organizations: Sequence[str] = (),
    dns_names: Sequence[str] = (),
    ip_addresses: Sequence[str] = (),
    lifetime: timedelta = DAY,
    not_before: datetime | None = None,
) -> KeyPair:
    """A certificate for servers and clients, signed by ``ca``.

    Args:
        ca: What ``make_ca`` returned.
        common_name: Kubernetes takes it for the user name; None means the first DNS
            name or IP address.
        organizations: Kubernetes takes them for the user's groups.
        dns_names: Names that a server is reached by.
        ip_addresses: Addresses that a server is reached by.
        lifetime: From ``not_before`` on; may reach beyond the CA's, for tests of that.
        not_before: Start of validity, with time zone; None means a minute ago.

    Raises:
        ValueError: Nothing to put in: no common name, DNS name or IP address.
    """
    names = [*dns_names, *ip_addresses]
    if common_name is None and not names:
        raise ValueError(
            "a leaf certificate for nobody was asked for; give a common_name, "
            "dns_names or ip_addresses"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name or names[0]),
        ]
    )
    issuer = x509.load_pem_x509_certificate(ca.certificate_pem)
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(subject, issuer.subject, key, lifetime, not_before)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    if names:
        alternatives: list[x509.GeneralName] = [x509.DNSName(n) for n in dns_names]
        addresses = map(ipaddress.ip_address, ip_addresses)
        alternatives += [x509.IPAddress(address) for address in addresses]
        builder = builder.add_extension(
            x509.SubjectAlternativeName(alternatives), critical=False
        )
    return _sign(builder, key, _load_key(ca.key_pem))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    lifetime: timedelta,
    not_before: datetime | None,
) -> x509.CertificateBuilder:
    start = datetime.now(UTC) - BACKDATE if not_before is None else not_before
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    )


def _sign(
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
) -> KeyPair:
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    certificate = builder.add_extension(authority, critical=False).sign(
        signer, hashes.SHA256()
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return KeyPair(certificate_pem=pem, key_pem=_key_pem(key))


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _load_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"got a {type(key).__name__}, wanted an elliptic-curve key")
    return key
