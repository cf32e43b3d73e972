# SPDX-License-Identifier: Apache-2.0
"""Files that are named as keys and passwords, and texts that hold what looks like one.

What is found is named by kind and line; its value is never shown, for findings are
read by more people than the model is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from pedigree.errors import quote
from pedigree.examine.safety.sightings import Sighting
from pedigree.examine.safety.texts import Texts

TEXT_MAX_BYTES = 256 << 10
TEXTS_MAX_BYTES = 8 << 20
"""Bytes looked through, of one file and of a model."""
_DISTINCT_MIN = 8
"""Different characters of a token; a placeholder such as ``hf_xxxx`` has fewer."""
_NAMES = frozenset(
    {".env", ".netrc", "_netrc", ".npmrc", ".pypirc", ".git-credentials", ".htpasswd"}
    | {"credentials.json", "credentials", "client_secret.json", "service_account.json"}
    | {"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "kubeconfig", "secrets.json"}
    | {"secrets.yaml", "secrets.yml", ".dockercfg", ".dockerconfigjson", ".pgpass"}
    | {"stored_tokens", ".boto", ".s3cfg", ".vault-token", "token.txt"}
)
_SUFFIXES = frozenset({".key", ".p12", ".pfx", ".jks", ".kdbx", ".ppk", ".keystore"})
_FOLDERS = frozenset({".aws", ".ssh", ".kube", ".gnupg", ".docker", ".azure"})
_CERTIFICATES = frozenset({".pem", ".crt", ".cer"})
"""May hold a private key or only what everybody may know."""
_CONSEQUENCE = "whoever has the model has it too"


class Shape(NamedTuple):
    """How a kind of credential looks: a piece that every one has, and the whole."""

    name: str
    piece: bytes
    pattern: re.Pattern[bytes]


def _shape(name: str, piece: bytes, pattern: bytes) -> Shape:
    return Shape(name, piece, re.compile(pattern))


SHAPES = (
    _shape(
        "a private key",
        b"PRIVATE KEY",
        rb"-----BEGIN (?:[A-Z]{2,9} ){0,2}PRIVATE KEY(?: BLOCK)?--",
    ),
    _shape("a Hugging Face token", b"hf_", rb"\bhf_[A-Za-z]{34}\b"),
    _shape("an AWS access key", b"AKIA", rb"\bAKIA[0-9A-Z]{16}\b"),
    _shape("an AWS access key", b"ASIA", rb"\bASIA[0-9A-Z]{16}\b"),
    _shape("a GitHub token", b"gh", rb"\bgh[pousr]_[A-Za-z0-9]{36}"),
    _shape("a GitHub token", b"github_pat_", rb"\bgithub_pat_[A-Za-z0-9_]{60}"),
    _shape("a GitLab token", b"glpat-", rb"\bglpat-[A-Za-z0-9_-]{20}"),
    _shape("a Slack token", b"xox", rb"\bxox[abprs]-[0-9A-Za-z-]{20}"),
    _shape("a Google API key", b"AIza", rb"\bAIza[0-9A-Za-z_-]{35}\b"),
    _shape(
        "an OpenAI key",
        b"T3BlbkFJ",
        rb"\bsk-[A-Za-z0-9_-]{16,120}T3BlbkFJ[A-Za-z0-9_-]{16}",
    ),
    _shape("an Anthropic key", b"sk-ant-", rb"\bsk-ant-[a-z]{3}\d\d-[A-Za-z0-9_-]{40}"),
    _shape("an NVIDIA key", b"nvapi-", rb"\bnvapi-[A-Za-z0-9_-]{60}"),
    _shape("a PyPI token", b"pypi-AgE", rb"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{40}"),
    _shape("an npm token", b"npm_", rb"\bnpm_[A-Za-z0-9]{36}\b"),
)
"""Prefixes that issuers chose so that scanners can tell their tokens."""


def credential_sightings(texts: Texts, held: frozenset[str]) -> Iterator[Sighting]:
    """Look at names, and through small texts.

    Args:
        texts: The small files.
        held: Paths that cost nothing to look through.

    Raises:
        SourceError: The bytes could not be had.
    """
    left = TEXTS_MAX_BYTES
    for path, size in sorted(texts.sizes.items()):
        quoted = quote(path, 100)
        seen = None
        if path in held and size <= min(TEXT_MAX_BYTES, left):
            left -= size
            seen = look_through(texts.whole(path, TEXT_MAX_BYTES))
        if seen is not None:
            detail = f"{quoted} holds what looks like {seen[0]} in line {seen[1]}"
            yield Sighting(path, detail, "SecretInModel", _CONSEQUENCE)
        elif named_as_secret(path) or (path not in held and _may_be_key(path)):
            detail = f"{quoted} is named as a file of keys or passwords"
            yield Sighting(path, detail, "SecretInModel", _CONSEQUENCE)


def named_as_secret(path: str) -> bool:
    """Whether a name alone tells of keys or passwords."""
    parts = PurePosixPath(path.lower()).parts
    name = parts[-1] if parts else ""
    example = name.endswith((".example", ".sample", ".template"))
    return not example and (
        name in _NAMES
        or name.startswith(".env.")
        or PurePosixPath(name).suffix in _SUFFIXES
        or any(part in _FOLDERS for part in parts[:-1])
    )


def _may_be_key(path: str) -> bool:
    return PurePosixPath(path.lower()).suffix in _CERTIFICATES


def look_through(text: bytes) -> tuple[str, int] | None:
    """Kind and line of the first credential in a text, or None.

    Args:
        text: Any bytes.
    """
    found: list[tuple[int, str]] = []
    for shape in SHAPES:
        if shape.piece not in text:  # a hundred times faster than the pattern
            continue
        for match in shape.pattern.finditer(text):
            if len(set(match.group())) >= _DISTINCT_MIN:
                found.append((match.start(), shape.name))
                break
    if not found:
        return None
    begin, kind = min(found)
    return kind, text.count(b"\n", 0, begin) + 1
