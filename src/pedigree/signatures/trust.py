# SPDX-License-Identifier: Apache-2.0
"""Whom signatures are believed from: public keys and certificate authorities, by name.

A set of them has a digest, so that evidence can say under which set a signature was
verified, and be looked at again when the set changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pedigree.digests import Digest, json_digest
from pedigree.errors import ConfigError, quote
from pedigree.evidence.signed import NO_TRUST

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

TRUSTED_MAX = 64
"""Names in one set, and certificates under one name."""
FILE_MAX_BYTES = 262_144
KEY_SUFFIX = ".pub"
CERTIFICATES_SUFFIX = ".pem"
_PEM = "give PEM: a public key on P-256, P-384 or P-521, or certificates"
_FOLDER = (
    f"give a folder with nothing but NAME{KEY_SUFFIX} and NAME{CERTIFICATES_SUFFIX}"
)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key whose signatures are believed.

    Attributes:
        name: Under which policies name it.
        key: The key, on one of :data:`~pedigree.signatures.keys.CURVES`.
    """

    name: str
    key: ec.EllipticCurvePublicKey

    @classmethod
    def from_pem(cls, name: str, pem: bytes) -> TrustedKey:
        """Read a public key.

        Raises:
            ConfigError: It is none that signs models (reason ``TrustInvalid``).
        """
        from pedigree.signatures import keys

        try:
            return cls(_name(name), keys.read_public_key(pem))
        except keys.Unreadable as error:
            raise _invalid(name, f"is no public key: {error}") from error

    @property
    def identity(self) -> list[str]:
        """What the digest of a set is made from."""
        from pedigree.signatures.keys import key_id

        return [self.name, "key", key_id(self.key)]


@dataclass(frozen=True, slots=True)
class TrustedCertificates:
    """Authorities whose certificates may sign.

    Attributes:
        name: Under which policies name whoever they certify.
        roots: Where a chain may end; they need not be self-signed.
    """

    name: str
    roots: tuple[x509.Certificate, ...]

    @classmethod
    def from_pem(cls, name: str, pem: bytes) -> TrustedCertificates:
        """Read certificates, one after the other.

        Raises:
            ConfigError: There are none, or one is wrong (reason ``TrustInvalid``).
        """
        from pedigree.signatures import keys

        try:
            roots = keys.read_certificates(pem)
        except keys.Unreadable as error:
            raise _invalid(name, f"holds no certificates: {error}") from error
        if len(roots) > TRUSTED_MAX:
            raise _invalid(name, f"holds over {TRUSTED_MAX} certificates")
        return cls(_name(name), roots)

    @property
    def identity(self) -> list[str]:
        """What the digest of a set is made from."""
        from pedigree.signatures.keys import certificate_id

        prints = sorted(map(certificate_id, self.roots))
        return [self.name, "certificates", *prints]


@dataclass(frozen=True, slots=True)
class Trust:
    """Everybody believed.

    Attributes:
        keys: Keys, sorted by name.
        authorities: Certificate authorities, sorted by name.
        digest: Of names and contents; equal sets have equal digests.
    """

    keys: tuple[TrustedKey, ...] = ()
    authorities: tuple[TrustedCertificates, ...] = ()
    digest: Digest = NO_TRUST

    @classmethod
    def of(cls, members: Iterable[TrustedKey | TrustedCertificates]) -> Trust:
        """Build a set.

        Raises:
            ConfigError: A name occurs twice, or there are too many.
        """
        found = sorted(members, key=lambda member: member.name)
        names = [member.name for member in found]
        for name in names:
            if names.count(name) > 1:
                raise _invalid(
                    name, "is given twice", "give each signer a name of its own"
                )
        if len(found) > TRUSTED_MAX:
            raise _invalid(names[-1], f"is one of {len(found)}, over {TRUSTED_MAX}")
        return cls(
            tuple(member for member in found if isinstance(member, TrustedKey)),
            tuple(m for m in found if isinstance(m, TrustedCertificates)),
            json_digest([member.identity for member in found]),
        )


NOBODY = Trust()


def read_trust(folder: Path) -> Trust:
    """Read a folder of ``NAME.pub`` (one key) and ``NAME.pem`` (certificates).

    Other files are somebody's mistake and refused, except hidden ones: a mounted
    ConfigMap has those.

    Raises:
        ConfigError: The folder or a file cannot be used (reason ``TrustInvalid``).
    """
    try:
        paths = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        what = f"cannot be listed: {error.strerror}"
        raise _invalid(str(folder), what, _FOLDER) from error
    if len(paths) > TRUSTED_MAX:
        raise _invalid(str(folder), f"holds over {TRUSTED_MAX} files")
    return Trust.of(_member(path) for path in paths)


def read_key(name: str, path: Path) -> TrustedKey:
    """Read the public key in one file.

    Raises:
        ConfigError: It cannot be used (reason ``TrustInvalid``).
    """
    return TrustedKey.from_pem(name, _content(path))


def read_certificates(name: str, path: Path) -> TrustedCertificates:
    """Read the certificates in one file.

    Raises:
        ConfigError: They cannot be used (reason ``TrustInvalid``).
    """
    return TrustedCertificates.from_pem(name, _content(path))


def _member(path: Path) -> TrustedKey | TrustedCertificates:
    match path.suffix:
        case ".pub":
            return read_key(path.stem, path)
        case ".pem":
            return read_certificates(path.stem, path)
    what = f"is no NAME{KEY_SUFFIX} and no NAME{CERTIFICATES_SUFFIX}"
    raise _invalid(path.name, what, _FOLDER)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise _invalid(str(path), f"cannot be read: {error.strerror}") from error
    if len(content) > FILE_MAX_BYTES:
        raise _invalid(str(path), f"has over {FILE_MAX_BYTES} bytes")
    return content


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _invalid(
            name, "is no name: wanted up to 63 letters, digits, '.', '_' and '-'"
        )
    return name


def _invalid(name: str, what: str, hint: str = _PEM) -> ConfigError:
    return ConfigError(
        f"trusted signer {quote(name, 120)} {what}",
        reason="TrustInvalid",
        hint=hint,
    )
