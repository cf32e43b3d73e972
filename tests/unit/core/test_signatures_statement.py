# SPDX-License-Identifier: Apache-2.0
"""What a bundle and the statement in it must look like."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from made_signatures import (
    NOW,
    Json,
    bundle_of,
    manifest_of,
    new_key,
    public_pem,
    root_of,
    statement_of,
)
from pedigree.signatures.bundle import pre_authentication
from pedigree.signatures.trust import Trust
from pedigree.signatures.trusted import TrustedKey
from pedigree.signatures.verdict import SignatureReason, SignatureVerdict
from pedigree.signatures.verification import verify

FILES = {"a.txt": b"A", "config.json": b"{}", "model.safetensors": b"weights"}
KEY = new_key()
TRUST = Trust.of([TrustedKey.read("acme", public_pem(KEY))])
PREDICATE = "https://model_signing/signature/v1.0"


def _verify(bundle: Json | bytes) -> SignatureVerdict:
    data = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
    return verify(data, manifest_of(FILES), TRUST, at=NOW)


def _signed(change: Callable[[Json], Any]) -> SignatureVerdict:
    """A statement, changed before it is signed by somebody trusted."""
    statement = statement_of(FILES)
    change(statement)
    return _verify(bundle_of(statement, KEY))


def _bundled(change: Callable[[Json], Any]) -> SignatureVerdict:
    """A bundle, changed after it was signed."""
    bundle = bundle_of(statement_of(FILES), KEY)
    change(bundle)
    return _verify(bundle)


def _resources(statement: Json) -> list[Json]:
    found: list[Json] = statement["predicate"]["resources"]
    return found


def _how(statement: Json) -> Json:
    found: Json = statement["predicate"]["serialization"]
    return found


def _named(name: object) -> Callable[[Json], Any]:
    return lambda s: _resources(s)[0].update(name=name)


def test_the_encoding_that_is_signed_is_that_of_the_published_example() -> None:
    kind = b"application/vnd.in-toto+json"
    assert pre_authentication(b"hello") == b"DSSEv1 28 " + kind + b" 5 hello"


def test_what_is_made_here_is_valid_as_it_is() -> None:
    assert _signed(lambda s: None).reason is SignatureReason.VALID
    assert _bundled(lambda b: None).reason is SignatureReason.VALID


WRONG_BUNDLES: dict[str, Callable[[Json], Any]] = {
    "no media type": lambda b: b.pop("mediaType"),
    "another media type": lambda b: b.update(mediaType="application/json"),
    "an unknown version": lambda b: b.update(
        mediaType="application/vnd.dev.sigstore.bundle.v9+json"
    ),
    "an unknown member": lambda b: b.update(extra=1),
    "no material": lambda b: b.pop("verificationMaterial"),
    "empty material": lambda b: b.update(verificationMaterial={}),
    "two signers": lambda b: b["verificationMaterial"].update(
        x509CertificateChain={"certificates": [{"rawBytes": "AA=="}]}
    ),
    "a hint of 5,000 characters": lambda b: b["verificationMaterial"].update(
        publicKey={"hint": "h" * 5000}
    ),
    "a hint that is no text": lambda b: b["verificationMaterial"].update(
        publicKey={"hint": 5}
    ),
    "no envelope": lambda b: b.pop("dsseEnvelope"),
    "an unknown member of the envelope": lambda b: b["dsseEnvelope"].update(x=1),
    "another payload type": lambda b: b["dsseEnvelope"].update(payloadType="text"),
    "no payload": lambda b: b["dsseEnvelope"].update(payload=""),
    "a payload with a line break": lambda b: b["dsseEnvelope"].update(
        payload=b["dsseEnvelope"]["payload"] + "\n"
    ),
    "no signature": lambda b: b["dsseEnvelope"].update(signatures=[]),
    "two signatures": lambda b: b["dsseEnvelope"].update(
        signatures=2 * b["dsseEnvelope"]["signatures"]
    ),
    "a signature that is no object": lambda b: b["dsseEnvelope"].update(
        signatures=["AA=="]
    ),
    "an unknown member of the signature": lambda b: b["dsseEnvelope"]["signatures"][
        0
    ].update(x=1),
    "a keyid that is no text": lambda b: b["dsseEnvelope"]["signatures"][0].update(
        keyid=5
    ),
    "a signature of 2,000 bytes": lambda b: b["dsseEnvelope"]["signatures"][0].update(
        sig=base64.b64encode(bytes(2000)).decode()
    ),
    "an empty chain": lambda b: b.update(
        verificationMaterial={"x509CertificateChain": {"certificates": []}}
    ),
    "a chain of eleven": lambda b: b.update(
        verificationMaterial={
            "x509CertificateChain": {"certificates": 11 * [{"rawBytes": "AA=="}]}
        }
    ),
}


@pytest.mark.parametrize("what", WRONG_BUNDLES)
def test_a_bundle_that_the_schema_does_not_allow_is_malformed(what: str) -> None:
    found = _bundled(WRONG_BUNDLES[what])
    assert (found.reason, found.signer) == (SignatureReason.MALFORMED, "")


@pytest.mark.parametrize("keyid", [None, "", "something"])
def test_the_key_id_of_the_envelope_decides_nothing(keyid: str | None) -> None:
    found = _bundled(lambda b: b["dsseEnvelope"]["signatures"][0].update(keyid=keyid))
    assert found.reason is SignatureReason.VALID


@pytest.mark.parametrize("text", [b"", b"null", b"[]", b"{", b'{"a":1,"a":2}', b"\xff"])
def test_what_is_no_json_object_with_one_meaning_is_malformed(text: bytes) -> None:
    assert _verify(text).reason is SignatureReason.MALFORMED
    assert _verify(bundle_of(text, KEY)).reason is SignatureReason.MALFORMED


WRONG_STATEMENTS: dict[str, Callable[[Json], Any]] = {
    "another type": lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
    "an unknown member": lambda s: s.update(extra=1),
    "another predicate": lambda s: s.update(predicateType=PREDICATE + "1"),
    "no predicate": lambda s: s.pop("predicate"),
    "no subject": lambda s: s.update(subject=[]),
    "two subjects": lambda s: s.update(subject=2 * s["subject"]),
    "a subject without name": lambda s: s["subject"][0].pop("name"),
    "a subject without digest": lambda s: s["subject"][0].update(digest={}),
    "a subject with capitals": lambda s: s["subject"][0].update(
        digest={"sha256": "A" * 64}
    ),
    "an unknown member of the predicate": lambda s: s["predicate"].update(x=1),
    "an unknown member of the serialization": lambda s: _how(s).update(x=1),
    "no serialization": lambda s: s["predicate"].pop("serialization"),
    "no resources": lambda s: s["predicate"].update(resources=[]),
    "a resource that is no object": lambda s: s["predicate"].update(resources=["x"]),
    "a resource without algorithm": lambda s: _resources(s)[0].pop("algorithm"),
    "a resource with another algorithm": lambda s: _resources(s)[0].update(
        algorithm="blake2b"
    ),
    "a short digest": lambda s: _resources(s)[0].update(digest="ab"),
    "a digest with capitals": lambda s: _resources(s)[0].update(digest="A" * 64),
    "a name twice": lambda s: _resources(s).insert(0, dict(_resources(s)[0])),
    "no order": lambda s: _resources(s).reverse(),
    "an absolute path": _named("/a.txt"),
    "a path out of the tree": _named("../a.txt"),
    "a path through a parent": _named("a/../../b"),
    "the folder itself": _named("."),
    "a second spelling": _named("./a.txt"),
    "two separators": _named("a//b"),
    "a separator at the end": _named("a/"),
    "no name": _named(""),
    "a name that is no text": _named(5),
    "a name with a zero": _named("a\0b"),
    "a name of 2,000 characters": _named("a" * 2000),
    "another method": lambda s: _how(s).update(method="tar"),
    "another hash": lambda s: _how(s).update(hash_type="md5"),
    "a shard size for files": lambda s: _how(s).update(shard_size=5),
    "no word on links": lambda s: _how(s).pop("allow_symlinks"),
    "a number for links": lambda s: _how(s).update(allow_symlinks=0),
    "ignored paths that are no list": lambda s: _how(s).update(ignore_paths="x"),
    "an ignored path that is no text": lambda s: _how(s).update(ignore_paths=[1]),
    "an empty ignored path": lambda s: _how(s).update(ignore_paths=[""]),
}


@pytest.mark.parametrize("what", WRONG_STATEMENTS)
def test_a_statement_that_the_schema_does_not_allow_is_malformed(what: str) -> None:
    """Whoever signed it: there must be one reading of what was signed."""

    def change(statement: Json) -> None:
        WRONG_STATEMENTS[what](statement)
        # So that it is the change that is found, not what follows from it.
        resources = statement.get("predicate", {}).get("resources", [])
        digests = [r for r in resources if isinstance(r, dict)]
        whole = all(len(str(r.get("digest", ""))) % 2 == 0 for r in digests)
        if "subject" not in what and whole:
            statement["subject"][0]["digest"]["sha256"] = root_of(digests)

    found = _signed(change)
    assert found.reason is SignatureReason.MALFORMED
    assert (found.signer, found.covered) == ("", ())


WRONG_RANGES: dict[str, Callable[[Json], Any]] = {
    "another method": lambda s: _how(s).update(method="tar"),
    "no size": lambda s: _how(s).pop("shard_size"),
    "a size of nothing": lambda s: _how(s).update(shard_size=0),
    "a size below nothing": lambda s: _how(s).update(shard_size=-3),
    "a size in parts": lambda s: _how(s).update(shard_size=2.5),
    "an endless size": lambda s: _how(s).update(shard_size=1e300),
    "a size that is a word": lambda s: _how(s).update(shard_size=True),
    "no range": _named("a.txt"),
    "half a range": _named("a.txt:0"),
    "an empty range": _named("a.txt:1:1"),
    "a range backwards": _named("a.txt:2:1"),
    "a range before the file": _named("a.txt:-1:1"),
    "a range with a second spelling": _named("a.txt:0:01"),
    "a range in other digits": _named("a.txt:0:\u0661"),
    "a range of no file": _named(":0:1"),
    "the hash of another size": lambda s: _resources(s)[0].update(
        algorithm="sha256-sharded-4"
    ),
}


@pytest.mark.parametrize("what", WRONG_RANGES)
def test_a_statement_over_wrong_ranges_is_malformed(what: str) -> None:
    statement = statement_of(FILES, shard_size=3)
    WRONG_RANGES[what](statement)
    found = _verify(bundle_of(statement, KEY))
    assert found.reason is SignatureReason.MALFORMED


def test_a_path_may_hold_colons_itself() -> None:
    statement = statement_of({"a:1:2": b"A"}, shard_size=3)
    data = json.dumps(bundle_of(statement, KEY)).encode()
    found = verify(data, manifest_of({"a:1:2": b"A"}), TRUST, at=NOW)
    assert found.reason is SignatureReason.NOT_COMPARED


def test_a_bundle_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    data = json.dumps(bundle_of(statement_of(FILES), KEY)).encode()
    monkeypatch.setattr("pedigree.signatures.bundle.BUNDLE_MAX_BYTES", len(data))
    assert _verify(data).reason is SignatureReason.VALID
    found = _verify(data + b" ")
    assert found.reason is SignatureReason.MALFORMED
    assert "wanted at most" in found.message


def test_a_statement_may_hold_what_resource_descriptors_allow() -> None:
    found = _signed(lambda s: _resources(s)[0].update(annotations={"x": 1}))
    assert found.reason is SignatureReason.VALID


def test_a_subject_that_does_not_follow_from_the_files_is_told() -> None:
    found = _signed(lambda s: s["subject"][0].update(digest={"sha256": "0" * 64}))
    assert found.reason is SignatureReason.SUBJECT_MISMATCH
    assert found.signer == ""


def test_both_orders_that_are_about_are_read_and_no_other() -> None:
    names = {"a/b": b"1", "a.txt": b"2", "c": b"3"}
    by_name = statement_of(names)
    assert [r["name"] for r in _resources(by_name)] == ["a.txt", "a/b", "c"]

    def arranged(order: list[int]) -> SignatureReason:
        statement = copy.deepcopy(by_name)
        chosen = [_resources(by_name)[index] for index in order]
        statement["predicate"]["resources"] = chosen
        statement["subject"][0]["digest"]["sha256"] = root_of(chosen)
        data = json.dumps(bundle_of(statement, KEY)).encode()
        return verify(data, manifest_of(names), TRUST, at=NOW).reason

    assert arranged([0, 1, 2]) is SignatureReason.VALID
    assert arranged([1, 0, 2]) is SignatureReason.VALID  # by parts of the path
    assert arranged([2, 0, 1]) is SignatureReason.MALFORMED
