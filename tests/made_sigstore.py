# SPDX-License-Identifier: Apache-2.0
"""A Sigstore of one's own: its roots of trust, and bundles signed with identities.

`MadeSigstore().sign(payload, issuer=..., subject=..., at=...)` makes a bundle in which
all is right. Any field of `Way` may be given too: it replaces one thing, and what
depends on it is signed anew, so nothing else becomes wrong.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from made_signatures import Issued, Json, envelope_of, issue, new_key
from made_sigstore_log import (
    LogKey,
    Signed,
    Tree,
    base64_of,
    canonical,
    checkpoint,
    der,
    dsse_entry,
    hashedrekord2_entry,
    promise,
    sct_list,
    spki,
)
from made_sigstore_time import BEGIN, END, TimeAuthority

ISSUER_RAW = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
ISSUER_DER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
TRUST_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ORIGIN = "rekor.sigstore.example - 1193050959916656506"
ORIGIN2 = "log2026-1.rekor.sigstore.example"
# Entries of earlier trees count in the index that is promised, not in the proof.
EARLIER = 4163431


@dataclass(frozen=True)
class Way:
    """How a signing goes, step by step; a test replaces what it wants to be wrong."""

    begin: datetime
    "The certificate's first second."
    end: datetime
    "The certificate's last second."
    integrated: datetime | None
    "When Rekor says that it took the entry; none leaves it out."
    names: tuple[x509.GeneralName, ...]
    "The subject alternative names; none leaves the extension out."
    issuer_raw: str | None
    "What the old extension says of the issuer; none leaves it out."
    issuer_der: str | None
    "What the new extension says of the issuer; none leaves it out."
    authority: Issued
    "Who issues the certificate."
    ct_logs: tuple[LogKey, ...]
    "Whose timestamps the certificate carries; nobody's leaves the extension out."
    log: LogKey
    "Whose entry it says to be."
    promise_by: LogKey | None
    "Who signs the entry's timestamp; none leaves it out."
    checkpoint_by: LogKey
    "Who signs the tree's root."
    origin: str = ORIGIN
    "The name of the log in its checkpoint."
    earlier: int = EARLIER
    "How many entries the log had in earlier trees."
    time_authorities: tuple[TimeAuthority, ...] = ()
    "Who stamps a time on the signature."
    timed: datetime | None = None
    "The time that is stamped, if any is."
    timed_over: Callable[[bytes], bytes] = lambda signature: signature
    "Changes what the time is stamped on."
    purposes: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.CODE_SIGNING,)
    "The extended key usages; none leaves the extension out."
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    "The key that is certified, and signs."
    envelope_by: ec.EllipticCurvePrivateKey | None = None
    "Who signs the envelope instead."
    envelope: Callable[[bytes, ec.EllipticCurvePrivateKey], Json] = envelope_of
    "Signs the payload."
    logged: Callable[[Signed], Signed] = lambda signed: signed
    "Changes what the log is told."
    entry: Callable[[Signed], Json] = dsse_entry
    "Makes the entry's body."
    says: tuple[str, str] | None = None
    "The kind and the version stated beside the body, if not those of the body."
    before: int = 9
    "How many entries the tree has before this one."
    after: int = 1
    "How many entries the tree has behind this one."
    proof_of: int | None = None
    "The index in the tree of the entry whose inclusion is proved instead."
    checkpoint_over: Tree | None = None
    "The tree that is signed instead."
    stamped: Callable[[bytes], bytes] = lambda precertificate: precertificate
    "Changes what the CT log stamps, DER."
    edit: Callable[[Json], object] = lambda bundle: bundle
    "Changes the finished bundle in place; nothing is signed anew."


class MadeSigstore:
    """A certificate authority, a CT log, a Rekor v1, a Rekor v2, a time authority."""

    def __init__(self, name: str = "sigstore.example") -> None:
        """Makes new keys for everything."""
        top = f"{name} root"
        self.root = issue(top, authority=True, begin=BEGIN, end=END)
        self.intermediate = issue(
            f"{name} intermediate",
            self.root,
            authority=True,
            path_length=0,
            begin=BEGIN,
            end=END,
        )
        self.ct_log = LogKey.new()
        self.rekor = LogKey.new()
        self.rekor2 = LogKey.tiled(ORIGIN2)
        self.time = TimeAuthority(name)

    def trust(self) -> Json:
        """What a trusted_root.json of this Sigstore says."""
        chain = [self.intermediate.certificate, self.root.certificate]
        return {
            "mediaType": TRUST_TYPE,
            "tlogs": [
                _log_of(self.rekor, "https://rekor.sigstore.example"),
                _log_of(self.rekor2, f"https://{ORIGIN2}"),
            ],
            "certificateAuthorities": [_authority_of(chain, "fulcio")],
            "ctlogs": [_log_of(self.ct_log, "https://ct.sigstore.example")],
            "timestampAuthorities": [_authority_of(self.time.chain, "time")],
        }

    def trusted_root(self) -> bytes:
        """The same as a file."""
        return json.dumps(self.trust()).encode()

    def way(self, *, issuer: str, subject: str, at: datetime) -> Way:
        """The right way to sign, by a certificate of ten minutes."""
        return Way(
            begin=at,
            end=at + timedelta(minutes=10),
            integrated=at + timedelta(seconds=2),
            names=(name_of(subject),),
            issuer_raw=issuer,
            issuer_der=issuer,
            authority=self.intermediate,
            ct_logs=(self.ct_log,),
            log=self.rekor,
            promise_by=self.rekor,
            checkpoint_by=self.rekor,
        )

    def way2(self, *, issuer: str, subject: str, at: datetime) -> Way:
        """The right way by Rekor v2, which leaves the time to a time authority."""
        return replace(
            self.way(issuer=issuer, subject=subject, at=at),
            integrated=None,
            log=self.rekor2,
            promise_by=None,
            checkpoint_by=self.rekor2,
            origin=ORIGIN2,
            earlier=0,
            entry=hashedrekord2_entry,
            time_authorities=(self.time,),
            timed=at + timedelta(seconds=1),
        )

    def sign(
        self,
        payload: bytes,
        *,
        issuer: str,
        subject: str,
        at: datetime,
        rekor: int = 1,
        **changes: Any,
    ) -> bytes:
        """A bundle as a file.

        Args:
            payload: the statement, signed as it is.
            issuer: who vouches for the subject, such as https://accounts.example.com.
            subject: an e-mail address or a URI.
            at: when it is signed, in whole seconds.
            rekor: the version of Rekor, 1 or 2.
            changes: fields of `Way` to replace.
        """
        right = self.way2 if rekor == 2 else self.way
        way = replace(right(issuer=issuer, subject=subject, at=at), **changes)
        return json.dumps(bundle_by(way, payload)).encode()


def name_of(subject: str) -> x509.GeneralName:
    """A subject as an alternative name: a URI if it looks like one, else an address."""
    if "://" in subject:
        return x509.UniformResourceIdentifier(subject)
    return x509.RFC822Name(subject)


def bundle_by(way: Way, payload: bytes) -> Json:
    """Signs a payload in some way."""
    certificate = certificate_by(way)
    envelope = way.envelope(payload, way.envelope_by or way.key)
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    signed = Signed(payload, envelope, signature, certificate)
    raw = base64_of(certificate.public_bytes(Encoding.DER))
    material: Json = {
        "certificate": {"rawBytes": raw},
        "tlogEntries": [entry_by(way, signed)],
    }
    if way.timed is not None:
        told = way.timed_over(signature)
        times = [one.stamp(told, way.timed) for one in way.time_authorities]
        material["timestampVerificationData"] = {
            "rfc3161Timestamps": [{"signedTimestamp": base64_of(one)} for one in times]
        }
    bundle: Json = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": material,
        "dsseEnvelope": envelope,
    }
    way.edit(bundle)
    return bundle


def certificate_by(way: Way) -> x509.Certificate:
    """The certificate of the signer, with its timestamps last."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(way.authority.certificate.subject)
        .public_key(way.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(way.begin)
        .not_valid_after(way.end)
    )
    for extension, critical in _extensions(way):
        builder = builder.add_extension(extension, critical=critical)
    issuer = way.authority.key
    if way.ct_logs:
        bare = builder.sign(issuer, hashes.SHA256()).tbs_certificate_bytes
        stamps = sct_list(
            way.ct_logs, way.stamped(bare), issuer.public_key(), way.begin
        )
        builder = builder.add_extension(stamps, critical=False)
    return builder.sign(issuer, hashes.SHA256())


def _extensions(way: Way) -> list[tuple[x509.ExtensionType, bool]]:
    above = way.authority.key.public_key()
    found: list[tuple[x509.ExtensionType, bool]] = [
        (_DIGITAL_SIGNATURE, True),
        (x509.SubjectKeyIdentifier.from_public_key(way.key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(above), False),
    ]
    if way.purposes:
        found.append((x509.ExtendedKeyUsage(way.purposes), False))
    if way.names:
        # A certificate without a subject has critical alternative names; RFC 5280.
        found.append((x509.SubjectAlternativeName(way.names), True))
    if way.issuer_raw is not None:
        raw = way.issuer_raw.encode()
        found.append((x509.UnrecognizedExtension(ISSUER_RAW, raw), False))
    if way.issuer_der is not None:
        text = der(0x0C, way.issuer_der.encode())
        found.append((x509.UnrecognizedExtension(ISSUER_DER, text), False))
    return found


_DIGITAL_SIGNATURE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def entry_by(way: Way, signed: Signed) -> Json:
    """The entry of Rekor: its body, its promise and the proof of its inclusion."""
    said = way.entry(way.logged(signed))
    body = canonical(said)
    kind, version = way.says or (said["kind"], said["apiVersion"])
    index = way.earlier + way.before
    made: Json = {
        "logIndex": str(index),
        "logId": {"keyId": base64_of(way.log.log_id)},
        "kindVersion": {"kind": kind, "version": version},
        "inclusionProof": proof_by(way, body),
        "canonicalizedBody": base64_of(body),
    }
    if way.integrated is not None:
        made["integratedTime"] = str(int(way.integrated.timestamp()))
        if way.promise_by is not None:
            stamp = promise(body, index, way.log.log_id, way.integrated, way.promise_by)
            made["inclusionPromise"] = {"signedEntryTimestamp": base64_of(stamp)}
    return made


def tree_by(way: Way, body: bytes) -> Tree:
    """The log: the entry among others."""
    others = [b"entry %d" % number for number in range(way.before + way.after)]
    return Tree((*others[: way.before], body, *others[way.before :]))


def proof_by(way: Way, body: bytes) -> Json:
    """The proof of an entry's inclusion, with a checkpoint."""
    tree = tree_by(way, body)
    index = way.before if way.proof_of is None else way.proof_of
    note = checkpoint(way.checkpoint_over or tree, way.checkpoint_by, way.origin)
    return {
        "logIndex": str(index),
        "rootHash": base64_of(tree.root()),
        "treeSize": str(len(tree.entries)),
        "hashes": [base64_of(one) for one in tree.path(index)],
        "checkpoint": {"envelope": note},
    }


def _authority_of(chain: Sequence[x509.Certificate], name: str) -> Json:
    ders = [one.public_bytes(Encoding.DER) for one in chain]
    return {
        "subject": {"organization": "example", "commonName": name},
        "uri": f"https://{name}.sigstore.example",
        "certChain": {"certificates": [{"rawBytes": base64_of(one)} for one in ders]},
        "validFor": {"start": _time_of(BEGIN)},
    }


def _log_of(log: LogKey, url: str) -> Json:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": base64_of(spki(log.key.public_key())),
            "keyDetails": log.details,
            "validFor": {"start": _time_of(BEGIN)},
        },
        "logId": {"keyId": base64_of(log.log_id)},
    }


def _time_of(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
