# SPDX-License-Identifier: Apache-2.0
"""Whom signatures are believed from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from made_signatures import issue, new_key, public_pem
from pedigree.errors import ConfigError
from pedigree.signatures.trust import (
    FILE_MAX_BYTES,
    MEMBERS_MAX,
    NOBODY,
    Member,
    Trust,
    read_trust,
)
from pedigree.signatures.trusted import (
    CERTIFICATES_MAX,
    SigstoreRoot,
    TrustedCertificates,
    TrustedIdentity,
    TrustedKey,
)

KEY = public_pem(new_key())
ROOT = issue("root", authority=True).pem
SIGSTORE = (
    Path(__file__).parents[2] / "data" / "oms" / "public.root.json"
).read_bytes()


def _identity(**members: object) -> bytes:
    told = {"issuer": "https://a.example", "subject": "anna@example.com", **members}
    return json.dumps({key: value for key, value in told.items() if value}).encode()


def _root(**members: object) -> bytes:
    return json.dumps({**json.loads(SIGSTORE), **members}).encode()


def _valid(start: object) -> bytes:
    member = {"publicKey": {"validFor": {"start": start}}}
    return _root(timestampAuthorities=[{"validFor": None}], tlogs=[member])


def _folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_a_folder_of_keys_and_certificates_is_read_by_name(tmp_path: Path) -> None:
    files = {"acme.pub": KEY, "house.pem": ROOT + ROOT, "..data": b"not looked at"}
    trust = read_trust(_folder(tmp_path, files))
    assert [key.name for key in trust.keys] == ["acme"]
    assert [(a.name, len(a.roots)) for a in trust.authorities] == [("house", 2)]


def test_a_mounted_config_map_is_read_through_its_links(tmp_path: Path) -> None:
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "acme.pub").write_bytes(KEY)
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "acme.pub").symlink_to("..data/acme.pub")
    assert [key.name for key in read_trust(tmp_path).keys] == ["acme"]


def test_an_empty_folder_trusts_nobody(tmp_path: Path) -> None:
    assert read_trust(tmp_path) == NOBODY


def _pem(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.pub", b"", "no public key"),
        ("a.pub", ROOT, "no public key"),
        (
            "a.pub",
            _pem(ed25519.Ed25519PrivateKey.generate()),
            "wanted one of secp256r1",
        ),
        ("a.pub", _pem(rsa.generate_private_key(65537, 2048)), "wanted one of"),
        ("a.pub", public_pem(new_key(ec.SECP256K1())), "is a secp256k1"),
        ("a.pub", b"x" * (FILE_MAX_BYTES + 1), "over 262144 bytes"),
        ("a.pem", b"", "no certificates"),
        ("a.pem", KEY, "no certificates"),
        ("a.pem", ROOT * (CERTIFICATES_MAX + 1), "over 64 certificates"),
        ("a.txt", KEY, "is none of NAME.pub, NAME.pem"),
        ("a b.pub", KEY, "is no name"),
        ("a.json", _identity(), "is none of"),
        ("a.identity.json", b"", "is no identity"),
        ("a.identity.json", b"[]", "wanted a JSON object"),
        ("a.identity.json", b'{"issuer": "a", "issuer": "b"}', "issuer"),
        ("a.identity.json", _identity(issuer=None), "has the issuer None"),
        ("a.identity.json", _identity(subject=7), "has the subject 7"),
        ("a.identity.json", _identity(subject="x" * 1025), "wanted text"),
        ("a.identity.json", _identity(subject="anna\u2028"), "wanted text"),
        ("a.identity.json", _identity(subject="anna smith"), "without spaces"),
        ("a.identity.json", _identity(issuer="https://*"), "not taken as a pattern"),
        ("a.identity.json", _identity(subject="*a*@b"), "two '\\*' in one part"),
        ("a.identity.json", _identity(subjects=["a"]), "unknown member 'subjects'"),
        ("a.identity.json", _identity(root=["a"]), "wanted the name of a root"),
        ("a.identity.json", _identity(), "names no root, and there are: none"),
        ("a.identity.json", _identity(root="b"), "names the root 'b', given are: none"),
        ("a.root.json", b"{}", "has the mediaType None"),
        ("a.root.json", _root(tlogs=[]), "has no tlogs"),
        ("a.root.json", _root(ctlogs=None), "has no ctlogs"),
        ("a.root.json", _root(tlogs=["x"]), "one of tlogs that is 'x', wanted an"),
        ("a.root.json", _root(ctlogs=[{"publicKey": None}]), "that is None, wanted an"),
        ("a.root.json", _root(timestampAuthorities=7), "wanted a list"),
        ("a.root.json", _valid("2021-01-12T00:00:00"), "wanted such as 2021-01-12T"),
        ("a.root.json", _valid("1610409600"), "has the time '1610409600'"),
        ("a.root.json", _valid("2021-02-30T00:00:00Z"), "day is out of range"),
        ("a.root.json", _valid(1610409600), "has the time 1610409600"),
        ("a.root.json", _root(tlogs=[{"validFor": []}]), "has the validFor \\[\\]"),
        ("a.root.json", _root(ctlogs=[{"a": {"valid_for": 1}}]), "'valid_for', wanted"),
        ("-a.identity.json", _identity(), "is no name"),
        ("-.pub", KEY, "is no name"),
    ],
)
def test_what_cannot_be_trusted_is_said_at_the_start(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        read_trust(_folder(tmp_path, {name: content}))
    assert caught.value.reason == "TrustInvalid"


def test_an_identity_belongs_to_the_root_it_names_or_to_the_only_one() -> None:
    one, two = SigstoreRoot.read("one", SIGSTORE), SigstoreRoot.read("two", SIGSTORE)
    free = TrustedIdentity.read("anna", _identity())
    bound = TrustedIdentity.read("otto", _identity(root="two"))
    alone = Trust.of([one, free])
    assert [identity.root for identity in alone.identities] == ["one"]
    assert Trust.of(alone.members) == alone
    both = Trust.of([two, bound, one])
    assert [root.name for root in both.roots] == ["one", "two"]
    with pytest.raises(ConfigError, match="names no root, and there are: one, two"):
        Trust.of([one, two, free])


def test_an_identity_and_its_root_may_share_a_name(tmp_path: Path) -> None:
    files = {"acme.identity.json": _identity(), "acme.root.json": SIGSTORE}
    assert read_trust(_folder(tmp_path, files)).identities[0].root == "acme"
    with pytest.raises(ConfigError, match="given twice"):
        read_trust(_folder(tmp_path, {"acme.pub": KEY}))


def test_the_digest_tells_identities_and_roots_apart() -> None:
    root = SigstoreRoot.read("one", SIGSTORE)
    other = SigstoreRoot.read("one", SIGSTORE + b" ")
    changes = [{"subject": "otto@example.com"}, {"issuer": "https://b.example"}]
    identities = [
        TrustedIdentity.read("anna", _identity(**change)) for change in ({}, *changes)
    ]
    sets: list[list[Member]] = [[root, one] for one in identities]
    sets += [[other, identities[0]], [root]]
    assert len({Trust.of(members).digest for members in sets}) == len(sets)


def test_a_folder_that_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be listed"):
        read_trust(tmp_path / "none")


def test_one_name_is_one_signer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        read_trust(_folder(tmp_path, {"acme.pub": KEY, "acme.pem": ROOT}))


def test_there_is_an_end_to_trust(tmp_path: Path) -> None:
    files = {f"k{index}.pub": KEY for index in range(MEMBERS_MAX + 1)}
    with pytest.raises(ConfigError, match="over 64 files"):
        read_trust(_folder(tmp_path, files))
    keys = [TrustedKey.read(f"k{index}", KEY) for index in range(MEMBERS_MAX + 1)]
    with pytest.raises(ConfigError, match="over 64"):
        Trust.of(keys)


def test_equal_sets_have_equal_digests_and_others_do_not() -> None:
    key = TrustedKey.read("acme", KEY)
    house = TrustedCertificates.read("house", ROOT)
    assert Trust.of([key, house]).digest == Trust.of([house, key]).digest
    others = [
        Trust.of([]),
        Trust.of([key]),
        Trust.of([house]),
        Trust.of([TrustedKey.read("acme2", KEY), house]),
        Trust.of([TrustedKey.read("acme", public_pem(new_key())), house]),
        Trust.of([key, TrustedCertificates.read("house", ROOT + ROOT)]),
    ]
    digests = {trust.digest for trust in [*others, Trust.of([key, house])]}
    assert len(digests) == 7
    assert Trust.of([]).digest == NOBODY.digest


def test_each_mistake_in_whom_to_trust_says_what_to_do_about_it(tmp_path: Path) -> None:
    key = TrustedKey.read("acme", KEY)
    (tmp_path / "notes.txt").write_bytes(b"")
    with pytest.raises(ConfigError) as twice:
        Trust.of([key, key])
    with pytest.raises(ConfigError) as other:
        read_trust(tmp_path)
    with pytest.raises(ConfigError) as nowhere:
        read_trust(tmp_path / "nowhere")
    assert twice.value.hint == "give each signer a name of its own"
    assert "NAME.pub" in str(other.value.hint)
    assert "NAME.pub" in str(nowhere.value.hint)
