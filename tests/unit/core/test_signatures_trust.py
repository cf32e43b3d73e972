# SPDX-License-Identifier: Apache-2.0
"""Whom signatures are believed from."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from made_signatures import issue, new_key, public_pem
from pedigree.errors import ConfigError
from pedigree.signatures.trust import (
    FILE_MAX_BYTES,
    NOBODY,
    TRUSTED_MAX,
    Trust,
    TrustedCertificates,
    TrustedKey,
    read_trust,
)

KEY = public_pem(new_key())
ROOT = issue("root", authority=True).pem


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
        ("a.pem", ROOT * (TRUSTED_MAX + 1), "over 64 certificates"),
        ("a.txt", KEY, "no NAME.pub and no NAME.pem"),
        ("a b.pub", KEY, "is no name"),
        ("-.pub", KEY, "is no name"),
    ],
)
def test_what_cannot_be_trusted_is_said_at_the_start(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        read_trust(_folder(tmp_path, {name: content}))
    assert caught.value.reason == "TrustInvalid"


def test_a_folder_that_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be listed"):
        read_trust(tmp_path / "none")


def test_one_name_is_one_signer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        read_trust(_folder(tmp_path, {"acme.pub": KEY, "acme.pem": ROOT}))


def test_there_is_an_end_to_trust(tmp_path: Path) -> None:
    files = {f"k{index}.pub": KEY for index in range(TRUSTED_MAX + 1)}
    with pytest.raises(ConfigError, match="over 64 files"):
        read_trust(_folder(tmp_path, files))
    keys = [TrustedKey.from_pem(f"k{index}", KEY) for index in range(TRUSTED_MAX + 1)]
    with pytest.raises(ConfigError, match="over 64"):
        Trust.of(keys)


def test_equal_sets_have_equal_digests_and_others_do_not() -> None:
    key = TrustedKey.from_pem("acme", KEY)
    house = TrustedCertificates.from_pem("house", ROOT)
    assert Trust.of([key, house]).digest == Trust.of([house, key]).digest
    others = [
        Trust.of([]),
        Trust.of([key]),
        Trust.of([house]),
        Trust.of([TrustedKey.from_pem("acme2", KEY), house]),
        Trust.of([TrustedKey.from_pem("acme", public_pem(new_key())), house]),
        Trust.of([key, TrustedCertificates.from_pem("house", ROOT + ROOT)]),
    ]
    digests = {trust.digest for trust in [*others, Trust.of([key, house])]}
    assert len(digests) == 7
    assert Trust.of([]).digest == NOBODY.digest


def test_each_mistake_in_whom_to_trust_says_what_to_do_about_it(tmp_path: Path) -> None:
    key = TrustedKey.from_pem("acme", KEY)
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
