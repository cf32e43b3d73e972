# SPDX-License-Identifier: Apache-2.0
"""Whom signatures are believed from, as a set.

The set has a digest, so that evidence can say under which one a signature was verified,
and be looked at again when it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pedigree.digests import Digest, json_digest
from pedigree.evidence.signed import NO_TRUST
from pedigree.signatures.trusted import (
    SigstoreRoot,
    TrustedCertificates,
    TrustedIdentity,
    TrustedKey,
    invalid,
)

Member = TrustedKey | TrustedCertificates | TrustedIdentity | SigstoreRoot

MEMBERS_MAX = 64
"""In one set.  Arbitrary."""
FILE_MAX_BYTES = 262_144
READERS: dict[str, Callable[[str, bytes], Member]] = {
    ".pub": TrustedKey.read,
    ".pem": TrustedCertificates.read,
    ".identity.json": TrustedIdentity.read,
    ".root.json": SigstoreRoot.read,
}
"""How files of a folder end, after the name."""
_KINDS = ", ".join(f"NAME{suffix}" for suffix in READERS)
_FOLDER = f"give a folder with nothing but {_KINDS}"
_FILE = "give a file that can be read"
_EACH = "give each signer a name of its own"
_WHICH = 'say "root": "NAME" in the identity, and give NAME.root.json'


@dataclass(frozen=True, slots=True)
class Trust:
    """Everybody believed.

    Attributes:
        keys: Keys, sorted by name.
        authorities: Certificate authorities, sorted by name.
        identities: Identities, sorted by name; each names one of the roots.
        roots: Sigstore instances, sorted by name.
        digest: Of names and contents; equal sets have equal digests.
    """

    keys: tuple[TrustedKey, ...] = ()
    authorities: tuple[TrustedCertificates, ...] = ()
    identities: tuple[TrustedIdentity, ...] = ()
    roots: tuple[SigstoreRoot, ...] = ()
    digest: Digest = NO_TRUST

    @classmethod
    def of(cls, members: Iterable[Member]) -> Trust:
        """Build a set.

        Raises:
            ConfigError: A name occurs twice among signers or among roots, there are too
                many, or an identity names no root (reason ``TrustInvalid``).
        """
        found = sorted(members, key=lambda member: member.name)
        if len(found) > MEMBERS_MAX:
            what = f"is one of {len(found)}, over {MEMBERS_MAX}"
            raise invalid(found[-1].name, what, "trust fewer, or authorities for many")
        roots = tuple(m for m in found if isinstance(m, SigstoreRoot))
        signers = [m for m in found if not isinstance(m, SigstoreRoot)]
        _names_differ(signers)
        _names_differ(roots)
        found = [
            _rooted(member, roots) if isinstance(member, TrustedIdentity) else member
            for member in found
        ]
        return cls(
            keys=tuple(m for m in found if isinstance(m, TrustedKey)),
            authorities=tuple(m for m in found if isinstance(m, TrustedCertificates)),
            identities=tuple(m for m in found if isinstance(m, TrustedIdentity)),
            roots=roots,
            digest=json_digest([member.content for member in found]),
        )

    @property
    def members(self) -> tuple[Member, ...]:
        """All of it."""
        return (*self.keys, *self.authorities, *self.identities, *self.roots)


NOBODY = Trust()


def read_trust(folder: Path) -> Trust:
    """Read a folder of the files that :data:`READERS` lists.

    Other files are somebody's mistake and refused, except hidden ones: a mounted
    ConfigMap has those.

    Raises:
        ConfigError: The folder or a file cannot be used (reason ``TrustInvalid``).
    """
    try:
        paths = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        what = f"cannot be listed: {error.strerror}"
        raise invalid(str(folder), what, _FOLDER) from error
    if len(paths) > MEMBERS_MAX:
        raise invalid(str(folder), f"holds over {MEMBERS_MAX} files", _FOLDER)
    return Trust.of(_member(path) for path in paths)


def content_of(path: Path) -> bytes:
    """Read a file of one member.

    Raises:
        ConfigError: It cannot be read or is too large (reason ``TrustInvalid``).
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise invalid(str(path), what, _FILE) from error
    if len(content) > FILE_MAX_BYTES:
        raise invalid(str(path), f"has over {FILE_MAX_BYTES} bytes", _FILE)
    return content


def _member(path: Path) -> Member:
    for suffix, read in READERS.items():
        if path.name.endswith(suffix):
            return read(path.name.removesuffix(suffix), content_of(path))
    raise invalid(path.name, f"is none of {_KINDS}", _FOLDER)


def _names_differ(members: Sequence[Member]) -> None:
    names = [member.name for member in members]
    for name in names:
        if names.count(name) > 1:
            raise invalid(name, "is given twice", _EACH)


def _rooted(
    identity: TrustedIdentity, roots: Sequence[SigstoreRoot]
) -> TrustedIdentity:
    """The identity with the name of its root, be it given or the only one."""
    if not identity.root and len(roots) == 1:
        return replace(identity, root=roots[0].name)
    if identity.root in {root.name for root in roots}:
        return identity
    had = ", ".join(root.name for root in roots) or "none"
    what = f"names the root {identity.root!r}, given are: {had}"
    if not identity.root:
        what = f"names no root, and there are: {had}"
    raise invalid(identity.name, what, _WHICH)
