# SPDX-License-Identifier: Apache-2.0
"""Changes to a registry: new files first, then one switch, then the old ones go.

Index files are merged as in a binary counter: an addition takes in every index file
that is no larger than what it writes.  So there is about one file per doubling, and a
reference is written again once per doubling, some kilobytes in all; fingerprints are
never written again.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pedigree.digests import Digest
from pedigree.errors import ConfigError, SourceRefused, quote
from pedigree.fingerprint.codec import decode as decode_fingerprint
from pedigree.fingerprint.codes import NAMES, stored_codes
from pedigree.fingerprint.model import Fingerprint
from pedigree.registry.arrayfile import array_path
from pedigree.registry.bodies import PACK_BYTES
from pedigree.registry.catalogue import Entry, check_entry, encode_entry
from pedigree.registry.coarse import WORDS
from pedigree.registry.folder import INDEX_FOLDER, Registry, Table, set_digest
from pedigree.registry.index import Index, Place, Row, write_index
from pedigree.registry.legacy import CATALOGUE, Legacy
from pedigree.registry.state import State, write_state

MERGED_MAX = 65_536
"""References of an index file that is still merged: bounds what one addition writes to
about 50 MB."""
_NO_WORDS = np.zeros((len(NAMES), WORDS), "<u8")


@dataclass(frozen=True, slots=True)
class Addition:
    """One reference to be added.

    Attributes:
        entry: What is known of it.
        body: Its fingerprint as it is stored.
        shape: (layers, width, neurons, vocabulary).
        words: Its codes, shape (3, 16).
    """

    entry: Entry
    body: bytes
    shape: tuple[int, int, int, int]
    words: NDArray[np.uint64]

    @classmethod
    def of(cls, entry: Entry, fingerprint: Fingerprint) -> Addition:
        """An addition of a fingerprint."""
        codes = stored_codes(fingerprint)
        words = np.stack([codes[name].view("<u8") for name in NAMES])
        s = fingerprint.shape
        shape = (s.layers, s.width, s.neurons, s.vocabulary)
        return cls(entry, fingerprint.encoded, shape, words)

    @classmethod
    def of_kit(cls, entry: Entry, body: bytes) -> Addition:
        """An addition of signals of the kit, which have no codes."""
        return cls(entry, body, (0, 0, 0, 0), _NO_WORDS)

    def row(self, place: Place) -> Row:
        """What the index file holds of it."""
        entry = self.entry
        record = encode_entry(entry)
        return Row(entry.name, record, place, self.shape, self.words, entry.is_kit)


def add_all(root: Path, additions: Iterable[Addition], *, replace: bool = False) -> int:
    """Add references: all of them or, if one cannot be added, none.

    Args:
        root: Folder of the registry; made if it is not there.
        additions: Read one by one; held until enough of them fill a pack.
        replace: Whether a reference of the same name is replaced.

    Returns:
        How many were not there already.

    Raises:
        ConfigError: A name is taken (reason ``NameTaken``), or an entry cannot be
            stored (``EntryInvalid``).
        SourceError: The folder cannot be written.
    """
    with locked(root):
        registry = Registry.open(root, create=True)
        fresh = _Fresh(registry, replace)
        for addition in additions:
            fresh.take(addition)
        fresh.write()
        if fresh.rows:
            _switch(registry, fresh.rows, fresh.replaced)
    return len(fresh.rows)


class _Fresh:
    """What is new, while it is read."""

    def __init__(self, registry: Registry, replace: bool) -> None:
        self._registry, self._replace = registry, replace
        self._entries: dict[str, Entry] = {}
        self._waiting: list[Addition] = []
        self._size = 0
        self.rows: list[Row] = []
        self.replaced: set[str] = set()

    def take(self, addition: Addition) -> None:
        """Look at one addition; what is there already is left out."""
        entry = addition.entry
        check_entry(entry)
        found = self._registry.find(entry.name)
        known = self._entries.get(entry.name)
        if known is None and found is not None:
            known = found[0].entry(found[1])
            if known != entry and self._replace:
                self.replaced.add(entry.name)
                known = None
        if known == entry:
            return
        if known is not None:
            raise ConfigError(
                f"reference {quote(entry.name)} exists with fingerprint "
                f"{known.fingerprint} and other facts",
                reason="NameTaken",
                hint="choose another name, or give --replace",
            )
        self._entries[entry.name] = entry
        self._waiting.append(addition)
        self._size += len(addition.body)
        if self._size >= PACK_BYTES:
            self.write()

    def write(self) -> None:
        """Bring the fingerprints that wait to the disk."""
        places = self._registry.bodies.write([a.body for a in self._waiting])
        pairs = zip(self._waiting, places, strict=True)
        self.rows += [addition.row(place) for addition, place in pairs]
        self._waiting, self._size = [], 0


def _switch(registry: Registry, fresh: list[Row], replaced: set[str]) -> None:
    """Write index files for the new rows, and make them count."""
    root, folder = registry.root, registry.root / INDEX_FOLDER
    by_kind = {
        kind: [row for row in fresh if row.kit is kind] for kind in (False, True)
    }
    kept: list[Index] = []
    for table in sorted(registry.tables, key=lambda table: table.count):
        rows = by_kind[table.is_kit]
        if isinstance(table, Legacy):
            rows += _upgraded(registry, table, replaced)
        elif any(table.find(name) is not None for name in replaced):
            rows += [row for row in table.rows() if row.name not in replaced]
        elif table.count <= len(rows) <= MERGED_MAX - table.count:
            rows += table.rows()
        else:
            kept.append(table)
    digests = [Digest(table.path.stem) for table in kept]
    digests += [
        write_index(folder, rows, kit=is_kit)
        for is_kit, rows in by_kind.items()
        if rows
    ]
    install(root, digests)


def install(root: Path, index: Sequence[Digest]) -> None:
    """Make a registry consist of these index files; the lock must be held.

    Raises:
        PedigreeError: One of them cannot be read, or the folder not be written.
    """
    folder = root / INDEX_FOLDER
    tables: list[Table] = [Index(array_path(folder, digest)) for digest in index]
    state = State(
        tuple(sorted(index)),
        set_digest(tables),
        sum(table.count for table in tables),
    )
    write_state(root, state)
    (root / CATALOGUE).unlink(missing_ok=True)
    counted = {array_path(folder, digest) for digest in state.index}
    for path in set(folder.iterdir()) - counted:  # old ones, and those of a crash
        path.unlink(missing_ok=True)


def _upgraded(registry: Registry, legacy: Legacy, replaced: set[str]) -> list[Row]:
    """Rows for the references of a registry of the first version."""
    rows = []
    for number, name in enumerate(legacy.names):
        if name not in replaced:
            place = legacy.place(number)
            body = registry.bodies.read(name, place)
            fingerprint = decode_fingerprint(body, path=name)
            rows.append(Addition.of(legacy.entry(number), fingerprint).row(place))
    return rows


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of writers.

    Raises:
        SourceRefused: The folder cannot be written (reason ``Forbidden``).
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except PermissionError as error:
        raise SourceRefused(
            f"registry {quote(str(root))} cannot be written: {error.strerror}",
            reason="Forbidden",
        ) from error
