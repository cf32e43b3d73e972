# SPDX-License-Identifier: Apache-2.0
"""The made Sigstore against the library of Sigstore itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sigstore.errors import Error
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from made_signatures import NOW, PAYLOAD_TYPE, statement_of
from made_sigstore import MadeSigstore
from made_sigstore_attacks import Attack, attacks, attacks2, blind_spots, escapes

SIGSTORE = MadeSigstore()
PAYLOAD = json.dumps(statement_of({"a.txt": b"A"})).encode()
ISSUER = "https://accounts.example.com"
SUBJECT = "anna@example.com"
ATTACKS = attacks(SIGSTORE, at=NOW)
ATTACKS2 = attacks2(SIGSTORE, at=NOW)
BLIND_SPOTS = blind_spots(SIGSTORE, at=NOW)
ESCAPES = escapes()
CHAIN = "failed to build timestamp certificate chain"
# By which words the library refuses: what is wrong is what is meant, and nothing else.
WHY = {
    "an authority of the same name": f"{CHAIN}.*signature does not match",
    "an authority of another name": f"{CHAIN}.*all candidates exhausted",
    "issued by a signer": f"{CHAIN}.*all candidates exhausted",
    "not for signing code": "does not contain `code signing`",
    "another name": "SANs do not match",
    "the name as a host": "SANs do not match",
    "no names": f"{CHAIN}.*missing required extension",
    "another issuer": "OIDCIssuer does not match",
    "the old issuer is another": "OIDCIssuer does not match",
    "no old issuer": "does not contain OIDCIssuer",
    "no issuer": "does not contain OIDCIssuer",
    "signed by another key": "DSSE: invalid signature",
    "another payload": "DSSE: invalid signature",
    "two signatures": "exactly one signature",
    "no timestamp": "does not contain a signed certificate timestamp",
    "a timestamp of another log": "SCT verify failed: keyring: invalid signature",
    "a timestamp by another key": "SCT verify failed: keyring: invalid signature",
    "a timestamp of another certificate": "SCT verify failed: keyring: invalid sig",
    "two timestamps": "Expected one certificate timestamp, found 2",
    "the log was told of another payload": "payload hash does not match",
    "the log was told of another signature": "entry signatures do not match",
    "the log was told of another certificate": "entry signatures do not match",
    "an entry for a file": "Unsupported DSSE log entry type: hashedrekord/0.0.1",
    "an entry for a file that says to be for an envelope": "invalid DSSE log entry",
    "an entry that says to be for a file": "Unsupported DSSE log entry type: hashed",
    "an entry of a version to come": "Expected log entry version",
    "no entry": "exactly one log entry",
    "two entries": "exactly one log entry",
    "another Rekor": "checkpoint: invalid signature",
    "an impostor of Rekor": "checkpoint: invalid signature",
    "a promise by another key": "SET: invalid inclusion promise",
    "the proof of another entry": "proof contains invalid root hash",
    "a proof with another place": "proof has wrong size",
    "a proof that is short": "proof has wrong size",
    "a proof with another root": "proof contains invalid root hash",
    "no proof": r"inclusionProof\s+Field required",
    "no checkpoint": "must contain inclusion proof, with checkpoint",
    "a checkpoint of another log": "checkpoint: Signature not found",
    "a checkpoint by another key": "checkpoint: invalid signature",
    "a checkpoint of another tree": "invalid root hash signature",
    "logged before the certificate": f"{CHAIN}.*cert is not valid at validation time",
    "logged after the certificate": f"{CHAIN}.*cert is not valid at validation time",
    "no promise": "must contain an inclusion promise",
    "no time": "not enough sources of verified time",
    "neither promise nor time": "must contain an inclusion promise",
    "another time than promised": "SET: invalid inclusion promise",
    "another place than promised": "SET: invalid inclusion promise",
}
WHY2 = {
    "no stamped time": "must contain an inclusion promise or signed timestamp",
    "a time of another authority": "not enough sources of verified time",
    "a time of another signature": "not enough sources of verified time",
    "a time before the certificate": f"{CHAIN}.*cert is not valid at validation time",
    "a time after the certificate": f"{CHAIN}.*cert is not valid at validation time",
    "a time that is none": "Invalid Timestamp Response",
    "one time twice": "duplicate timestamp",
    "a promised time alone": "must contain an inclusion promise or signed timestamp",
    "an impostor of Rekor v2": "checkpoint: invalid signature",
    "a checkpoint of Rekor v1": "checkpoint: Signature not found",
    "told of another payload": "log entry is inconsistent",
    "told of another signature": "log entry is inconsistent",
    "told of another certificate": "log entry is inconsistent",
    "told of a file": "log entry is inconsistent",
}


@pytest.fixture
def verifier(tmp_path: Path) -> Verifier:
    return _trusting(SIGSTORE.trusted_root(), tmp_path)


def _trusting(trusted_root: bytes, folder: Path) -> Verifier:
    path = folder / "trusted_root.json"
    path.write_bytes(trusted_root)
    return Verifier(trusted_root=TrustedRoot.from_file(str(path)))


def _sign(attack: Attack, subject: str = SUBJECT) -> bytes:
    return SIGSTORE.sign(PAYLOAD, issuer=ISSUER, subject=subject, at=NOW, **attack)


def _verify(
    verifier: Verifier, data: bytes, subject: str = SUBJECT
) -> tuple[str, bytes]:
    who = Identity(identity=subject, issuer=ISSUER)
    return verifier.verify_dsse(Bundle.from_json(data), who)


@pytest.mark.parametrize(
    "subject",
    [SUBJECT, "https://ci.example.com/acme/models/release.yml@refs/heads/main"],
)
def test_a_right_bundle_passes_for_who_signed_it(
    verifier: Verifier, subject: str
) -> None:
    assert _verify(verifier, _sign({}, subject), subject) == (PAYLOAD_TYPE, PAYLOAD)


def test_a_right_bundle_by_rekor_2_passes(verifier: Verifier) -> None:
    data = _sign({"rekor": 2})
    assert _verify(verifier, data) == (PAYLOAD_TYPE, PAYLOAD)


def test_a_right_bundle_by_rekor_1_may_have_its_time_stamped(
    verifier: Verifier,
) -> None:
    stamped = {"time_authorities": (SIGSTORE.time,), "timed": NOW}
    assert _verify(verifier, _sign(stamped)) == (PAYLOAD_TYPE, PAYLOAD)
    alone = {**stamped, "integrated": None, "promise_by": None}
    assert _verify(verifier, _sign(alone)) == (PAYLOAD_TYPE, PAYLOAD)


def test_a_right_bundle_passes_wherever_in_a_log_it_is(verifier: Verifier) -> None:
    for size in range(1, 10):
        for before in range(size):
            data = _sign({"before": before, "after": size - 1 - before})
            assert _verify(verifier, data) == (PAYLOAD_TYPE, PAYLOAD)


def test_every_attack_has_its_reason() -> None:
    assert set(ATTACKS) == set(WHY)
    assert set(ATTACKS2) == set(WHY2)


@pytest.mark.parametrize("name", WHY)
def test_an_attack_is_refused_for_its_reason(verifier: Verifier, name: str) -> None:
    data = _sign(ATTACKS[name])
    with pytest.raises(Error, match=f"(?s){WHY[name]}"):
        _verify(verifier, data)


@pytest.mark.parametrize("name", WHY2)
def test_an_attack_by_rekor_2_is_refused_for_its_reason(
    verifier: Verifier, name: str
) -> None:
    data = _sign(ATTACKS2[name])
    with pytest.raises(Error, match=f"(?s){WHY2[name]}"):
        _verify(verifier, data)


@pytest.mark.parametrize("name", BLIND_SPOTS)
def test_a_blind_spot_is_wrong_in_nothing_that_the_library_looks_at(
    verifier: Verifier, name: str
) -> None:
    assert _verify(verifier, _sign(BLIND_SPOTS[name]))[1] == PAYLOAD


@pytest.mark.parametrize("name", ESCAPES)
def test_an_escape_is_refused_by_an_error_of_no_verification(
    verifier: Verifier, name: str
) -> None:
    data = _sign(ESCAPES[name])
    with pytest.raises(Exception) as caught:  # noqa: PT011
        _verify(verifier, data)
    assert not isinstance(caught.value, Error)


@pytest.mark.parametrize("member", ["tlogs", "ctlogs", "certificateAuthorities"])
def test_the_library_lets_pass_by_what_was_out_of_use_when_it_was_signed(
    tmp_path: Path, member: str
) -> None:
    trust = SIGSTORE.trust()
    for one in trust[member]:
        one.get("publicKey", one)["validFor"]["end"] = "2022-01-01T00:00:00Z"
    verifier = _trusting(json.dumps(trust).encode(), tmp_path)
    assert _verify(verifier, _sign({})) == (PAYLOAD_TYPE, PAYLOAD)


@pytest.mark.parametrize("member", ["tlogs", "ctlogs", "certificateAuthorities"])
def test_nothing_passes_by_the_root_of_another(tmp_path: Path, member: str) -> None:
    trust = {**SIGSTORE.trust(), member: MadeSigstore().trust()[member]}
    verifier = _trusting(json.dumps(trust).encode(), tmp_path)
    with pytest.raises(Error, match=r"invalid signature|signature does not match"):
        _verify(verifier, _sign({}))


def test_a_time_does_not_pass_by_an_authority_that_was_out_of_use(
    tmp_path: Path,
) -> None:
    trust = SIGSTORE.trust()
    trust["timestampAuthorities"][0]["validFor"]["end"] = "2022-01-01T00:00:00Z"
    verifier = _trusting(json.dumps(trust).encode(), tmp_path)
    with pytest.raises(Error, match="not enough sources of verified time"):
        _verify(verifier, _sign({"rekor": 2}))
