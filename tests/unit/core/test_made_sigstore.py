# SPDX-License-Identifier: Apache-2.0
"""The made Sigstore against the library of Sigstore itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from made_signatures import NOW, PAYLOAD_TYPE, statement_of
from made_sigstore import MadeSigstore

SIGSTORE = MadeSigstore()
PAYLOAD = json.dumps(statement_of({"a.txt": b"A"})).encode()
ISSUER = "https://accounts.example.com"
SUBJECT = "anna@example.com"
WHO = {"issuer": ISSUER, "subject": SUBJECT, "at": NOW}


@pytest.fixture
def verifier(tmp_path: Path) -> Verifier:
    path = tmp_path / "trusted_root.json"
    path.write_bytes(SIGSTORE.trusted_root())
    return Verifier(trusted_root=TrustedRoot.from_file(str(path)))


def _verify(
    verifier: Verifier, data: bytes, subject: str = SUBJECT, issuer: str = ISSUER
) -> tuple[str, bytes]:
    who = Identity(identity=subject, issuer=issuer)
    return verifier.verify_dsse(Bundle.from_json(data), who)


@pytest.mark.parametrize(
    "subject",
    [SUBJECT, "https://ci.example.com/acme/models/release.yml@refs/heads/main"],
)
def test_a_right_bundle_passes_for_who_signed_it(
    verifier: Verifier, subject: str
) -> None:
    data = SIGSTORE.sign(PAYLOAD, issuer=ISSUER, subject=subject, at=NOW)
    assert _verify(verifier, data, subject) == (PAYLOAD_TYPE, PAYLOAD)
