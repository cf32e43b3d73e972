# SPDX-License-Identifier: Apache-2.0
"""Signatures of models made by code, and keys and certificates to make them with."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pedigree.digests import sha256
from pedigree.manifest import Manifest, ManifestFile

NOW = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)
PAYLOAD_TYPE = "application/vnd.in-toto+json"
HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
Json = dict[str, Any]


def new_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """A private key, on P-256 if nothing else is said."""
    return ec.generate_private_key(curve or ec.SECP256R1())


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public half as PEM."""
    return key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )


def manifest_of(files: Mapping[str, bytes]) -> Manifest:
    """The manifest of a model in memory."""
    return Manifest.of(
        ManifestFile(path, len(data), sha256(data)) for path, data in files.items()
    )


def statement_of(
    files: Mapping[str, bytes],
    *,
    hash_type: str = "sha256",
    shard_size: int | None = None,
    ignore_paths: Sequence[str] = (),
) -> Json:
    """What a signer of these files states."""
    resources = []
    for path, data in files.items():
        step = shard_size or max(len(data), 1)
        for begin in range(0, max(len(data), 1), step):
            piece = data[begin : begin + step]
            name = f"{path}:{begin}:{begin + len(piece)}" if shard_size else path
            digest = hashlib.new(hash_type, piece).hexdigest()
            resources.append({"name": name, "digest": digest, "algorithm": hash_type})
    resources.sort(key=lambda item: item["name"])
    serialization: Json = {
        "method": "shards" if shard_size else "files",
        "hash_type": hash_type,
        "allow_symlinks": False,
    }
    if shard_size:
        serialization["shard_size"] = shard_size
    if ignore_paths:
        serialization["ignore_paths"] = list(ignore_paths)
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "m", "digest": {"sha256": root_of(resources)}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"resources": resources, "serialization": serialization},
    }


def root_of(resources: Sequence[Json]) -> str:
    """The digest of all resources together."""
    raw = b"".join(bytes.fromhex(item["digest"]) for item in resources)
    return hashlib.sha256(raw).hexdigest()


def envelope_of(statement: Json | bytes, key: ec.EllipticCurvePrivateKey) -> Json:
    """A signed statement; bytes are signed as they are."""
    payload = (
        statement if isinstance(statement, bytes) else json.dumps(statement).encode()
    )
    kind = PAYLOAD_TYPE.encode()
    encoded = b" ".join(
        [b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(payload), payload]
    )
    made = key.sign(encoded, ec.ECDSA(HASHES[key.curve.key_size]))
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(made).decode(), "keyid": ""}],
    }


def bundle_of(
    statement: Json | bytes,
    key: ec.EllipticCurvePrivateKey,
    chain: Sequence[x509.Certificate] = (),
) -> Json:
    """A bundle, by key or, with a chain, by certificate."""
    material: Json = {
        "publicKey": {"hint": hashlib.sha256(public_pem(key)).hexdigest()}
    }
    if chain:
        ders = [one.public_bytes(Encoding.DER) for one in chain]
        held = [{"rawBytes": base64.b64encode(der).decode()} for der in ders]
        material = {"x509CertificateChain": {"certificates": held}}
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": material,
        "dsseEnvelope": envelope_of(statement, key),
    }


def signed(
    files: Mapping[str, bytes], key: ec.EllipticCurvePrivateKey, **how: Any
) -> bytes:
    """The bundle of a model, as a file."""
    return json.dumps(bundle_of(statement_of(files, **how), key)).encode()


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)


def issue(
    name: str,
    by: Issued | None = None,
    *,
    authority: bool = False,
    path_length: int | None = None,
    digital_signature: bool = True,
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CODE_SIGNING,
    begin: datetime = NOW - timedelta(days=30),
    end: datetime = NOW + timedelta(days=30),
    extra: x509.ExtensionType | None = None,
    says_usage: bool = True,
) -> Issued:
    """A certificate, signed by another or by itself."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = by.certificate.subject if by else subject
    signer = by.key if by else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(authority, path_length), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
    )
    if says_usage:
        usage = _usage(authority, digital_signature)
        builder = builder.add_extension(usage, critical=True)
    if purpose is not None and not authority:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([purpose]), critical=False
        )
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    return Issued(builder.sign(signer, hashes.SHA256()), key)


def _usage(authority: bool, digital_signature: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature and not authority,
        content_commitment=False,
        key_encipherment=not digital_signature,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
