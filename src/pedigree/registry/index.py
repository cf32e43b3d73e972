# SPDX-License-Identifier: Apache-2.0
"""Index files: what a scan needs of every reference, in columns.

One file holds many references, sorted by name.  Codes and shapes are columns that a
scan runs through; names and entries are looked up one by one, so that opening a
registry of a hundred thousand references parses nothing.  The columns are listed in
``docs/registry.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pedigree.digests import Digest
from pedigree.fingerprint.codes import NAMES
from pedigree.registry.arrayfile import ArrayFile, write_arrays
from pedigree.registry.catalogue import Entry, decode_entry
from pedigree.registry.coarse import WORDS

REASON = "MalformedIndex"
NOWHERE = bytes(32)
"""Instead of the digest of a pack: the fingerprint is a file of its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fingerprint is stored.

    Attributes:
        digest: Of its bytes, raw.
        pack: Digest of the pack it is in, raw, or :data:`NOWHERE`.
        begin: First byte in the pack's array.
        end: One past the last.
    """

    digest: bytes
    pack: bytes = NOWHERE
    begin: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One reference as an index file holds it.

    Attributes:
        name: Of the reference.
        record: Its entry, encoded.
        place: Of its fingerprint.
        shape: (layers, width, neurons, vocabulary).
        words: The codes e, r and v, 16 words each.
        kit: Whether it holds signals of the kit, and no codes.
    """

    name: str
    record: bytes
    place: Place
    shape: tuple[int, int, int, int]
    words: NDArray[np.uint64]
    kit: bool = False


def write_index(folder: Path, rows: Sequence[Row], *, kit: bool) -> Digest:
    """Write references to an index file.

    Args:
        folder: Of the index files.
        rows: In any order, names not repeated.
        kit: Whether they are entries of the kit, which have no codes.
    """
    ordered = sorted(rows, key=lambda row: row.name)
    names = [row.name.encode() for row in ordered]
    records = [row.record for row in ordered]
    words = np.zeros((len(ordered), len(NAMES), WORDS), "<u8")
    for number, row in enumerate(ordered):
        words[number] = row.words
    by_word = words.transpose(1, 2, 0)  # (codes, words, references)
    places = [row.place for row in ordered]
    spans = np.array([(p.begin, p.end) for p in places], "<i8").reshape(-1, 2)
    arrays = {f"code.{name}": code for name, code in zip(NAMES, by_word, strict=True)}
    return write_arrays(
        folder,
        {
            **arrays,
            "shape": np.array([row.shape for row in ordered], "<i4").reshape(-1, 4),
            "digest": _raw([place.digest for place in places]),
            "pack": _raw([place.pack for place in places]),
            "span": spans,
            "name.end": np.cumsum([len(name) for name in names], dtype="<i8"),
            "name.text": np.frombuffer(b"".join(names), np.uint8),
            "record.end": np.cumsum([len(record) for record in records], dtype="<i8"),
            "record.text": np.frombuffer(b"".join(records), np.uint8),
        },
        {"references": len(ordered), "kit": int(kit)},
    )


def _raw(digests: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


class Index:
    """One index file, mapped."""

    def __init__(self, path: Path) -> None:
        """Open an index file.

        Raises:
            SourceError: It cannot be read.
            ArtifactError: It is damaged (reason ``MalformedIndex`` or of the header).
        """
        self._file = file = ArrayFile(path, reason=REASON)
        try:
            self.is_kit = bool(json.loads(file.metadata)["kit"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise file.damaged(f"metadata: {type(error).__name__}") from error
        self._digests = file.array("digest", "U8", None, 32)
        self.count = count = len(self._digests)
        self.words = {
            name: file.array(f"code.{name}", "U64", WORDS, count) for name in NAMES
        }
        self.shapes = file.array("shape", "I32", count, 4)
        self._packs = file.array("pack", "U8", count, 32)
        self._spans = file.array("span", "I64", count, 2)
        self._names = _Texts(file, "name", count)
        self._records = _Texts(file, "record", count)

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def digest(self) -> Digest:
        """SHA-256 of the file, read now."""
        return self._file.digest()

    def name(self, number: int) -> str:
        """Name of one reference."""
        return self._names[number].decode("utf-8", "replace")

    @cached_property
    def names(self) -> list[str]:
        """All names, ascending."""
        return [self.name(number) for number in range(self.count)]

    def find(self, name: str) -> int | None:
        """Number of the reference of a name, or None."""
        wanted = name.encode()
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            if self._names[middle] < wanted:
                low = middle + 1
            else:
                high = middle
        found = low < self.count and self._names[low] == wanted
        return low if found else None

    def entry(self, number: int) -> Entry:
        """What is known of one reference.

        Raises:
            ArtifactError: It is damaged, or not the one that the columns say.
        """
        try:
            entry = decode_entry(self._records[number])
        except ValueError as error:
            raise self._file.damaged(f"entry {number}: {error}") from error
        same = entry.fingerprint.raw == self.fingerprint_digest(number)
        if entry.name != self.name(number) or not same:
            raise self._file.damaged(f"entry {number} is not what its columns say")
        return entry

    def fingerprint_digest(self, number: int) -> bytes:
        """Raw digest of one fingerprint."""
        raw: bytes = self._digests[number].tobytes()
        return raw

    def place(self, number: int) -> Place:
        """Where one fingerprint is."""
        begin, end = self._spans[number].tolist()
        pack = self._packs[number].tobytes()
        return Place(self.fingerprint_digest(number), pack, begin, end)

    def rows(self) -> Iterator[Row]:
        """All references, to be written again."""
        words = np.stack([self.words[name] for name in NAMES]).transpose(2, 0, 1)
        for number in range(self.count):
            layers, width, neurons, vocabulary = self.shapes[number].tolist()
            yield Row(
                self.name(number),
                self._records[number],
                self.place(number),
                (layers, width, neurons, vocabulary),
                words[number],
                self.is_kit,
            )

    def is_sorted(self) -> bool:
        """Whether names ascend, on which :meth:`find` relies."""
        return all(a < b for a, b in zip(self.names, self.names[1:], strict=False))


class _Texts:
    """Texts one after the other, and where each ends."""

    def __init__(self, file: ArrayFile, name: str, count: int) -> None:
        self._ends = file.array(f"{name}.end", "I64", count)
        self._text = file.array(f"{name}.text", "U8", None)
        ends = self._ends
        last = int(ends[-1]) if count else 0
        ascending = count == 0 or (ends[0] >= 0 and bool(np.all(ends[1:] >= ends[:-1])))
        if not ascending or last != len(self._text):
            raise file.damaged(f"array {name}.end does not fit {name}.text")

    def __getitem__(self, number: int) -> bytes:
        begin = int(self._ends[number - 1]) if number else 0
        text: bytes = self._text[begin : int(self._ends[number])].tobytes()
        return text
