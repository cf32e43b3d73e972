# SPDX-License-Identifier: Apache-2.0
"""Signatures found in the folder of a model, in an examination and on the terminal."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from artifact_world.weights import lay_out, matrix, weights
from made_signatures import NOW, new_key, public_pem, signed, statement_of
from made_sigstore import MadeSigstore
from pedigree import refs
from pedigree.cli import main
from pedigree.cli.signers import with_signatures
from pedigree.evidence import Signature, Signatures, from_object, to_object
from pedigree.evidence.controls import guidance
from pedigree.examine import Examination, ExamineSettings, examine
from pedigree.examine.signed import LOOKED_AT_MAX
from pedigree.signatures.trust import Trust
from pedigree.signatures.trusted import TrustedKey
from pedigree.signatures.verdict import SignatureVerdict
from pedigree.signatures.verification import verify
from pedigree.sources import SourceSettings
from worlds.policies import evidence

KEY = new_key()
TRUST = Trust.of([TrustedKey.read("acme", public_pem(KEY))])
FILES = {"model.safetensors": weights({"a": matrix()}), "notes.txt": b"n"}


def _examine(
    folder: Path, files: dict[str, bytes], trust: Trust = TRUST
) -> Examination:
    lay_out(folder, files)
    return examine(
        refs.parse(f"file://{folder}"),
        settings=ExamineSettings(sources=SourceSettings(), trust=trust),
        now=NOW,
    )


def _found(examination: Examination) -> tuple[Signature, ...]:
    signatures = examination.evidence.signatures
    assert signatures is not None
    return signatures.found


def test_the_signature_of_a_model_is_in_its_evidence(tmp_path: Path) -> None:
    found = _examine(tmp_path, {**FILES, "model.sig": signed(FILES, KEY)})
    (one,) = _found(found)
    assert (one.path, one.reason, one.signer) == ("model.sig", "Valid", "acme")
    assert (one.unsigned_files, one.ignored_files) == (0, 0)
    assert found.evidence.signatures is not None
    assert found.evidence.signatures.trust == TRUST.digest
    assert from_object(to_object(found.evidence)) == found.evidence
    plain = _examine(tmp_path / "other", FILES)
    assert plain.evidence.digest == found.evidence.digest
    assert _found(plain) == ()


def test_a_model_stays_sound_whatever_its_signature_is_worth(tmp_path: Path) -> None:
    found = _examine(tmp_path, {**FILES, "model.sig": b"no signature"})
    assert [item.reason for item in _found(found)] == ["Malformed"]
    plain = _examine(tmp_path / "other", FILES)
    assert found.evidence.findings == plain.evidence.findings


def test_nobody_is_trusted_by_default(tmp_path: Path) -> None:
    lay_out(tmp_path, {**FILES, "model.sig": signed(FILES, KEY)})
    settings = ExamineSettings(sources=SourceSettings())
    found = examine(refs.parse(f"file://{tmp_path}"), settings=settings, now=NOW)
    assert [item.reason for item in _found(found)] == ["Untrusted"]


def test_other_names_are_looked_at_where_they_hold_a_bundle(tmp_path: Path) -> None:
    bundle = signed(FILES, KEY)
    found = _examine(
        tmp_path,
        {
            **FILES,
            "a.sig": b"another kind of signature",
            "b.sigstore.json": bundle,
            "c/d.sig": bundle,
        },
    )
    (one,) = _found(found)
    assert (one.path, one.signer) == ("b.sigstore.json", "acme")
    assert one.unsigned == ("a.sig", "c/d.sig")


def test_valid_signatures_come_first_and_a_crowd_has_an_end(tmp_path: Path) -> None:
    stranger = signed(FILES, new_key())
    crowd = {f"a{index}.sig": stranger for index in range(9)}
    found = _examine(tmp_path, {**FILES, **crowd, "model.sig": signed(FILES, KEY)})
    reasons = [item.reason for item in _found(found)]
    assert reasons == ["Valid", "Untrusted", "Untrusted", "Untrusted"]


def test_only_so_many_signatures_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def count(*arguments: Any, path: str, **more: Any) -> SignatureVerdict:
        looked.append(path)
        return verify(*arguments, path=path, **more)

    monkeypatch.setattr("pedigree.signatures.verification.verify", count)
    crowd = {f"{n:02}.sig": signed(FILES, KEY) for n in range(2 * LOOKED_AT_MAX)}
    _examine(tmp_path, {**FILES, **crowd, "model.sig": signed(FILES, KEY)})
    assert len(looked) == LOOKED_AT_MAX
    assert looked[0] == "model.sig"


def test_ranges_of_a_local_model_are_read_again(tmp_path: Path) -> None:
    bundle = signed(FILES, KEY, shard_size=7)
    (one,) = _found(_examine(tmp_path, {**FILES, "model.sig": bundle}))
    assert one.reason == "Valid"


def test_an_oversized_signature_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pedigree.examine.signed.BUNDLE_MAX_BYTES", 10)
    (one,) = _found(_examine(tmp_path, {**FILES, "model.sig": signed(FILES, KEY)}))
    assert one.reason == "Malformed"


def _print(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["examine", *arguments]) == 0
    return capsys.readouterr().out


def test_the_command_takes_keys_by_name_and_from_a_folder(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tmp_path / "model"
    lay_out(model, {**FILES, "model.sig": signed(FILES, KEY), "x.py": b""})
    (tmp_path / "trust").mkdir()
    key = tmp_path / "trust" / "acme.pub"
    key.write_bytes(public_pem(KEY))
    text = _print([str(model), "--trusted-key", f"house={key}"], capsys)
    assert "Valid by house (key): model.sig; does not cover 'x.py'" in text
    assert "Warning  UnsignedFiles" in text
    monkeypatch.setenv("PEDIGREE_TRUST", str(key.parent))
    answer = json.loads(_print([str(model), "--json"], capsys))
    stored = answer["evidence"]["status"]["signatures"]
    assert stored["trustDigest"] == str(TRUST.digest)
    assert stored["found"][0]["signer"] == "acme"


@pytest.mark.parametrize(
    ("item", "reasons"),
    [
        (("Valid", "acme"), ["SignatureValid"]),
        (("Valid", ""), ["SignatureInvalid"]),
        (("Untrusted", ""), ["SignatureUntrusted"]),
        (("KeylessNotSupported", ""), ["SignatureUntrusted"]),
        (("CertificateExpired", ""), ["SignatureUntrusted"]),
        (("BadSignature", ""), ["SignatureInvalid"]),
        (("FilesChanged", "acme"), ["SignatureInvalid"]),
        (("Malformed", ""), ["SignatureInvalid"]),
        (
            ("Valid", "acme", "key", "", ("a",), 1, ("b",), 2),
            ["UnsignedFiles", "IgnoredPaths", "SignatureValid"],
        ),
    ],
)
def test_what_is_shown_as_a_finding_is_known_to_the_controls(
    item: tuple[Any, ...], reasons: list[str]
) -> None:
    found = Signatures(TRUST.digest, (Signature("model.sig", *item),))
    shown = with_signatures(evidence(signatures=found))
    assert [finding.reason for finding in shown] == reasons
    assert all(guidance(reason) is not None for reason in reasons)


@pytest.mark.parametrize(
    ("option", "told"),
    [("acme", "wanted NAME=FILE"), ("acme=/nowhere/x", "cannot be read")],
)
def test_a_signer_that_cannot_be_read_is_wrong_usage(
    tmp_path: Path, option: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path, FILES)
    assert main(["examine", str(tmp_path), "--trusted-key", option]) == 2
    assert told in capsys.readouterr().err


def test_who_signed_and_is_not_trusted_is_told_in_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To be copied into the identity that is trusted; what is stored has no room."""
    made, model = MadeSigstore(), tmp_path / "model"
    who, issuer = "https://h.example/acme/w.yml@refs/tags/v7", "https://i.example"
    payload = json.dumps(statement_of(FILES)).encode()
    data = made.sign(payload, issuer=issuer, subject=who, at=NOW - timedelta(days=900))
    lay_out(model, {**FILES, "model.sig": data})
    (tmp_path / "root.json").write_bytes(made.trusted_root())
    other = {"issuer": issuer, "subject": "https://h.example/acme/w.yml@refs/tags/v8"}
    (tmp_path / "identity.json").write_text(json.dumps(other))
    identity, root = (f"a={tmp_path}/{name}.json" for name in ("identity", "root"))
    options = ["--trusted-identity", identity, "--trusted-root", root]
    assert main(["examine", str(model), "--json", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    (shown,) = [f for f in document["findings"] if f["reason"] == "SignatureUntrusted"]
    assert shown["message"] == (
        f"Untrusted (sigstore): signature 'model.sig' was made by {who!r} of "
        f"{issuer!r} under the root 'a', whom nobody trusts"
    )
    assert who not in json.dumps(document["evidence"])
