# SPDX-License-Identifier: Apache-2.0
"""Signatures built to end an examination, or to pass for somebody else's."""

from __future__ import annotations

import base64
import gc
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from sigstore.models import Bundle

from made_signatures import NOW, Json, issue, manifest_of, statement_of
from made_sigstore import MadeSigstore
from made_sigstore_log import base64_of, der
from pedigree.errors import ConfigError
from pedigree.signatures import keyless
from pedigree.signatures.bundle import BUNDLE_VALUES_MAX, MATERIAL_MAX_BYTES
from pedigree.signatures.trust import Trust
from pedigree.signatures.trusted import (
    SigstoreRoot,
    TrustedCertificates,
    TrustedIdentity,
)
from pedigree.signatures.verdict import SignatureReason, SignatureVerdict
from pedigree.signatures.verification import verify

FILES = {"config.json": b"{}", "model.safetensors": b"weights"}
PAYLOAD = json.dumps(statement_of(FILES)).encode()
ISSUER = "https://accounts.example.com"
ANNA = "anna@example.com"
MADE = MadeSigstore()
ROOT = SigstoreRoot.read("house", MADE.trusted_root())
HOUSE = TrustedCertificates.read("pki", issue("pki", authority=True).pem)


WORKFLOW = "https://h.example/acme/models/release.yml@refs/tags/v7"
USER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")


def _user(name: str) -> x509.OtherName:
    return x509.OtherName(USER_NAME, der(0x0C, name.encode()))


def _trust(subject: str = ANNA) -> Trust:
    told = {"issuer": ISSUER, "subject": subject}
    anna = TrustedIdentity.read("anna", json.dumps(told).encode())
    return Trust.of([ROOT, HOUSE, anna])


def _by(**changes: Any) -> bytes:
    uses = {"issuer": ISSUER, "subject": ANNA, "at": NOW}
    return MADE.sign(PAYLOAD, **{**uses, **changes})


def _verify(data: bytes, trust: Trust | None = None) -> SignatureVerdict:
    manifest = manifest_of(FILES)
    return verify(data, manifest, trust or _trust(), at=NOW + timedelta(days=9))


def _dated(begin: bytes, end: bytes) -> Callable[[Json], None]:
    """Writes other dates into the certificate; its signature becomes wrong."""

    def edit(bundle: Json) -> None:
        held = bundle["verificationMaterial"]["certificate"]
        raw = base64.b64decode(held["rawBytes"])
        place = raw.index(b"\x30\x1e\x17\x0d")
        dates = der(0x30, der(0x18, begin), der(0x18, end))
        made = raw[:place] + dates + raw[place + 32 :]
        for start in (0, 4):  # of the certificate, and of what is signed of it
            length = int.from_bytes(made[start + 2 : start + 4], "big")
            told = (length + len(dates) - 32).to_bytes(2, "big")
            made = made[: start + 2] + told + made[start + 4 :]
        held["rawBytes"] = base64_of(made)

    return edit


def _chained(bundle: Json) -> None:
    material = bundle["verificationMaterial"]
    held = [material.pop("certificate")]
    material["x509CertificateChain"] = {"certificates": held}


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize(
    ("begin", "end", "reason"),
    [
        (b"00000101000000Z", b"99991231235959Z", "Unsupported"),
        (b"20200101000000Z", b"00000101000000Z", "Unsupported"),
        (b"00010101000000Z", b"99991231235959Z", "Untrusted"),
    ],
)
def test_dates_that_no_calendar_has_end_no_examination(
    chained: bool, begin: bytes, end: bytes, reason: str
) -> None:
    def edit(bundle: Json) -> None:
        _dated(begin, end)(bundle)
        if chained:
            _chained(bundle)

    found = _verify(_by(edit=edit))
    assert found.reason == reason, found.message
    assert found.signer == ""


def test_what_stands_beside_the_payload_has_an_end() -> None:
    """A library makes objects of thirty times the bytes of a checkpoint."""

    data = _by()
    payload = json.loads(data)["dsseEnvelope"]["payload"]
    room = MATERIAL_MAX_BYTES + len(payload) - len(data)
    assert _verify(data + b" " * room).valid
    found = _verify(data + b" " * (room + 1))
    assert found.reason is SignatureReason.MALFORMED
    assert "500001 bytes beside its payload, wanted at most 500000" in found.message


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        (x509.RFC822Name(WORKFLOW), WORKFLOW[:-1] + "*"),
        (_user(WORKFLOW), WORKFLOW),
        (x509.UniformResourceIdentifier(ANNA), "*@example.com"),
        (_user(ANNA), ANNA),
        (x509.UniformResourceIdentifier("anna"), "anna"),
        (x509.RFC822Name("anna"), "anna"),
        (x509.RFC822Name("an\0na@example.com"), "*@example.com"),
        (x509.RFC822Name("an\nna@example.com"), "*@example.com"),
        (x509.RFC822Name("an na@example.com"), "*@example.com"),
        (x509.UniformResourceIdentifier(WORKFLOW + "\0"), WORKFLOW + "*"),
        (_user("an\u202ena"), "an*na"),
    ],
)
def test_a_name_of_one_kind_does_not_pass_for_one_of_another(
    name: x509.GeneralName, subject: str
) -> None:
    found = _verify(_by(names=(name,)), _trust(subject))
    assert found.reason is SignatureReason.UNSUPPORTED, found.message
    assert "reads as another kind of name or" in found.message
    assert found.signer == ""


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        (x509.UniformResourceIdentifier(WORKFLOW), WORKFLOW[:-1] + "*"),
        (x509.RFC822Name(ANNA), "*@example.com"),
        (_user("anna!example.com"), "anna!example.com"),
        (x509.UniformResourceIdentifier("spiffe://h/ns/a"), "spiffe://h/ns/*"),
    ],
)
def test_a_name_that_reads_as_what_it_is_is_believed(
    name: x509.GeneralName, subject: str
) -> None:
    assert _verify(_by(names=(name,)), _trust(subject)).signer == "anna"


def test_verifying_writes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    made = MadeSigstore()
    root = SigstoreRoot.read("house", made.trusted_root())
    keyless.check_roots((root,))
    data = made.sign(PAYLOAD, issuer=ISSUER, subject=ANNA, at=NOW)
    anna = _trust().identities[0]
    assert _verify(data, Trust.of([root, anna])).signer == "anna"


def test_what_is_wrong_in_a_root_is_told_with_its_place() -> None:
    missing, stamps = MADE.trust(), MADE.trust()
    del missing["tlogs"][1]["publicKey"]["keyDetails"]
    held = stamps["timestampAuthorities"][0]["certChain"]["certificates"]
    held[0]["rawBytes"] = "AAAA"
    for told, where in (
        (missing, "tlogs.1.publicKey.keyDetails"),
        (stamps, "error parsing asn1"),
    ):
        root = SigstoreRoot.read("house", json.dumps(told).encode())
        with pytest.raises(ConfigError, match=where) as caught:
            keyless.check_roots((root,))
        assert caught.value.reason == "TrustInvalid"


def test_what_is_badly_written_in_a_time_stamp_warns_nobody() -> None:
    """A certificate in it has a negative number, which ``cryptography`` warns of."""

    def edit(bundle: Json) -> None:
        times = bundle["verificationMaterial"]["timestampVerificationData"]
        held = times["rfc3161Timestamps"][0]
        number = MADE.time.signer.certificate.serial_number
        old = der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))
        raw = base64.b64decode(held["signedTimestamp"])
        assert old in raw
        negative = old[:2] + b"\x80" + old[3:]
        held["signedTimestamp"] = base64_of(raw.replace(old, negative, 1))

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = _verify(_by(rekor=2, edit=edit))
    assert not found.valid
    assert seen == []


def test_whom_to_trust_is_read_without_what_verifies(tmp_path: Path) -> None:
    """The webhook compares a digest, and its image may lack the extra."""
    (tmp_path / "house.root.json").write_bytes(ROOT.data)
    told = {"issuer": ISSUER, "subject": ANNA}
    (tmp_path / "anna.identity.json").write_text(json.dumps(told))
    code = (
        "import sys; from pathlib import Path\n"
        "sys.modules.update(dict.fromkeys(('sigstore', 'cryptography')))\n"
        "from pedigree.signatures.trust import read_trust\n"
        f"print(read_trust(Path({str(tmp_path)!r})).digest)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    anna = _trust().identities[0]
    assert done.stdout.strip() == str(Trust.of([ROOT, anna]).digest)


def test_nothing_of_a_large_signature_is_kept_for_each_root() -> None:
    """Its bytes were, until the collector came by: twenty roots took 400 MB."""
    roots = [
        SigstoreRoot.read(name, MadeSigstore(f"{name}.example").trusted_root())
        for name in ("one", "two")
    ]
    told = {"issuer": ISSUER, "subject": ANNA, "root": "one"}
    anna = TrustedIdentity.read("anna", json.dumps(told).encode())
    gc.collect()
    gc.disable()
    try:
        found = _verify(_by(), Trust.of([*roots, anna]))
        kept = [each for each in gc.get_objects() if type(each) is Bundle]
    finally:
        gc.enable()
    assert found.reason is SignatureReason.UNTRUSTED
    assert kept == []


def test_a_signature_has_no_more_values_than_a_library_can_complain_of() -> None:
    """Of 45,000 empty entries it said 225,000 things, in 400 MB."""

    def edit(bundle: Json) -> None:
        bundle["verificationMaterial"]["tlogEntries"] = [{}] * 45_000

    found = _verify(_by(edit=edit))
    assert found.reason is SignatureReason.MALFORMED
    assert f"has over {BUNDLE_VALUES_MAX} values" in found.message


@pytest.mark.parametrize("rekor", [1, 2])
def test_what_a_stranger_wrote_does_not_reach_the_library(
    rekor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it told as a forgery: the trusted instance was never asked."""
    assert _verify(_by(rekor=rekor)).signer == "anna"

    def refuse(data: bytes) -> Bundle:
        raise AssertionError("read by the library")

    monkeypatch.setattr(Bundle, "from_json", refuse)
    uses: dict[str, Any] = {"issuer": ISSUER, "subject": ANNA, "at": NOW}
    for name in ("sigstore.example", "other.example"):
        data = MadeSigstore(name).sign(PAYLOAD, rekor=rekor, **uses)
        found = _verify(data)
        assert found.reason is SignatureReason.UNTRUSTED
        assert "leads to no trusted Sigstore instance" in found.message
    signer = issue("mallory", MADE.intermediate, begin=NOW, end=NOW + timedelta(1))
    found = _verify(_by(authority=signer, rekor=rekor))
    assert found.reason is SignatureReason.UNTRUSTED


def test_a_library_that_is_there_in_part_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sigstore.verify", None)
    root = SigstoreRoot.read("part", MadeSigstore().trusted_root())
    with pytest.raises(ConfigError, match="'keyless', which cannot be loaded") as told:
        keyless.check_roots((root,))
    assert told.value.reason == "ExtraMissing"
