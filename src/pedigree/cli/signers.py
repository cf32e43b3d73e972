# SPDX-License-Identifier: Apache-2.0
"""Whose signatures a command believes: from its options and from a folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pedigree.errors import ConfigError, quote

if TYPE_CHECKING:
    from pedigree.evidence import Signature
    from pedigree.signatures.trust import Trust

FOLDER = "PEDIGREE_TRUST"
"""Variable that names a folder of ``NAME.pub`` and ``NAME.pem`` files."""


def add_trust_options(parser: argparse.ArgumentParser) -> None:
    """Let a command be told whom to believe."""
    parser.add_argument(
        "--trusted-key",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="public key (PEM) whose signatures are believed; may be repeated",
    )
    parser.add_argument(
        "--trusted-certificates",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="certificate authorities (PEM) whose signers are believed; likewise",
    )


def trust_of(args: argparse.Namespace) -> Trust:
    """Everybody a command believes.

    Raises:
        ConfigError: A key or certificate cannot be used, or a name is given twice.
    """
    from pedigree.signatures.trust import (
        Trust,
        read_certificates,
        read_key,
        read_trust,
    )

    folder = os.environ.get(FOLDER, "")
    known = read_trust(Path(folder)) if folder else Trust()
    return Trust.of(
        [
            *known.keys,
            *known.authorities,
            *(read_key(*_named(text)) for text in args.trusted_key),
            *(read_certificates(*_named(text)) for text in args.trusted_certificates),
        ]
    )


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise ConfigError(f"trusted signer is {quote(text)}, wanted NAME=FILE")
    return name, Path(path).expanduser()


def told(item: Signature) -> str:
    """One signature in one line."""
    by = f" by {item.signer}" if item.signer else ""
    how = f" ({item.method})" if item.method else ""
    text = f"{item.reason}{by}{how}: {item.path}"
    for what, names, count in (
        ("does not cover", item.unsigned, item.unsigned_files),
        ("leaves out", item.ignored, item.ignored_files),
    ):
        if count:
            more = f" and {count - len(names)} more" if count > len(names) else ""
            text += f"; {what} {', '.join(map(quote, names))}{more}"
    return text
