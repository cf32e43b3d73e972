# SPDX-License-Identifier: Apache-2.0
"""What a signature is worth: by whom, over which files."""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from made_signatures import (
    NOW,
    Issued,
    bundle_of,
    issue,
    manifest_of,
    new_key,
    public_pem,
    root_of,
    signed,
    statement_of,
)
from pedigree import refs
from pedigree.digests import Digest
from pedigree.errors import SourceUnavailable
from pedigree.ranges import FileEntry, ModelSource
from pedigree.signatures.trust import NOBODY, Trust
from pedigree.signatures.trusted import (
    SigstoreRoot,
    TrustedCertificates,
    TrustedIdentity,
    TrustedKey,
)
from pedigree.signatures.verdict import (
    SignatureReason,
    SignatureVerdict,
    SigningMethod,
)
from pedigree.signatures.verification import verify
from pedigree.sources import SourceSettings, open_source

DATA = Path(__file__).parents[2] / "data" / "oms"
FILES = {"a.txt": b"A", "config.json": b"{}", "model.safetensors": b"weights"}
KEY = new_key()
TRUST = Trust.of([TrustedKey.read("acme", public_pem(KEY))])
ROOT = issue("root", authority=True)
MIDDLE = issue("middle", ROOT, authority=True)
LEAF = issue("signer", MIDDLE)
AUTHORITY = Trust.of([TrustedCertificates.read("house", ROOT.pem)])
OTHERS = Trust.of(
    [
        TrustedKey.read("reference", (DATA / "signer.pub").read_bytes()),
        TrustedKey.read("made", (DATA / "made.pub").read_bytes()),
        TrustedCertificates.read("authority", (DATA / "authority.pem").read_bytes()),
        SigstoreRoot.read("public", (DATA / "public.root.json").read_bytes()),
        TrustedIdentity.read(
            "somebody", (DATA / "somebody.identity.json").read_bytes()
        ),
    ]
)


def _verify(
    data: bytes, files: dict[str, bytes] | None = None, trust: Trust = TRUST
) -> SignatureVerdict:
    return verify(data, manifest_of(files or FILES), trust, at=NOW)


def _by(signer: Issued, *above: Issued) -> bytes:
    chain = [signer.certificate, *(one.certificate for one in above)]
    return json.dumps(bundle_of(statement_of(FILES), signer.key, chain)).encode()


def _folder(files: dict[str, bytes], folder: Path) -> ModelSource:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return open_source(refs.parse(f"file://{folder}"), SourceSettings())


def _vector(name: str) -> SignatureVerdict:
    folder = DATA / name
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return _verify(files["model.sig"], files, OTHERS)


def test_a_trusted_key_is_named_and_every_file_is_covered() -> None:
    found = _verify(signed(FILES, KEY))
    assert found.reason is SignatureReason.VALID
    assert found.valid
    assert (found.signer, found.method) == ("acme", SigningMethod.KEY)
    assert found.covered == ("a.txt", "config.json", "model.safetensors")
    assert found.subject == manifest_of(FILES).root_digest
    assert (found.unsigned, found.ignored, found.allow_symlinks) == ((), (), False)
    bundle = json.loads(signed(FILES, KEY))
    assert found.key_id == bundle["verificationMaterial"]["publicKey"]["hint"]


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_each_curve_of_the_registry_is_verified(curve: ec.EllipticCurve) -> None:
    key = new_key(curve)
    trust = Trust.of([TrustedKey.read("acme", public_pem(key))])
    assert _verify(signed(FILES, key), trust=trust).valid
    assert not _verify(signed(FILES, new_key(curve)), trust=trust).valid


@pytest.mark.parametrize(
    ("name", "method", "signer", "unsigned", "ignored"),
    [
        ("v0.2.0-certificate", "certificate", "authority", (), ()),
        ("v1.0.0-certificate", "certificate", "authority", (), ()),
        ("v1.1.0-certificate", "certificate", "authority", (), ("ignore-me",)),
        ("v1.1.0-elliptic-key", "key", "reference", (), ("ignore-me",)),
        ("v1.1.0-sigstore", "sigstore", "somebody", (), ("ignore-me",)),
    ],
)
def test_what_the_reference_tool_signed_is_valid(
    name: str,
    method: str,
    signer: str,
    unsigned: tuple[str, ...],
    ignored: tuple[str, ...],
) -> None:
    found = _vector(name)
    assert found.reason is SignatureReason.VALID, found.message
    assert (found.method, found.signer) == (method, signer)
    assert found.covered == ("signme-1", "signme-2")
    assert (found.unsigned, found.ignored) == (unsigned, ignored)


def test_the_mistaken_encoding_of_release_0_2_signs_nothing_else() -> None:
    payload = json.dumps(statement_of(FILES)).encode()
    encoded = f"DSSEV1 28 application/vnd.in-toto+json {len(payload)} {payload!r}"
    bundle = bundle_of(payload, KEY)
    made = KEY.sign(encoded.encode(), ec.ECDSA(hashes.SHA256()))
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(made).decode()
    found = _verify(json.dumps(bundle).encode())
    assert found.reason is SignatureReason.MALFORMED
    assert "release 0.2" in found.message


@pytest.mark.parametrize("kind", ["folders", "shards", "blake2b", "blake2b-shards"])
def test_folders_ranges_and_hashes_are_read_as_the_reference_tool_writes_them(
    kind: str, tmp_path: Path
) -> None:
    folder = DATA / f"v1.1.1-{kind}"
    files = {p: (folder / p).read_bytes() for p in ("sub.txt", "sub/b")}
    data = (folder / "model.sig").read_bytes()

    def found(files: dict[str, bytes]) -> SignatureVerdict:
        source = _folder(files, tmp_path)
        return verify(data, manifest_of(files), OTHERS, at=NOW, source=source)

    assert found(files).reason is SignatureReason.VALID
    assert found(files).covered == ("sub/b", "sub.txt")
    changed = found({**files, "sub/b": files["sub.txt"]})
    assert (changed.reason, changed.changed) == ("FilesChanged", ("sub/b",))


def test_the_folder_itself_as_a_name_of_old_releases_is_refused() -> None:
    assert _vector("v1.0.0-elliptic-key").reason is SignatureReason.MALFORMED


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("key.bundle.json", SignatureReason.VALID),
        ("certificate.bundle.json", SignatureReason.VALID),
        ("empty.bundle.json", SignatureReason.MALFORMED),
        ("missing-envelope.bundle.json", SignatureReason.MALFORMED),
        ("missing-verification-material.bundle.json", SignatureReason.MALFORMED),
        ("missing-tlog-entries.bundle.json", SignatureReason.MALFORMED),
        ("wrong-predicate.bundle.json", SignatureReason.BAD_SIGNATURE),
    ],
)
def test_the_vectors_of_the_specification_are_told_apart(
    name: str, reason: SignatureReason
) -> None:
    folder = DATA / "v1.1.0-elliptic-key"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert _verify((DATA / "spec" / name).read_bytes(), files, OTHERS).reason is reason


def test_a_key_that_nobody_trusts_is_told_with_its_name_and_nothing_else() -> None:
    stranger = new_key()
    found = _verify(signed(FILES, stranger))
    assert found.reason is SignatureReason.UNTRUSTED
    assert (found.signer, found.key_id, found.covered) == ("", "", ())
    assert found.subject is None
    assert _verify(signed(FILES, KEY), trust=NOBODY).reason is SignatureReason.UNTRUSTED


def test_what_a_stranger_signs_is_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("pedigree.signatures.verification.read_statement", never)
    assert _verify(signed(FILES, new_key())).reason is SignatureReason.UNTRUSTED


def test_a_wrong_hint_does_not_hide_who_signed() -> None:
    bundle = json.loads(signed(FILES, KEY))
    bundle["verificationMaterial"]["publicKey"] = {"rawBytes": "AA=="}
    assert _verify(json.dumps(bundle).encode()).signer == "acme"


def test_who_borrows_the_hint_of_a_trusted_key_is_found_out() -> None:
    bundle = json.loads(signed(FILES, new_key()))
    hint = json.loads(signed(FILES, KEY))["verificationMaterial"]
    bundle["verificationMaterial"] = hint
    found = _verify(json.dumps(bundle).encode())
    assert found.reason is SignatureReason.BAD_SIGNATURE
    assert found.signer == ""


@pytest.mark.parametrize("part", ["payload", "sig"])
@pytest.mark.parametrize("place", [0, 7, -1])
def test_no_byte_of_what_was_signed_may_differ(part: str, place: int) -> None:
    bundle = json.loads(signed(FILES, KEY))
    holder = bundle["dsseEnvelope"]
    holder = holder if part == "payload" else holder["signatures"][0]
    raw = bytearray(base64.b64decode(holder[part]))
    raw[place] ^= 1
    holder[part] = base64.b64encode(bytes(raw)).decode()
    found = _verify(json.dumps(bundle).encode())
    assert found.reason is SignatureReason.BAD_SIGNATURE


def test_a_file_that_changed_is_named() -> None:
    found = _verify(signed(FILES, KEY), {**FILES, "config.json": b"[]"})
    assert found.reason is SignatureReason.FILES_CHANGED
    assert found.changed == ("config.json",)
    assert found.covered == ("a.txt", "model.safetensors")
    assert "'config.json'" in found.message


def test_a_file_that_is_gone_or_renamed_is_named() -> None:
    renamed = {"b.txt": b"A", "config.json": b"{}", "model.safetensors": b"weights"}
    found = _verify(signed(FILES, KEY), renamed)
    assert found.reason is SignatureReason.FILES_MISSING
    assert (found.missing, found.unsigned) == (("a.txt",), ("b.txt",))


def test_a_file_beside_the_signed_ones_is_a_fact_and_is_named() -> None:
    found = _verify(signed(FILES, KEY), {**FILES, "modeling_x.py": b"import os"})
    assert found.reason is SignatureReason.VALID
    assert (found.unsigned, found.ignored) == (("modeling_x.py",), ())
    assert "'modeling_x.py'" in found.message


def test_a_file_that_the_signer_left_out_is_listed_and_not_passed_over() -> None:
    more = {**FILES, "code/x.py": b"1", "codes.py": b"2", "a/code/x.py": b"3"}
    found = _verify(signed(FILES, KEY, ignore_paths=["code", "/a", "*"]), more)
    assert found.ignored == ("code/x.py",)
    assert found.unsigned == ("a/code/x.py", "codes.py")


def test_the_signature_need_not_sign_itself_but_other_signatures_are_files() -> None:
    more = {**FILES, "m.sig": b"s", "n.sig": b"s"}
    found = verify(signed(FILES, KEY), manifest_of(more), TRUST, at=NOW, path="m.sig")
    assert found.unsigned == ("n.sig",)


def test_signed_files_that_are_no_part_of_a_model_are_not_missed() -> None:
    found = _verify(signed({**FILES, ".gitattributes": b"x"}, KEY))
    assert found.reason is SignatureReason.VALID
    assert found.covered == ("a.txt", "config.json", "model.safetensors")


def test_a_hash_that_is_not_implemented_is_told_as_such() -> None:
    statement = statement_of(FILES)
    statement["predicate"]["serialization"]["hash_type"] = "blake3"
    for item in statement["predicate"]["resources"]:
        item["algorithm"] = "blake3"
    found = _verify(json.dumps(bundle_of(statement, KEY)).encode())
    assert found.reason is SignatureReason.UNSUPPORTED
    assert "sign with sha256" in found.message


HOWS = [
    {"hash_type": "blake2b"},
    {"shard_size": 3},
    {"shard_size": 100, "hash_type": "blake2b"},
]


@pytest.mark.parametrize("how", HOWS)
def test_ranges_and_other_hashes_are_compared_by_reading_again(
    how: dict[str, object], tmp_path: Path
) -> None:
    source = _folder(FILES, tmp_path)
    data = signed(FILES, KEY, **how)

    def found(files: dict[str, bytes]) -> SignatureVerdict:
        manifest = manifest_of(files)
        again = _folder(files, tmp_path)
        return verify(data, manifest, TRUST, at=NOW, source=again)

    assert verify(data, manifest_of(FILES), TRUST, at=NOW, source=source).valid
    assert found({**FILES, "config.json": b"[]"}).changed == ("config.json",)
    assert found({**FILES, "config.json": b"{}" * 9}).changed == ("config.json",)
    assert found({**FILES, "config.json": b"{"}).changed == ("config.json",)
    unread = _verify(data)
    assert unread.reason is SignatureReason.NOT_COMPARED
    assert (unread.signer, unread.covered) == ("acme", ())


@pytest.mark.parametrize("gap", ["0:3", "3:6", "6:7"])
def test_ranges_must_be_all_of_a_file(gap: str, tmp_path: Path) -> None:
    files = {"a.txt": b"A", "model.safetensors": b"aaaaaaa"}
    statement = statement_of(files, shard_size=3)
    resources = statement["predicate"]["resources"]
    kept = [item for item in resources if item["name"] != f"model.safetensors:{gap}"]
    assert len(kept) == len(resources) - 1
    statement["predicate"]["resources"] = kept
    statement["subject"][0]["digest"]["sha256"] = root_of(kept)
    data = json.dumps(bundle_of(statement, KEY)).encode()
    source = _folder(files, tmp_path)
    found = verify(data, manifest_of(files), TRUST, at=NOW, source=source)
    assert found.changed == ("model.safetensors",)
    assert found.covered == ("a.txt",)


class _Stating:
    """A source that states digests, and fails when it is read."""

    def files(self) -> tuple[FileEntry, ...]:
        return tuple(FileEntry(p, len(d), Digest("0" * 64)) for p, d in FILES.items())

    def open(self, path: str) -> None:
        raise SourceUnavailable(path)


def test_nothing_is_downloaded_to_compare_ranges() -> None:
    data = signed(FILES, KEY, shard_size=3)
    source: ModelSource = _Stating()  # type: ignore[assignment]
    found = verify(data, manifest_of(FILES), TRUST, at=NOW, source=source)
    assert found.reason is SignatureReason.NOT_COMPARED


def test_a_chain_of_certificates_leads_to_a_trusted_root() -> None:
    found = _verify(_by(LEAF, MIDDLE), trust=AUTHORITY)
    assert found.reason is SignatureReason.VALID, found.message
    assert (found.signer, found.method) == ("house", SigningMethod.CERTIFICATE)
    assert "CN=signer" in found.identity


def test_the_root_may_stand_in_the_chain_and_proves_nothing_there() -> None:
    assert _verify(_by(LEAF, MIDDLE, ROOT), trust=AUTHORITY).valid
    other = issue("root", authority=True)
    stranger = issue("signer", other)
    found = _verify(_by(stranger, other), trust=AUTHORITY)
    assert found.reason is SignatureReason.UNTRUSTED


def test_a_chain_with_a_gap_leads_nowhere() -> None:
    assert _verify(_by(LEAF), trust=AUTHORITY).reason is SignatureReason.UNTRUSTED


def test_who_is_no_authority_certifies_nobody() -> None:
    below = issue("below", LEAF)
    found = _verify(_by(below, LEAF, MIDDLE), trust=AUTHORITY)
    assert found.reason is SignatureReason.UNTRUSTED


def test_an_authority_keeps_to_its_path_length() -> None:
    short = issue("short", ROOT, authority=True, path_length=0)
    assert _verify(_by(issue("s", short), short), trust=AUTHORITY).valid
    deeper = issue("deeper", short, authority=True)
    found = _verify(_by(issue("s", deeper), deeper, short), trust=AUTHORITY)
    assert found.reason is SignatureReason.UNTRUSTED


def test_a_certificate_is_no_key_and_a_key_no_certificate() -> None:
    trust = Trust.of([TrustedKey.read("acme", public_pem(LEAF.key))])
    found = _verify(_by(LEAF, MIDDLE), trust=trust)
    assert found.reason is SignatureReason.UNTRUSTED


def test_the_certificate_of_somebody_else_does_not_help() -> None:
    chain = [LEAF.certificate, MIDDLE.certificate]
    data = json.dumps(bundle_of(statement_of(FILES), new_key(), chain)).encode()
    found = _verify(data, trust=AUTHORITY)
    assert found.reason is SignatureReason.BAD_SIGNATURE
    assert found.signer == ""


@pytest.mark.parametrize(
    ("begin", "end"), [(-9, -1), (1, 9)], ids=["run out", "not begun"]
)
def test_a_certificate_counts_within_its_time_only(begin: int, end: int) -> None:
    times = {"begin": NOW + timedelta(days=begin), "end": NOW + timedelta(days=end)}
    late = issue("late", MIDDLE, **times)  # type: ignore[arg-type]
    found = _verify(_by(late, MIDDLE), trust=AUTHORITY)
    assert found.reason is SignatureReason.CERTIFICATE_EXPIRED
    assert found.signer == ""
    above = issue("above", ROOT, authority=True, **times)  # type: ignore[arg-type]
    found = _verify(_by(issue("s", above), above), trust=AUTHORITY)
    assert not found.valid


@pytest.mark.parametrize(
    "how",
    [
        {"digital_signature": False},
        {"says_usage": False, "purpose": None},
        {"purpose": ExtendedKeyUsageOID.SERVER_AUTH},
        {"extra": x509.NameConstraints([x509.DNSName("a.b")], None)},
        {"extra": x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"")},
    ],
    ids=["no signatures", "untold", "a server", "constraints", "unknown"],
)
def test_a_certificate_for_something_else_signs_no_model(
    how: dict[str, object],
) -> None:
    other = issue("other", MIDDLE, **how)  # type: ignore[arg-type]
    found = _verify(_by(other, MIDDLE), trust=AUTHORITY)
    assert found.reason is SignatureReason.UNSUPPORTED


def test_an_authority_for_something_else_certifies_no_signer() -> None:
    for purpose, valid in (
        (ExtendedKeyUsageOID.CODE_SIGNING, True),
        (ExtendedKeyUsageOID.SERVER_AUTH, False),
    ):
        extra = x509.ExtendedKeyUsage([purpose])
        middle = issue("web", ROOT, authority=True, extra=extra)
        found = _verify(_by(issue("s", middle), middle), trust=AUTHORITY)
        assert found.valid is valid


def test_what_is_no_certificate_is_told_as_such() -> None:
    bundle = json.loads(_by(LEAF, MIDDLE))
    held = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
    held[1]["rawBytes"] = base64.b64encode(b"0\x82").decode()
    found = _verify(json.dumps(bundle).encode(), trust=AUTHORITY)
    assert found.reason is SignatureReason.UNSUPPORTED


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_verdict(data: bytes) -> None:
    assert not _verify(data).valid


@given(
    st.sampled_from([signed(FILES, KEY), _by(LEAF, MIDDLE)]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1),
)
@settings(max_examples=200, deadline=None)
def test_damaged_signatures_give_a_verdict(
    data: bytes, damage: list[tuple[int, int]]
) -> None:
    trust = Trust.of([*TRUST.keys, *AUTHORITY.authorities])
    changed = bytearray(data)
    for place, value in damage:
        changed[place % len(data)] = value
    found = _verify(bytes(changed), trust=trust)
    assert found.valid or not found.covered


@given(st.integers(0, 800), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_damaged_certificates_give_a_verdict(place: int, value: int) -> None:
    bundle = json.loads(_by(LEAF, MIDDLE))
    held = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
    der = bytearray(base64.b64decode(held[0]["rawBytes"]))
    before = der[place % len(der)]
    der[place % len(der)] = value
    held[0]["rawBytes"] = base64.b64encode(bytes(der)).decode()
    found = _verify(json.dumps(bundle).encode(), trust=AUTHORITY)
    assert found.valid is (before == value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["_type", "subject", "predicate", "resources", "name", "digest"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=200, deadline=None)
def test_whatever_somebody_trusted_signs_gives_a_verdict(value: object) -> None:
    statement = statement_of(FILES)
    for key in ("subject", "predicate"):
        changed = json.dumps({**statement, key: value}).encode()
        found = _verify(json.dumps(bundle_of(changed, KEY)).encode())
        assert re.match(r"signature|signed statement", found.message)
        assert not found.valid
