# SPDX-License-Identifier: Apache-2.0
"""Fingerprints by the digest of the model they were made of.

A cache: what is lost is made again from the weights.
"""

from __future__ import annotations

from pathlib import Path

from pedigree.digests import Digest
from pedigree.errors import ArtifactError
from pedigree.fingerprint.codec import STORED_MAX_BYTES, decode
from pedigree.fingerprint.model import Fingerprint
from pedigree.registry.files import read_bounded, write_whole


def within(root: Path, namespace: str) -> Path:
    """Folder of the store of a namespace; ``root`` itself for ""."""
    return root / "namespaces" / namespace if namespace else root


class FingerprintStore:
    """A folder of fingerprints, ``<root>/fingerprints/<model digest>.safetensors``.

    Several processes may read and write it at once: writes replace whole files.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / "fingerprints"

    def within(self, namespace: str) -> FingerprintStore:
        """The store of fingerprints that count in one namespace only; itself for "".

        Whoever could tamper with how a fingerprint was made must not be able to
        replace the one that everybody is compared with.
        """
        return FingerprintStore(within(self._folder.parent, namespace))

    def path(self, model: Digest) -> Path:
        """Where the fingerprint of a model is, or would be."""
        return self._folder / f"{model.hex}.safetensors"

    def get(self, model: Digest) -> Fingerprint | None:
        """The stored fingerprint of a model, or None.

        A file that is damaged, or of another version, is as good as none: the model
        is examined again, and :meth:`put` replaces the file.

        Raises:
            SourceError: The folder cannot be read.
        """
        path = self.path(model)
        data = read_bounded(path, STORED_MAX_BYTES)
        if data is None:
            return None
        try:
            return decode(data, path=path.name)
        except ArtifactError:
            return None

    def put(self, model: Digest, fingerprint: Fingerprint) -> None:
        """Store the fingerprint of a model, replacing what is there.

        Raises:
            SourceError: The folder cannot be written.
        """
        write_whole(self.path(model), fingerprint.encoded)
