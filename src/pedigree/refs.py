# SPDX-License-Identifier: Apache-2.0
"""Model references: which model, where, at which revision.

``file:///models/support-llm``            a folder this process can read
``hf://org/repo@revision``                a Hub repository; revision optional

``parse(str(ref)) == ref`` holds for every reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from pedigree.errors import ModelRefError, quote

_MAX_CHARS = 1024
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Scheme(StrEnum):
    """Kinds of place a model can be read from."""

    FILE = "file"
    HUB = "hf"


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Where one model is.

    Attributes:
        scheme: Kind of place.
        location: Absolute POSIX path, or ``org/repo``.
        revision: Branch, tag or commit; always None for files.
    """

    scheme: Scheme
    location: str
    revision: str | None = None

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.scheme}://{self.location}{at}"

    @property
    def pinned(self) -> bool:
        """Whether the reference can only ever mean one content (a 40-hex commit)."""
        return self.revision is not None and bool(_COMMIT.fullmatch(self.revision))


def parse(text: str) -> ModelRef:
    """Read a model reference.

    Raises:
        ModelRefError: The text is not a reference Pedigree understands; the message
            says which part and what was wanted.
    """
    if len(text) > _MAX_CHARS:
        raise ModelRefError(
            f"model reference has {len(text)} characters, allowed are {_MAX_CHARS}"
        )
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ModelRefError(
            f"model reference {quote(text)} names no scheme",
            hint="write file:///absolute/folder or hf://org/repo@revision",
        )
    if scheme == Scheme.FILE:
        return _parse_file(text, rest)
    if scheme == Scheme.HUB:
        return _parse_hub(text, rest)
    raise ModelRefError(
        f"model reference {quote(text)} has the scheme {quote(scheme)}, "
        f"understood are {', '.join(Scheme)}"
    )


def _parse_file(text: str, rest: str) -> ModelRef:
    path = PurePosixPath(rest)
    if not path.is_absolute() or rest.startswith("//"):
        raise ModelRefError(
            f"model reference {quote(text)} has the path {quote(rest)}, "
            "wanted an absolute one",
            hint="write file:///absolute/folder, with three slashes",
        )
    if ".." in path.parts or "\x00" in rest:
        raise ModelRefError(
            f"model reference {quote(text)} leaves its folder with '..'"
        )
    return ModelRef(Scheme.FILE, str(path))


def _parse_hub(text: str, rest: str) -> ModelRef:
    repo, at, revision = rest.partition("@")
    if not _REPO.fullmatch(repo) or ".." in repo:
        raise ModelRefError(
            f"model reference {quote(text)} has the repository {quote(repo)}, "
            "wanted org/repo"
        )
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise ModelRefError(
            f"model reference {quote(text)} has the revision {quote(revision)}, "
            "wanted a commit, tag or branch"
        )
    return ModelRef(Scheme.HUB, repo, revision or None)
