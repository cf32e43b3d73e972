# SPDX-License-Identifier: Apache-2.0
"""A registry: a folder of index files and the fingerprints they name.

::

    registry.json                        which index files count; replaced as a whole
    index/<digest>.safetensors           columns of many references, see ``index``
    packs/<digest>.safetensors           many fingerprints, see ``bodies``
    fingerprints/<digest>.safetensors    one fingerprint

All files but the first are written once and named by their digest.  They are on the
disk before ``registry.json`` names them, so a reader sees the registry before a change
or after it, whatever happens in between.  One writer at a time: writers hold a lock on
``.lock``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pedigree.digests import Digest
from pedigree.errors import SourceRefused, quote
from pedigree.evidence import registry_digest
from pedigree.fingerprint.codec import decode as decode_fingerprint
from pedigree.fingerprint.model import Fingerprint
from pedigree.registry.arrayfile import array_path
from pedigree.registry.bodies import Bodies
from pedigree.registry.catalogue import Advisory, Entry, Parent
from pedigree.registry.index import Index
from pedigree.registry.legacy import Legacy
from pedigree.registry.references import ReferenceSet
from pedigree.registry.state import FILE, read_state

if TYPE_CHECKING:
    from pedigree.registry.verification import Problem

INDEX_FOLDER = "index"
Table = Index | Legacy
_TRIES = 3
"""A writer may remove an index file between reading the state and opening it."""


class Registry:
    """Known models in a folder."""

    def __init__(self, root: Path, tables: Sequence[Table]) -> None:
        self.root = root
        self.tables: tuple[Table, ...] = tuple(tables)
        self.bodies = Bodies(root)

    @classmethod
    def open(cls, root: Path, *, create: bool = False) -> Registry:
        """Open a registry.

        Args:
            root: Its folder.
            create: Whether an absent or empty folder is an empty registry.

        Raises:
            SourceRefused: There is no registry there (reason ``NotFound``).
            ArtifactError: It cannot be understood.
            SourceError: It cannot be read.
        """
        tables = _open_tables(root)
        if tables is None:
            if not create:
                raise SourceRefused(
                    f"folder {quote(str(root))} has no {FILE}, wanted a registry",
                    reason="NotFound",
                    hint=f"make one with `pedigree registry add --registry {root} "
                    "NAME MODEL`",
                )
            tables = []
        return cls(root, tables)

    def __len__(self) -> int:
        return sum(table.count for table in self.tables)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is known of each reference, by name."""
        found = [t.entry(number) for t in self.tables for number in range(t.count)]
        return tuple(sorted(found, key=lambda entry: entry.name))

    @cached_property
    def digest(self) -> Digest:
        """Identity of the set of references, entries of the kit left out."""
        state = read_state(self.root)
        if state is not None and state.index == self._index_digests():
            return state.digest
        return set_digest(self.tables)

    def find(self, name: str) -> tuple[Table, int] | None:
        """The table and the number of a reference, or None."""
        for table in self.tables:
            number = table.find(name)
            if number is not None:
                return table, number
        return None

    def entry(self, name: str) -> Entry:
        """One reference.

        Raises:
            SourceRefused: There is none of that name (reason ``NotFound``).
        """
        table, number = self._found(name)
        return table.entry(number)

    def at(self, number: int) -> tuple[Table, int]:
        """The table of a reference and its number there, by its number among all."""
        for table in self.tables:
            if number < table.count:
                return table, number
            number -= table.count
        raise IndexError(f"registry {self.root} has {len(self)} references")

    def add(
        self,
        name: str,
        fingerprint: Fingerprint,
        *,
        model: str = "",
        source: str = "",
        family: str = "",
        publisher: str = "",
        license: str = "",  # noqa: A002 - the field's own name
        aliases: tuple[str, ...] = (),
        parents: tuple[Parent, ...] = (),
        advisories: tuple[Advisory, ...] = (),
        replace: bool = False,
    ) -> Entry:
        """Add a reference, on the disk when this returns.

        Adding what is there already changes nothing.

        Raises:
            ConfigError: The name is taken (reason ``NameTaken``), or a text cannot be
                stored (``EntryInvalid``).
            SourceError: The folder cannot be written.
        """
        from pedigree.registry.writing import Addition, add_all

        entry = Entry(
            name=name,
            fingerprint=fingerprint.digest,
            spec=fingerprint.spec,
            model=model,
            source=source,
            family=family,
            publisher=publisher,
            license=license,
            aliases=aliases,
            parents=parents,
            advisories=advisories,
        )
        add_all(self.root, [Addition.of(entry, fingerprint)], replace=replace)
        self.reload()
        return entry

    def reload(self) -> None:
        """See what was written since this registry was opened."""
        self.tables = tuple(_open_tables(self.root) or [])
        self.bodies = Bodies(self.root)
        self.__dict__.pop("digest", None)

    def fingerprint(self, name: str) -> Fingerprint:
        """The fingerprint of one reference.

        Raises:
            SourceRefused: No such reference, or its file is not there (``NotFound``).
            ArtifactError: The file is damaged (``MalformedFingerprint``), or not the
                one that was added (``DigestMismatch``).
        """
        return self.fingerprint_at(*self._found(name))

    def fingerprint_at(self, table: Table, number: int) -> Fingerprint:
        """As :meth:`fingerprint`, of a reference that was found already."""
        place = table.place(number)
        data = self.bodies.read(table.name(number), place)
        return decode_fingerprint(data, path=str(self.bodies.path(place)))

    def body(self, name: str) -> bytes:
        """What is stored of one reference, its digest checked.

        Raises:
            PedigreeError: As :meth:`fingerprint`.
        """
        table, number = self._found(name)
        return self.bodies.read(name, table.place(number))

    def references(self) -> ReferenceSet:
        """All fingerprints, every digest checked.

        Raises:
            PedigreeError: As :meth:`fingerprint`; one bad reference is not left out.
        """
        return ReferenceSet(
            {
                table.name(number): self.fingerprint_at(table, number)
                for table in self.tables
                if not table.is_kit
                for number in range(table.count)
            }
        )

    def verify(self) -> tuple[Problem, ...]:
        """Everything that is wrong, found by reading all of it."""
        from pedigree.registry.verification import verify

        return verify(self)

    def _found(self, name: str) -> tuple[Table, int]:
        found = self.find(name)
        if found is None:
            raise SourceRefused(
                f"registry {quote(str(self.root))} has no reference {quote(name)} "
                f"among its {len(self)}",
                reason="NotFound",
                hint="list them with `pedigree registry list`",
            )
        return found

    def _index_digests(self) -> tuple[Digest, ...]:
        return tuple(
            Digest(table.path.stem) for table in self.tables if isinstance(table, Index)
        )


def _open_tables(root: Path) -> list[Table] | None:
    """The tables of a registry, or None if the folder is none."""
    for left in reversed(range(_TRIES)):
        state = read_state(root)
        if state is None:
            legacy = Legacy.open(root)
            return None if legacy is None else [legacy]
        folder = root / INDEX_FOLDER
        try:
            return [Index(array_path(folder, digest)) for digest in state.index]
        except SourceRefused as error:
            if error.reason != "NotFound" or not left:
                raise
    return None  # not reached: the last try returns or raises


def set_digest(tables: Sequence[Table]) -> Digest:
    """Identity of a set of references; entries of the kit do not count."""
    return registry_digest(
        {
            table.name(number): f"sha256:{table.fingerprint_digest(number).hex()}"
            for table in tables
            if not table.is_kit
            for number in range(table.count)
        }
    )
