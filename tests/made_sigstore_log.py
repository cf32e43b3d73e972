# SPDX-License-Identifier: Apache-2.0
"""The logs of a made Sigstore: keys, Merkle tree, checkpoints, promises, entries."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from made_signatures import Json, new_key

SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


def base64_of(data: bytes) -> str:
    """Bytes as the JSON of protocol buffers writes them."""
    return base64.b64encode(data).decode()


def canonical(value: Json) -> bytes:
    """JSON by RFC 8785, for values of ASCII text and small whole numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def der(tag: int, *parts: bytes) -> bytes:
    """One DER element around its parts."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


def spki(key: PublicKey) -> bytes:
    """The SubjectPublicKeyInfo of a key, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class LogKey:
    """The key of a log; with an id of another it is an impostor."""

    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    log_id: bytes
    "32 bytes, of which a checkpoint carries the first four."

    @classmethod
    def new(cls, claims: LogKey | None = None) -> LogKey:
        """A new log on P-256 known by the hash of its key; RFC 6962, section 3.2."""
        key = new_key()
        own = hashlib.sha256(spki(key.public_key())).digest()
        return cls(key, claims.log_id if claims else own)

    @classmethod
    def tiled(cls, origin: str, claims: LogKey | None = None) -> LogKey:
        """A new log on Ed25519 known by its name and key, as signed notes do."""
        key = ed25519.Ed25519PrivateKey.generate()
        raw = key.public_key().public_bytes_raw()
        own = hashlib.sha256(origin.encode() + b"\n\1" + raw).digest()
        return cls(key, claims.log_id if claims else own)

    @property
    def details(self) -> str:
        """What kind of key it is, as roots of trust name it."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return "PKIX_ED25519"
        return "PKIX_ECDSA_P256_SHA_256"

    def sign(self, data: bytes) -> bytes:
        """A signature; by ECDSA it is with SHA-256, DER."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))


def sct_list(
    logs: Sequence[LogKey], tbs: bytes, issuer: ec.EllipticCurvePublicKey, at: datetime
) -> x509.UnrecognizedExtension:
    """Signed certificate timestamps over a precertificate; RFC 6962, 3.2 and 3.3.

    Args:
        logs: who signs, one timestamp each.
        tbs: the certificate to be signed without this extension, DER.
        issuer: the public key of who signs the certificate.
        at: the time that is stamped.
    """
    stamp = struct.pack(">Q", int(at.timestamp() * 1000))
    entry = hashlib.sha256(spki(issuer)).digest() + len(tbs).to_bytes(3, "big") + tbs
    said = b"\0\0" + stamp + b"\0\1" + entry + b"\0\0"
    whole = b""
    for log in logs:
        made = log.sign(said)
        one = b"\0" + log.log_id + stamp + b"\0\0" + b"\4\3" + _opaque(made)
        whole += _opaque(one)
    return x509.UnrecognizedExtension(SCT_LIST, der(0x04, _opaque(whole)))


def _opaque(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


@dataclass(frozen=True)
class Tree:
    """A Merkle tree over the entries of a log; RFC 6962, section 2.1."""

    entries: tuple[bytes, ...]

    def root(self) -> bytes:
        """The root hash, 32 bytes."""
        return _hash_of(self.entries)

    def path(self, index: int) -> list[bytes]:
        """The audit path of one entry, from its sibling upwards."""
        return _path_of(index, self.entries)


def _split(entries: Sequence[bytes]) -> int:
    # The largest power of two smaller than the number of entries.
    return 1 << ((len(entries) - 1).bit_length() - 1)


def _hash_of(entries: Sequence[bytes]) -> bytes:
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    at = _split(entries)
    both = _hash_of(entries[:at]) + _hash_of(entries[at:])
    return hashlib.sha256(b"\1" + both).digest()


def _path_of(index: int, entries: Sequence[bytes]) -> list[bytes]:
    if len(entries) == 1:
        return []
    at = _split(entries)
    if index < at:
        return [*_path_of(index, entries[:at]), _hash_of(entries[at:])]
    return [*_path_of(index - at, entries[at:]), _hash_of(entries[:at])]


def checkpoint(tree: Tree, by: LogKey, origin: str) -> str:
    """The size and the root of a tree as a signed note of the log of that origin."""
    note = f"{origin}\n{len(tree.entries)}\n{base64_of(tree.root())}\n"
    signed = by.log_id[:4] + by.sign(note.encode())
    name = origin.split(" ", maxsplit=1)[0]
    return f"{note}\n\N{EM DASH} {name} {base64_of(signed)}\n"


def promise(
    body: bytes, index: int, log_id: bytes, integrated: datetime, by: LogKey
) -> bytes:
    """The signed entry timestamp of Rekor: its word of when it took an entry."""
    said = {
        "body": base64_of(body),
        "integratedTime": int(integrated.timestamp()),
        "logID": log_id.hex(),
        "logIndex": index,
    }
    return by.sign(canonical(said))


@dataclass(frozen=True)
class Signed:
    """What of a signature a log is told."""

    payload: bytes
    envelope: Json
    signature: bytes
    certificate: x509.Certificate


def dsse_entry(signed: Signed) -> Json:
    """An entry of kind dsse 0.0.1, which Rekor v1 makes of an envelope."""
    pem = signed.certificate.public_bytes(Encoding.PEM)
    return {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": _sha256_of(json.dumps(signed.envelope).encode()),
            "payloadHash": _sha256_of(signed.payload),
            "signatures": [
                {
                    "signature": base64_of(signed.signature),
                    "verifier": base64_of(pem),
                }
            ],
        },
    }


def hashedrekord_entry(signed: Signed) -> Json:
    """An entry of kind hashedrekord 0.0.1, which is for files and not for envelopes."""
    pem = signed.certificate.public_bytes(Encoding.PEM)
    return {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": _sha256_of(signed.payload)},
            "signature": {
                "content": base64_of(signed.signature),
                "publicKey": {"content": base64_of(pem)},
            },
        },
    }


def hashedrekord2_entry(signed: Signed) -> Json:
    """An entry of kind hashedrekord 0.0.2, which Rekor v2 makes of an envelope too."""
    kind = signed.envelope["payloadType"]
    head = f"DSSEv1 {len(kind)} {kind} {len(signed.payload)} ".encode()
    digest = hashlib.sha256(head + signed.payload).digest()
    raw = signed.certificate.public_bytes(Encoding.DER)
    return {
        "apiVersion": "0.0.2",
        "kind": "hashedrekord",
        "spec": {
            "hashedRekordV002": {
                "data": {"algorithm": "SHA2_256", "digest": base64_of(digest)},
                "signature": {
                    "content": base64_of(signed.signature),
                    "verifier": {
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                        "x509Certificate": {"rawBytes": base64_of(raw)},
                    },
                },
            }
        },
    }


def _sha256_of(data: bytes) -> Json:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}
