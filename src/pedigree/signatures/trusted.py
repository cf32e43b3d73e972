# SPDX-License-Identifier: Apache-2.0
"""The kinds of signers that can be trusted, each under a name that policies use.

Reading an identity or a root here needs no library: only who verifies with them does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from pedigree.digests import sha256
from pedigree.errors import ArtifactError, ConfigError, quote
from pedigree.tensors import strictjson

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CERTIFICATES_MAX = 64
"""Under one name.  Arbitrary."""
_TEXT_MAX_CHARS = 1_024
"""Of an issuer or a subject.  Arbitrary; those of workflows have about 150."""
ROOT_MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
ROOT_PARTS = ("certificateAuthorities", "ctlogs", "tlogs")
"""Of a Sigstore instance: without one of them nothing can be verified."""
_PEM = "give PEM: a public key on P-256, P-384 or P-521, or certificates"
_IDENTITY = (
    'give JSON such as {"issuer": "https://accounts.example.com", '
    '"subject": "releases@example.com"}'
)
_ROOT = "give the trusted_root.json of a Sigstore instance"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]{1,9})?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
"""As Sigstore writes it: with a zone, without which times cannot be compared."""
_BOUNDS = re.compile(r"([/@])")
"""What no ``*`` stands for: the parts of addresses and of workflows' names."""


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
    def read(cls, name: str, pem: bytes) -> TrustedKey:
        """Read a public key in PEM.

        Raises:
            ConfigError: It is none that signs models (reason ``TrustInvalid``).
        """
        from pedigree.signatures import keys

        try:
            return cls(_checked(name), keys.read_public_key(pem))
        except keys.Unreadable as error:
            raise invalid(name, f"is no public key: {error}", _PEM) from error

    @property
    def content(self) -> list[str]:
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
    def read(cls, name: str, pem: bytes) -> TrustedCertificates:
        """Read certificates in PEM, one after the other.

        Raises:
            ConfigError: There are none, or one is wrong (reason ``TrustInvalid``).
        """
        from pedigree.signatures import keys

        try:
            roots = keys.read_certificates(pem)
        except keys.Unreadable as error:
            raise invalid(name, f"holds no certificates: {error}", _PEM) from error
        if len(roots) > CERTIFICATES_MAX:
            raise invalid(name, f"holds over {CERTIFICATES_MAX} certificates", _PEM)
        return cls(_checked(name), roots)

    @property
    def content(self) -> list[str]:
        """What the digest of a set is made from."""
        from pedigree.signatures.keys import certificate_id

        prints = sorted(map(certificate_id, self.roots))
        return [self.name, "certificates", *prints]


@dataclass(frozen=True, slots=True)
class TrustedIdentity:
    """Somebody who proved an identity to a Sigstore instance while signing.

    Attributes:
        name: Under which policies name them.
        issuer: Who vouched for the identity: the issuer of the OpenID Connect token.
        subject: The identity: an address, or the URI of a workflow.  A ``*`` stands for
            one or more characters other than ``/`` and ``@``.
        root: Name of the :class:`SigstoreRoot` that must have certified it; empty where
            only one is given.
    """

    name: str
    issuer: str
    subject: str
    root: str = ""

    @classmethod
    def read(cls, name: str, data: bytes) -> TrustedIdentity:
        """Read an identity: a JSON object of ``issuer``, ``subject`` and ``root``.

        Raises:
            ConfigError: It is none (reason ``TrustInvalid``).
        """
        found = _object(name, data, "identity", _IDENTITY)
        for key in found:
            if key not in ("issuer", "subject", "root"):
                what = f"has the unknown member {quote(key, 80)}"
                raise invalid(name, what, _IDENTITY)
        issuer = _text(name, found, "issuer")
        subject = _text(name, found, "subject")
        root = found.get("root", "")
        if "*" in issuer:
            what = (
                f"has the issuer {quote(issuer, 120)}, which is not taken as a pattern"
            )
            raise invalid(name, what, _IDENTITY)
        if any(part.count("*") > 1 for part in _BOUNDS.split(subject)):
            what = f"has the subject {quote(subject, 120)} with two '*' in one part"
            raise invalid(name, what, "one '*' may stand between '/' and '@'")
        if not isinstance(root, str) or (root and not _NAME.fullmatch(root)):
            what = f"has the root {quote(root, 80)}, wanted the name of a root"
            raise invalid(name, what, _IDENTITY)
        return cls(_checked(name), issuer, subject, root)

    def matches(self, issuer: str, subject: str) -> bool:
        """Whether a verified identity is this one."""
        if issuer != self.issuer:
            return False
        wanted, got = _BOUNDS.split(self.subject), _BOUNDS.split(subject)
        return len(wanted) == len(got) and all(map(_part_matches, wanted, got))

    @property
    def content(self) -> list[str]:
        """What the digest of a set is made from."""
        return [self.name, "identity", self.issuer, self.subject, self.root]


@dataclass(frozen=True, slots=True)
class SigstoreRoot:
    """Where a Sigstore instance's certificates and log entries are believed from.

    Attributes:
        name: Under which identities name it; no policy does.
        data: The instance's ``trusted_root.json``, as it was given.
    """

    name: str
    data: bytes

    @classmethod
    def read(cls, name: str, data: bytes) -> SigstoreRoot:
        """Read a root as far as that needs no library.

        Raises:
            ConfigError: It is none (reason ``TrustInvalid``).
        """
        found = _object(name, data, "root", _ROOT)
        if found.get("mediaType") != ROOT_MEDIA_TYPE:
            got = quote(found.get("mediaType"), 80)
            what = f"has the mediaType {got}, wanted {ROOT_MEDIA_TYPE}"
            raise invalid(name, what, _ROOT)
        for part in ROOT_PARTS:
            if not isinstance(found.get(part), list) or not found[part]:
                raise invalid(name, f"has no {part}", _ROOT)
        _check_spelling(name, found)
        _check_periods(name, found)
        return cls(_checked(name), data)

    @property
    def content(self) -> list[str]:
        """What the digest of a set is made from."""
        return [self.name, "root", sha256(self.data).hex]


def in_use(member: object) -> tuple[datetime | None, datetime | None]:
    """From when to when a log or an authority of a root is in use; None is no bound.

    Raises:
        ValueError: That cannot be read.
    """
    if isinstance(member, dict):
        member = member.get("publicKey", member)
    if not isinstance(member, dict):
        raise ValueError(f"is {quote(member, 80)}, wanted an object")
    period = member.get("validFor")
    if period is None:
        return None, None
    if not isinstance(period, dict):
        raise ValueError(f"has the validFor {quote(period, 80)}, wanted an object")
    return _time(period.get("start")), _time(period.get("end"))


def invalid(name: str, what: str, hint: str) -> ConfigError:
    """Say why somebody cannot be trusted."""
    return ConfigError(
        f"trusted signer {quote(name, 120)} {what}", reason="TrustInvalid", hint=hint
    )


def is_plain(text: str) -> bool:
    """Whether a text is short, and nothing in it is a space or cannot be seen."""
    short = 0 < len(text) <= _TEXT_MAX_CHARS
    return short and text.isprintable() and " " not in text


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        what = "is no name: wanted up to 63 letters, digits, '.', '_' and '-'"
        raise invalid(name, what, "begin and end it with a letter or digit")
    return name


def _object(name: str, data: bytes, kind: str, hint: str) -> dict[str, Any]:
    def refuse(what: str) -> NoReturn:
        raise invalid(name, f"is no {kind}: {what}", hint)

    try:
        found = strictjson.load(
            data, what=kind, path=name, depth_max=16, values_max=10_000
        )
    except ArtifactError as error:
        refuse(error.message)
    if not isinstance(found, dict):
        refuse("wanted a JSON object")
    return found


def _check_spelling(name: str, found: dict[str, Any]) -> None:
    """Refuse the other spelling of members, which Sigstore's library reads too."""
    pending: list[Any] = [found]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            for key in item:
                if "_" in key:
                    what = f"has the member {quote(key, 80)}, wanted no '_' in it"
                    raise invalid(name, what, _ROOT)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _check_periods(name: str, found: dict[str, Any]) -> None:
    for part in (*ROOT_PARTS, "timestampAuthorities"):
        members = found.get(part, [])
        if not isinstance(members, list):
            what = f"has the {part} {quote(members, 80)}, wanted a list"
            raise invalid(name, what, _ROOT)
        for member in members:
            try:
                in_use(member)
            except ValueError as error:
                what = f"has one of {part} that {error}"
                raise invalid(name, what, _ROOT) from error


def _time(text: object) -> datetime | None:
    if text is None:
        return None
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        what = f"has the time {quote(text, 80)}, wanted such as 2021-01-12T11:53:27Z"
        raise ValueError(what)
    return datetime.fromisoformat(text)


def _text(name: str, found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    if isinstance(value, str) and is_plain(value):
        return value
    what = f"has the {key} {quote(value, 80)}, wanted text without spaces"
    raise invalid(name, what, _IDENTITY)


def _part_matches(wanted: str, got: str) -> bool:
    before, star, after = wanted.partition("*")
    if not star:
        return wanted == got
    longer = len(got) > len(before) + len(after)
    return longer and got.startswith(before) and got.endswith(after)
