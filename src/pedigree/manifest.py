# SPDX-License-Identifier: Apache-2.0
"""The files of a model with their digests, and the two digests of them all.

The *model digest* is the model's identity here: SHA-256 over the canonical JSON of its
``[path, digest]`` pairs, sorted by path.  It binds names as well as contents.

The *root digest* is that of OpenSSF Model Signing v1.0, method ``files``, hash type
``sha256``, ``allow_symlinks`` false: resources sorted by name in Unicode code point
order, and SHA-256 over their concatenated raw digests (sections 5, 6.4 and 6.5.1 of
its specification).  It equals the subject digest of a signature over the same folder,
so verdicts and signatures speak of the same thing.

Ignored, at the top level only, with everything below them:

``.git``, ``.gitignore``, ``.gitattributes``, ``.github``
    the specification's default list; version control, not model.  The Hub adds a
    ``.gitattributes`` to every repository, so without this a clone and a download
    would be different models
``model.sig``
    the signature itself, under the default name of the reference tool: a signature
    cannot be part of what it signs, and signing a model must not make it another one

A server loads nothing from these places, and no weights are read from them here.

Note: the root digest binds the contents in the order of their names, not the names
themselves; two folders that differ only by renames that keep the order have the same
root digest.  Which files a server loads follows from their names, so evidence is kept
under the model digest, and the root digest stands beside it for composition.

Note: ``model-signing`` 1.1.1 sorts by path components (``a/b`` before ``a.txt``), the
specification by the whole name (``a.txt`` before ``a/b``).  The specification is
followed; the two differ only where a folder's name is a prefix of another entry's and
the next character sorts before ``/``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from pedigree.digests import Digest, json_digest, sha256

IGNORED = (".git", ".gitattributes", ".github", ".gitignore", "model.sig")
"""Top-level names that are no part of a model; see the module's docstring."""


def is_ignored(path: str) -> bool:
    """Whether a file at this path, relative to the model's root, is no part of it."""
    return path.split("/", 1)[0] in IGNORED


@dataclass(frozen=True, slots=True, order=True)
class ManifestFile:
    """One file.

    Attributes:
        path: POSIX path relative to the model's root.
        size: Bytes.
        digest: SHA-256 of the content.
    """

    path: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one model, sorted by path.

    Attributes:
        files: Sorted, no path twice, none of them ignored, at least one.
    """

    files: tuple[ManifestFile, ...]

    @classmethod
    def of(cls, files: Iterable[ManifestFile]) -> Manifest:
        """Build a manifest: sorts, and leaves out what :data:`IGNORED` names.

        Raises:
            ValueError: No file is left, or a path occurs twice.
        """
        kept = tuple(sorted(file for file in files if not is_ignored(file.path)))
        if not kept:
            raise ValueError("manifest has no files, wanted at least one")
        for before, after in pairwise(kept):
            if before.path == after.path:
                raise ValueError(f"manifest has the path {after.path!r} twice")
        return cls(kept)

    @property
    def size_bytes(self) -> int:
        """Sizes of the files together."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> Digest:
        """The model digest, its exact identity: of names and contents."""
        return json_digest([[file.path, str(file.digest)] for file in self.files])

    @property
    def root_digest(self) -> Digest:
        """The subject digest of the model's signature: of contents in order."""
        return sha256(b"".join(file.digest.raw for file in self.files))
