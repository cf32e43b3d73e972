# SPDX-License-Identifier: Apache-2.0
"""Whose signatures a command believes: from its options and from a folder."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pedigree.errors import ConfigError, quote

if TYPE_CHECKING:
    from pedigree.evidence import Evidence, Finding, Signature
    from pedigree.signatures.trust import Trust

FOLDER = "PEDIGREE_TRUST"
"""Variable that names a folder of the files that can be trusted."""

_DOUBTED = (
    "CertificateExpired",
    "KeylessNotSupported",
    "NotCompared",
    "Unsupported",
    "Untrusted",
)
"""Reasons for which a signature is not believed, though nothing speaks against it."""


_OPTIONS = (
    ("key", ".pub", "public key (PEM) whose signatures are believed"),
    ("certificates", ".pem", "certificate authorities (PEM), likewise"),
    ("identity", ".identity.json", "issuer and subject (JSON) certified by Sigstore"),
    ("root", ".root.json", "trusted_root.json of a Sigstore instance, for identities"),
)
"""What can be trusted: the end of the option's name, of a file's, and what it is."""


def add_trust_options(parser: argparse.ArgumentParser) -> None:
    """Let a command be told whom to believe."""
    for kind, _, text in _OPTIONS:
        parser.add_argument(
            f"--trusted-{kind}",
            action="append",
            default=[],
            metavar="NAME=FILE",
            help=f"{text}; may be repeated",
        )


def trust_of(args: argparse.Namespace) -> Trust:
    """Everybody a command believes.

    Raises:
        ConfigError: Somebody cannot be believed, or a name is given twice.
    """
    from pedigree.signatures.trust import READERS, Trust, content_of, read_trust

    folder = os.environ.get(FOLDER, "")
    known = read_trust(Path(folder)) if folder else Trust()
    given = [
        READERS[suffix](name, content_of(path))
        for kind, suffix, _ in _OPTIONS
        for name, path in map(_named, getattr(args, f"trusted_{kind}"))
    ]
    return Trust.of([*known.members, *given])


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise ConfigError(f"trusted signer is {quote(text)}, wanted NAME=FILE")
    return name, Path(path).expanduser()


def told(item: Signature) -> str:
    """One signature in one line."""
    by = f" by {item.signer}" if item.signer else ""
    how = f" ({item.method})" if item.method else ""
    told_of = item.path if item.valid else item.message or item.path
    text = f"{item.reason}{by}{how}: {told_of}"
    for what, names, count in (
        ("does not cover", item.unsigned, item.unsigned_files),
        ("leaves out", item.ignored, item.ignored_files),
    ):
        if count:
            more = f" and {count - len(names)} more" if count > len(names) else ""
            text += f"; {what} {', '.join(map(quote, names))}{more}"
    return text


def with_signatures(evidence: Evidence) -> list[Finding]:
    """Findings to show, the most severe first, with what signatures are worth.

    Evidence keeps the two apart, because findings follow from the files alone; a person
    who looks at one model wants to see them in one place.
    """
    from pedigree.evidence import Severity

    found = evidence.signatures.found if evidence.signatures else ()
    shown = [*evidence.findings]
    for item in found:
        shown += _findings(item)
    order = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}
    return sorted(shown, key=lambda finding: order[finding.severity])


def _findings(item: Signature) -> Iterator[Finding]:
    from pedigree.evidence import Finding, Severity

    if not item.valid:
        doubted = item.reason in _DOUBTED
        reason = "SignatureUntrusted" if doubted else "SignatureInvalid"
        severity = Severity.WARNING if doubted else Severity.ERROR
        yield Finding(reason, severity, item.path, told(item))
        return
    yield Finding("SignatureValid", Severity.INFO, item.path, told(item))
    if item.unsigned_files:
        text = f"{item.unsigned_files} files are not covered by {quote(item.path)}"
        yield Finding("UnsignedFiles", Severity.WARNING, item.path, text)
    if item.ignored_files:
        text = f"{item.ignored_files} files are left out by {quote(item.path)}"
        yield Finding("IgnoredPaths", Severity.WARNING, item.path, text)
