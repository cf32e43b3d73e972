# SPDX-License-Identifier: Apache-2.0
"""Registries of the first version: one JSON catalogue, one file per fingerprint.

They are read as they are; the first change brings them to the present form.
"""

from __future__ import annotations

from pathlib import Path

from pedigree.registry.catalogue import CATALOGUE_MAX_BYTES, Entry, decode_v1
from pedigree.registry.files import read_bounded
from pedigree.registry.index import Place

CATALOGUE = "catalogue.json"


class Legacy:
    """All references of such a registry; they have no codes and no shapes."""

    is_kit = False

    def __init__(self, entries: dict[str, Entry]) -> None:
        self._entries = entries
        self.names = sorted(entries)
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self.count = len(entries)

    @classmethod
    def open(cls, root: Path) -> Legacy | None:
        """The catalogue of a folder, or None if there is none.

        Raises:
            ArtifactError: It cannot be understood.
            SourceError: It cannot be read.
        """
        path = root / CATALOGUE
        data = read_bounded(path, CATALOGUE_MAX_BYTES)
        return None if data is None else cls(decode_v1(data, path=str(path)))

    def name(self, number: int) -> str:
        """Name of one reference."""
        return self.names[number]

    def find(self, name: str) -> int | None:
        """Number of the reference of a name, or None."""
        return self._numbers.get(name)

    def entry(self, number: int) -> Entry:
        """What is known of one reference."""
        return self._entries[self.names[number]]

    def fingerprint_digest(self, number: int) -> bytes:
        """Raw digest of one fingerprint."""
        return self.entry(number).fingerprint.raw

    def place(self, number: int) -> Place:
        """Where one fingerprint is: in a file of its own."""
        return Place(self.fingerprint_digest(number))
