# SPDX-License-Identifier: Apache-2.0
"""Bundles of a made Sigstore in which one thing is wrong.

Each attack is a set of fields of `Way`, for `MadeSigstore.sign(..., **attack)`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from made_signatures import Json, envelope_of, issue, new_key
from made_sigstore import ORIGIN2, MadeSigstore, certificate_by, name_of
from made_sigstore_log import (
    LogKey,
    Signed,
    Tree,
    base64_of,
    hashedrekord2_entry,
    hashedrekord_entry,
)
from made_sigstore_time import TimeAuthority

Attack = Mapping[str, Any]
MALLORY = "mallory@example.net"
ELSEWHERE = "https://issuer.example.net"


def attacks(made: MadeSigstore, *, at: datetime) -> dict[str, Attack]:
    """What Sigstore's own library refuses, by name, of signatures made at a time."""
    return {
        **_of_the_certificate(made, at),
        **_of_its_timestamp(made),
        **_of_the_entry(),
        **_of_the_log(made),
        **_of_the_time(made, at),
    }


def attacks2(made: MadeSigstore, *, at: datetime) -> dict[str, Attack]:
    """The same of what is special to Rekor v2 and to stamped times."""
    impostor = LogKey.tiled(ORIGIN2, made.rekor2)
    late = at + timedelta(seconds=601)
    found: dict[str, Attack] = {
        "no stamped time": {"timed": None},
        "a time of another authority": {"time_authorities": (TimeAuthority(),)},
        "a time of another signature": {
            "timed_over": lambda signature: signature + b"a"
        },
        "a time before the certificate": {"timed": at - timedelta(seconds=1)},
        "a time after the certificate": {"timed": late},
        "a time that is none": {"edit": _no_time},
        "one time twice": {"edit": _one_time_twice},
        "a promised time alone": {"timed": None, "integrated": at},
        "an impostor of Rekor v2": {"checkpoint_by": impostor},
        "a checkpoint of Rekor v1": {"checkpoint_by": made.rekor},
        "told of another payload": {
            "logged": lambda signed: replace(signed, payload=b"{}")
        },
        "told of another signature": {
            "logged": lambda signed: replace(signed, signature=b"another")
        },
        "told of another certificate": {"logged": _another_certificate},
        "told of a file": {"entry": _a_file2},
    }
    return {name: {"rekor": 2, **attack} for name, attack in found.items()}


def blind_spots(made: MadeSigstore, *, at: datetime) -> dict[str, Attack]:
    """What Sigstore's own library lets pass, for the verifier to judge by itself."""
    later = at + timedelta(days=4000)
    nobody = replace(made.rekor, log_id=bytes(32))
    return {
        "a second name": {"names": (name_of(MALLORY), name_of("anna@example.com"))},
        "the new issuer is another": {"issuer_der": ELSEWHERE},
        "no new issuer": {"issuer_der": None},
        "a log that nobody has": {
            "log": nobody,
            "promise_by": nobody,
            "checkpoint_by": nobody,
        },
        "the log was told of another envelope": {
            "logged": lambda signed: replace(signed, envelope={})
        },
        "an older bundle": {"edit": _older},
        "another type of payload": {"envelope": _text},
        "signed in years to come": {"begin": later, "end": later, "integrated": later},
        "a time of another authority beside a promise": {
            "time_authorities": (TimeAuthority(),),
            "timed": at,
        },
    }


def escapes() -> dict[str, Attack]:
    """What makes Sigstore's own library raise an error that is none of its own."""
    return {
        "no purposes": {"purposes": ()},
        "an RSA key": {
            "key": rsa.generate_private_key(65537, 2048),
            "envelope_by": new_key(),
        },
        "a time that no clock shows": {
            "edit": lambda bundle: _entry(bundle).update(integratedTime="9" * 18)
        },
        "a checkpoint signed by no base64": {
            "edit": lambda bundle: _proof(bundle).update(
                checkpoint={"envelope": "origin\n1\nAAAA\n\n\N{EM DASH} name A\n"}
            )
        },
        "a certificate that is none": {
            "edit": lambda bundle: _material(bundle)["certificate"].update(
                rawBytes=base64_of(b"no certificate")
            )
        },
    }


def _of_the_certificate(made: MadeSigstore, at: datetime) -> dict[str, Attack]:
    signer = issue("mallory", made.intermediate, begin=at, end=at + timedelta(1))
    client = ExtendedKeyUsageOID.CLIENT_AUTH
    return {
        "an authority of the same name": {"authority": MadeSigstore().intermediate},
        "an authority of another name": {"authority": MadeSigstore("o").intermediate},
        "issued by a signer": {"authority": signer},
        "not for signing code": {"purposes": (client,)},
        "another name": {"names": (name_of(MALLORY),)},
        "the name as a host": {"names": (x509.DNSName("example.com"),)},
        "no names": {"names": ()},
        "another issuer": {"issuer_raw": ELSEWHERE, "issuer_der": ELSEWHERE},
        "the old issuer is another": {"issuer_raw": ELSEWHERE},
        "no old issuer": {"issuer_raw": None},
        "no issuer": {"issuer_raw": None, "issuer_der": None},
        "signed by another key": {"envelope_by": new_key()},
        "another payload": {"edit": _another_payload},
        "two signatures": {"edit": _two_signatures},
    }


def _of_its_timestamp(made: MadeSigstore) -> dict[str, Attack]:
    return {
        "no timestamp": {"ct_logs": ()},
        "a timestamp of another log": {"ct_logs": (LogKey.new(),)},
        "a timestamp by another key": {"ct_logs": (LogKey.new(made.ct_log),)},
        "a timestamp of another certificate": {"stamped": lambda tbs: tbs + b"\0"},
        "two timestamps": {"ct_logs": (made.ct_log, made.ct_log)},
    }


def _of_the_entry() -> dict[str, Attack]:
    return {
        "the log was told of another payload": {
            "logged": lambda signed: replace(signed, payload=b"{}")
        },
        "the log was told of another signature": {
            "logged": lambda signed: replace(signed, signature=b"another")
        },
        "the log was told of another certificate": {"logged": _another_certificate},
        "an entry for a file": {"entry": hashedrekord_entry},
        "an entry for a file that says to be for an envelope": {
            "entry": hashedrekord_entry,
            "says": ("dsse", "0.0.1"),
        },
        "an entry that says to be for a file": {"says": ("hashedrekord", "0.0.1")},
        "an entry of a version to come": {"says": ("dsse", "0.0.3")},
        "no entry": {"edit": lambda bundle: _material(bundle)["tlogEntries"].clear()},
        "two entries": {
            "edit": lambda bundle: _material(bundle)["tlogEntries"].append(
                _entry(bundle)
            )
        },
    }


def _of_the_log(made: MadeSigstore) -> dict[str, Attack]:
    other = LogKey.new()
    impostor = LogKey.new(made.rekor)
    return {
        "another Rekor": {"log": other, "promise_by": other, "checkpoint_by": other},
        "an impostor of Rekor": {"promise_by": impostor, "checkpoint_by": impostor},
        "a promise by another key": {"promise_by": impostor},
        "the proof of another entry": {"proof_of": 0},
        "a proof with another place": {
            "edit": lambda bundle: _proof(bundle).update(logIndex="1")
        },
        "a proof that is short": {
            "edit": lambda bundle: _proof(bundle)["hashes"].pop()
        },
        "a proof with another root": {
            "edit": lambda bundle: _proof(bundle).update(rootHash=base64_of(bytes(32)))
        },
        "no proof": {"edit": lambda bundle: _entry(bundle).pop("inclusionProof")},
        "no checkpoint": {"edit": lambda bundle: _proof(bundle).pop("checkpoint")},
        "a checkpoint of another log": {"checkpoint_by": other},
        "a checkpoint by another key": {"checkpoint_by": impostor},
        "a checkpoint of another tree": {"checkpoint_over": Tree((b"a", b"b"))},
    }


def _of_the_time(made: MadeSigstore, at: datetime) -> dict[str, Attack]:
    return {
        "logged before the certificate": {"integrated": at - timedelta(seconds=1)},
        "logged after the certificate": {"integrated": at + timedelta(seconds=601)},
        "no promise": {"promise_by": None},
        "no time": {"edit": lambda bundle: _entry(bundle).pop("integratedTime")},
        "neither promise nor time": {"integrated": None},
        "another time than promised": {
            "edit": lambda bundle: _entry(bundle).update(
                integratedTime=str(int(at.timestamp()) + 60)
            )
        },
        "another place than promised": {
            "edit": lambda bundle: _entry(bundle).update(logIndex="1")
        },
    }


def _material(bundle: Json) -> Json:
    found: Json = bundle["verificationMaterial"]
    return found


def _entry(bundle: Json) -> Json:
    found: Json = _material(bundle)["tlogEntries"][0]
    return found


def _proof(bundle: Json) -> Json:
    found: Json = _entry(bundle)["inclusionProof"]
    return found


def _text(payload: bytes, key: ec.EllipticCurvePrivateKey) -> Json:
    envelope = envelope_of(payload, key)
    said = b"DSSEv1 10 text/plain %d " % len(payload) + payload
    made = base64_of(key.sign(said, ec.ECDSA(hashes.SHA256())))
    return {**envelope, "payloadType": "text/plain", "signatures": [{"sig": made}]}


def _older(bundle: Json) -> None:
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2"
    held = [_material(bundle).pop("certificate")]
    _material(bundle)["x509CertificateChain"] = {"certificates": held}


def _times(bundle: Json) -> list[Json]:
    data = _material(bundle)["timestampVerificationData"]
    found: list[Json] = data["rfc3161Timestamps"]
    return found


def _no_time(bundle: Json) -> None:
    _times(bundle)[0]["signedTimestamp"] = base64_of(b"no time")


def _one_time_twice(bundle: Json) -> None:
    _times(bundle).append(_times(bundle)[0])


def _a_file2(signed: Signed) -> Json:
    entry = hashedrekord2_entry(signed)
    digest = base64_of(hashlib.sha256(signed.payload).digest())
    entry["spec"]["hashedRekordV002"]["data"]["digest"] = digest
    return entry


def _another_payload(bundle: Json) -> None:
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    envelope["payload"] = base64_of(payload + b" ")


def _two_signatures(bundle: Json) -> None:
    signatures = bundle["dsseEnvelope"]["signatures"]
    signatures.append(signatures[0])


def _another_certificate(signed: Signed) -> Signed:
    made = MadeSigstore()
    at = signed.certificate.not_valid_before_utc
    way = made.way(issuer=ELSEWHERE, subject=MALLORY, at=at)
    return replace(signed, certificate=certificate_by(way))
