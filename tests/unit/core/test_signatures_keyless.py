# SPDX-License-Identifier: Apache-2.0
"""Signatures made with an identity by Sigstore: whose, and what breaks them."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from made_signatures import NOW, manifest_of, signed, statement_of
from made_sigstore import MadeSigstore
from made_sigstore_attacks import (
    MALLORY,
    attacks,
    attacks2,
    blind_spots,
    escapes,
)
from pedigree.errors import ConfigError
from pedigree.signatures import keyless
from pedigree.signatures.bundle import Bundle, read_bundle
from pedigree.signatures.keys import read_certificate
from pedigree.signatures.trust import Trust
from pedigree.signatures.trusted import SigstoreRoot, TrustedIdentity, TrustedKey
from pedigree.signatures.verdict import (
    SignatureReason,
    SignatureVerdict,
    Worthless,
)
from pedigree.signatures.verification import verify

DATA = Path(__file__).parents[2] / "data" / "oms"
FILES = {"config.json": b"{}", "model.safetensors": b"weights"}
PAYLOAD = json.dumps(statement_of(FILES)).encode()
ISSUER = "https://accounts.example.com"
ANNA = "anna@example.com"
MADE = MadeSigstore()
OTHER = MadeSigstore("other.example")
ROOT = SigstoreRoot.read("house", MADE.trusted_root())
OTHER_ROOT = SigstoreRoot.read("other", OTHER.trusted_root())
DER_USER = b"\x0c\x04anna"


def _anna(
    name: str = "anna", issuer: str = ISSUER, subject: str = ANNA, root: str = ""
) -> TrustedIdentity:
    told = {"issuer": issuer, "subject": subject, "root": root}
    return TrustedIdentity.read(name, json.dumps(told).encode())


TRUST = Trust.of([ROOT, _anna()])
USES: Mapping[str, Any] = {"issuer": ISSUER, "subject": ANNA, "at": NOW}


def _verify(
    data: bytes, trust: Trust = TRUST, files: Mapping[str, bytes] = FILES
) -> SignatureVerdict:
    return verify(data, manifest_of(files), trust, at=NOW + timedelta(days=900))


def _by(made: MadeSigstore = MADE, **changes: Any) -> bytes:
    return made.sign(PAYLOAD, **{**USES, **changes})


def test_a_trusted_identity_is_named_though_its_certificate_ran_out_long_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    found = _verify(_by())
    assert (found.reason, found.signer, found.method) == ("Valid", "anna", "sigstore")
    assert found.covered == ("config.json", "model.safetensors")
    assert (found.unsigned, found.ignored) == ((), ())
    assert found.identity == f"{ANNA!r} of {ISSUER!r}"
    assert len(found.key_id) == 64


def test_the_signed_files_are_compared_as_for_any_signer() -> None:
    found = _verify(_by(), files={**FILES, "config.json": b"{ }", "code.py": b""})
    assert (found.reason, found.changed) == ("FilesChanged", ("config.json",))
    assert found.signer == "anna"


@pytest.mark.parametrize(
    ("wanted", "got", "matches"),
    [
        (ANNA, ANNA, True),
        ("*@example.com", ANNA, True),
        ("anna*@example.com", ANNA, False),
        ("an*a@example.com", ANNA, True),
        ("*@example.com", "anna@example.com@example.com", False),
        ("*@example.com", "anna@mail.example.com", False),
        ("*", ANNA, False),
        ("anna@*", ANNA, True),
        ("https://h.example/acme/*/w.yml@refs/tags/v*",) * 2 + (True,),
        (
            "https://h.example/acme/*/w.yml@refs/tags/v*",
            "https://h.example/acme/models/w.yml@refs/tags/v1.2",
            True,
        ),
        (
            "https://h.example/acme/*/w.yml@refs/tags/v*",
            "https://h.example/acme/models/w.yml@refs/tags/v",
            False,
        ),
        (
            "https://h.example/acme/*/w.yml@refs/tags/v*",
            "https://h.example/acme/a/b/w.yml@refs/tags/v1",
            False,
        ),
        (
            "https://h.example/acme/*/w.yml@refs/tags/v*",
            "https://h.example/acme/models/w.yml@refs/heads/v1",
            False,
        ),
        (
            "https://h.example/acme/*/w.yml@refs/tags/v*",
            "https://h.example/acme/models/w.yml@refs/tags/v1/x",
            False,
        ),
    ],
)
def test_a_star_stands_for_part_of_one_part(
    wanted: str, got: str, matches: bool
) -> None:
    assert _anna(subject=wanted).matches(ISSUER, got) is matches
    assert not _anna(subject=wanted).matches(f"{ISSUER}/", got)


def test_a_workflow_is_trusted_by_pattern_and_told_in_full() -> None:
    workflow = "https://h.example/acme/models/release.yml@refs/tags/v7"
    trust = Trust.of([ROOT, _anna(subject=workflow[:-1] + "*")])
    found = _verify(_by(subject=workflow), trust)
    assert (found.reason, found.signer) == ("Valid", "anna")
    assert workflow in found.identity


def test_the_name_of_a_user_is_an_identity_and_another_such_name_is_not() -> None:
    trust = Trust.of([ROOT, _anna(subject="anna")])
    for number, reason in ((7, "Valid"), (6, "Unsupported")):
        kind = x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{number}")
        data = _by(names=(x509.OtherName(kind, DER_USER),))
        assert _verify(data, trust).reason == reason


@pytest.mark.parametrize(
    ("trust", "told"),
    [
        (Trust.of([]), "no identity is trusted"),
        (Trust.of([ROOT]), "no identity is trusted"),
        (
            Trust.of([ROOT, _anna(subject="otto@example.com")]),
            "by 'anna@example.com' of 'https://accounts.example.com' under the root "
            "'house', whom nobody trusts",
        ),
        (Trust.of([ROOT, _anna(issuer="https://example.net")]), "whom nobody trusts"),
        (Trust.of([OTHER_ROOT, _anna()]), "leads to no trusted Sigstore instance"),
        (Trust.of([OTHER_ROOT, ROOT, _anna(root="other")]), "under the root 'house'"),
    ],
)
def test_who_is_not_trusted_is_told_and_nothing_of_what_they_signed(
    trust: Trust, told: str
) -> None:
    found = _verify(_by(), trust)
    assert found.reason is SignatureReason.UNTRUSTED
    assert told in found.message
    assert (found.signer, found.key_id, found.covered, found.subject) == (
        "",
        "",
        (),
        None,
    )


def test_each_identity_is_believed_from_its_own_instance_only() -> None:
    anna, same = _anna("a", root="house"), _anna("b", root="other")
    trust = Trust.of([ROOT, OTHER_ROOT, anna, same])
    assert _verify(_by(), trust).signer == "a"
    assert _verify(_by(OTHER), trust).signer == "b"


KNOWN = {**attacks(MADE, at=NOW), **blind_spots(MADE, at=NOW), **escapes()}
HARMLESS = {
    "no old issuer",
    "no new issuer",
    "a log that nobody has",
    "the log was told of another envelope",
    "a time of another authority beside a promise",
}
"""The issuer may stand in either extension, and the name of a log is a hint: its
signatures are verified.  The digest of an envelope cannot be: JSON has many spellings;
the digest of its payload and the signature are compared instead.  One time that can be
verified is enough."""


@pytest.mark.parametrize("name", sorted(set(KNOWN) - HARMLESS))
def test_whatever_is_wrong_in_a_bundle_makes_it_worthless(name: str) -> None:
    found = _verify(_by(**KNOWN[name]))
    assert not found.valid
    assert (found.signer, found.covered, found.subject) == ("", (), None)
    assert found.message


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_what_says_nothing_of_the_signer_does_no_harm(name: str) -> None:
    found = _verify(_by(**KNOWN[name]))
    assert (found.reason, found.signer) == ("Valid", "anna")
    assert found.identity == f"{ANNA!r} of {ISSUER!r}"


def test_nobody_gets_past_by_adding_a_name_that_is_trusted() -> None:
    how = KNOWN["a second name"]
    assert {name.value for name in how["names"]} == {MALLORY, ANNA}
    assert _verify(_by(**how)).reason is SignatureReason.UNSUPPORTED


def test_the_reasons_tell_what_is_wrong() -> None:
    told = {
        "an authority of another name": "Untrusted",
        "logged after the certificate": "Untrusted",
        "signed by another key": "BadSignature",
        "no timestamp": "BadSignature",
        "a promise by another key": "BadSignature",
        "the log was told of another payload": "BadSignature",
        "the name as a host": "Unsupported",
        "another issuer": "Untrusted",
        "an older bundle": "Untrusted",
        "an RSA key": "Unsupported",
        "no entry": "Malformed",
        "two signatures": "Malformed",
    }
    found = {name: str(_verify(_by(**KNOWN[name])).reason) for name in told}
    assert found == told


def test_without_the_library_the_signature_is_not_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("sigstore", *sys.modules):
        if name.partition(".")[0] == "sigstore":
            monkeypatch.setitem(sys.modules, name, None)
    other = SigstoreRoot.read("house", b" " + MADE.trusted_root())  # not loaded before
    found = _verify(_by(), Trust.of([other, _anna()]))
    assert found.reason is SignatureReason.KEYLESS_NOT_SUPPORTED
    assert "extra 'keyless'" in found.message
    assert "pip install 'pedigree-gate[keyless]'" in found.message
    with pytest.raises(ConfigError, match="extra 'keyless'") as caught:
        keyless.check_roots((other,))
    assert caught.value.hint == 'pip install "pedigree-gate[keyless]"'
    keyless.check_roots(())


def test_a_library_that_is_there_in_part_is_no_way_in_and_no_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sigstore.models", None)
    other = SigstoreRoot.read("house", MADE.trusted_root() + b" ")  # not loaded before
    found = _verify(_by(), Trust.of([other, _anna()]))
    assert found.reason is SignatureReason.KEYLESS_NOT_SUPPORTED
    assert "cannot be loaded" in found.message


def test_a_root_that_the_library_cannot_use_is_said_at_the_start() -> None:
    keyless.check_roots((ROOT, OTHER_ROOT))
    keyless.check_roots(
        (SigstoreRoot.read("public", (DATA / "public.root.json").read_bytes()),)
    )
    broken = MADE.trust()
    broken["certificateAuthorities"][0]["certChain"]["certificates"][0] = {
        "rawBytes": "AAAA"
    }
    with pytest.raises(ConfigError, match="no root of Sigstore that") as caught:
        keyless.check_roots((SigstoreRoot.read("x", json.dumps(broken).encode()),))
    assert caught.value.reason == "TrustInvalid"


THEN = NOW - timedelta(days=900)
"""Libraries ask their own clock whether a root is in use already."""


@pytest.mark.parametrize("part", ["certificateAuthorities", "ctlogs", "tlogs"])
@pytest.mark.parametrize(
    ("period", "told"),
    [
        ({"start": "2021-01-12T00:00:00Z"}, "Valid"),
        (
            {
                "start": "2021-01-12T00:00:00Z",
                "end": (THEN + timedelta(minutes=5)).isoformat(),
            },
            "Untrusted",
        ),
        (
            {
                "start": "2021-01-12T00:00:00Z",
                "end": (THEN + timedelta(minutes=10)).isoformat(),
            },
            "Valid",
        ),
        ({"start": (THEN + timedelta(seconds=1)).isoformat()}, "Untrusted"),
    ],
)
def test_what_an_instance_no_longer_uses_vouches_for_nothing_of_later(
    part: str, period: dict[str, str], told: str
) -> None:
    trust = MADE.trust()
    for each in trust[part]:
        each.get("publicKey", each)["validFor"] = period
    root = SigstoreRoot.read("house", json.dumps(trust).encode())
    found = _verify(_by(at=THEN), Trust.of([root, _anna()]))
    assert found.reason == told, found.message
    if told != "Valid":
        assert f"none of the {part}" in found.message


def test_a_retired_part_beside_one_in_use_does_no_harm() -> None:
    trust = MADE.trust()
    for part in ("certificateAuthorities", "ctlogs", "tlogs"):
        old = json.loads(json.dumps(OTHER.trust()[part]))
        for each in old:
            each.get("publicKey", each)["validFor"]["end"] = NOW.isoformat()
        trust[part] = old + trust[part]
    root = SigstoreRoot.read("house", json.dumps(trust).encode())
    both = Trust.of([root, _anna()])
    assert _verify(_by(), both).signer == "anna"
    assert not _verify(_by(OTHER), both).valid
    assert _verify(_by(OTHER, at=NOW - timedelta(days=1)), both).signer == "anna"


def test_a_signature_of_the_future_is_not_believed_yet() -> None:
    found = verify(_by(), manifest_of(FILES), TRUST, at=NOW - timedelta(seconds=1))
    assert found.reason is SignatureReason.CERTIFICATE_EXPIRED
    assert "yet to come" in found.message


@pytest.mark.parametrize("name", sorted(attacks2(MADE, at=NOW)))
def test_newer_logs_and_time_stamps_are_no_way_in(name: str) -> None:
    assert not _verify(_by(**attacks2(MADE, at=NOW)[name])).valid


def test_newer_logs_and_time_stamps_are_understood() -> None:
    assert _verify(_by(rekor=2)).signer == "anna"


def _leaf_of(bundle: Bundle) -> x509.Certificate:
    return read_certificate(bundle.chain[0])


def test_what_one_reader_takes_for_another_thing_than_the_other_is_worthless() -> None:
    data, other = _by(), MADE.sign(PAYLOAD + b" ", **USES)
    mine, theirs = read_bundle(data, "model.sig"), read_bundle(other, "model.sig")
    assert keyless.identity_of(data, mine, _leaf_of(mine), ROOT).subject == ANNA
    for bundle, leaf in ((theirs, mine), (mine, theirs)):
        with pytest.raises(Worthless, match="read in two ways") as caught:
            keyless.identity_of(data, bundle, _leaf_of(leaf), ROOT)
        assert caught.value.reason is SignatureReason.MALFORMED


def test_keys_and_identities_are_verified_beside_each_other() -> None:
    key = MADE.root.key
    trusted = TrustedKey("acme", key.public_key())
    trust = Trust.of([ROOT, _anna(), trusted])
    assert _verify(_by(), trust).signer == "anna"
    assert _verify(signed(FILES, key), trust).signer == "acme"


def test_a_key_that_is_trusted_gives_no_weight_to_an_identity() -> None:
    data = _by()
    bundle = json.loads(data)
    key = replace(MADE.way(**USES)).key
    trust = Trust.of([TrustedKey("acme", key.public_key())])
    assert _verify(_by(key=key), trust).reason is SignatureReason.UNTRUSTED
    bundle["verificationMaterial"]["publicKey"] = {"hint": ""}
    assert _verify(json.dumps(bundle).encode()).reason is SignatureReason.MALFORMED


_GOOD = _by()


@given(st.data())
@settings(max_examples=300)
def test_no_byte_can_be_changed_without_loss(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(_GOOD) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != _GOOD[place]))
    found = _verify(_GOOD[:place] + bytes([byte]) + _GOOD[place + 1 :])
    # Base64 says the last bits of some texts in several ways, and JSON some letters;
    # what it means is the same then, and so is who signed which files.
    if found.valid:
        assert (found.signer, found.covered) == ("anna", _verify(_GOOD).covered)
        assert found.subject == manifest_of(FILES).root_digest
