# SPDX-License-Identifier: Apache-2.0
"""A registry: a folder with a catalogue and the fingerprints it names.

::

    catalogue.json
    fingerprints/<fingerprint digest>.safetensors

A fingerprint is written before the catalogue names it, so a reader never sees a name
without its fingerprint.  One writer at a time: writers hold a lock on ``.lock``.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pedigree.digests import sha256
from pedigree.errors import ArtifactError, ConfigError, SourceRefused, quote
from pedigree.fingerprint.codec import STORED_MAX_BYTES
from pedigree.fingerprint.codec import decode as decode_fingerprint
from pedigree.fingerprint.model import Fingerprint
from pedigree.registry import catalogue
from pedigree.registry.catalogue import Entry
from pedigree.registry.files import read_bounded, write_whole
from pedigree.registry.references import ReferenceSet

_CATALOGUE = "catalogue.json"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing :meth:`Registry.verify` found wrong."""

    name: str
    reason: str
    message: str


class Registry:
    """Known models in a folder."""

    def __init__(self, root: Path, entries: dict[str, Entry]) -> None:
        self._root = root
        self._entries = entries

    @classmethod
    def open(cls, root: Path, *, create: bool = False) -> Registry:
        """Open a registry.

        Args:
            root: Its folder.
            create: Whether an absent or empty folder is an empty registry.

        Raises:
            SourceRefused: There is no registry there (reason ``NotFound``).
            ArtifactError: The catalogue cannot be understood.
            SourceError: It cannot be read.
        """
        data = read_bounded(root / _CATALOGUE, catalogue.CATALOGUE_MAX_BYTES)
        if data is not None:
            return cls(root, catalogue.decode(data, path=str(root / _CATALOGUE)))
        if create:
            return cls(root, {})
        raise SourceRefused(
            f"folder {quote(str(root))} has no {_CATALOGUE}, wanted a registry",
            reason="NotFound",
            hint=f"make one with `pedigree registry add --registry {root} NAME MODEL`",
        )

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is known of each reference, by name."""
        return tuple(self._entries[name] for name in sorted(self._entries))

    def entry(self, name: str) -> Entry:
        """One reference.

        Raises:
            SourceRefused: There is none of that name (reason ``NotFound``).
        """
        if name not in self._entries:
            raise SourceRefused(
                f"registry {quote(str(self._root))} has no reference {quote(name)} "
                f"among its {len(self._entries)}",
                reason="NotFound",
                hint="list them with `pedigree registry list`",
            )
        return self._entries[name]

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
        replace: bool = False,
    ) -> Entry:
        """Add a reference, on the disk when this returns.

        Adding what is there already changes nothing.

        Raises:
            ConfigError: The name is taken (reason ``NameTaken``), or a text cannot be
                stored (``EntryInvalid``).
            SourceError: The folder cannot be written.
        """
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
        )
        catalogue.check_entry(entry)
        with self._locked():
            known = Registry.open(self._root, create=True)._entries
            taken = known.get(name)
            if taken is not None and taken != entry and not replace:
                raise ConfigError(
                    f"reference {quote(name)} exists with fingerprint "
                    f"{taken.fingerprint} and other facts",
                    reason="NameTaken",
                    hint="choose another name, or give --replace",
                )
            write_whole(self._path(entry), fingerprint.encoded)
            known[name] = entry
            write_whole(self._root / _CATALOGUE, catalogue.encode(known))
            self._entries = known
        return entry

    def fingerprint(self, name: str) -> Fingerprint:
        """The fingerprint of one reference.

        Raises:
            SourceRefused: No such reference, or its file is not there (``NotFound``).
            ArtifactError: The file is damaged (``MalformedFingerprint``), or not the
                one that was added (``DigestMismatch``).
        """
        entry = self.entry(name)
        path = self._path(entry)
        data = read_bounded(path, STORED_MAX_BYTES)
        if data is None:
            raise SourceRefused(
                f"fingerprint of reference {quote(name)} is not at {quote(str(path))}",
                reason="NotFound",
                hint="restore the file, or add the reference again",
            )
        if sha256(data) != entry.fingerprint:
            raise ArtifactError(
                f"fingerprint of reference {quote(name)} has the digest "
                f"{sha256(data)}, wanted {entry.fingerprint}",
                reason="DigestMismatch",
                hint="restore the file, or add the reference again with --replace",
                path=str(path),
            )
        return decode_fingerprint(data, path=str(path))

    def references(self) -> ReferenceSet:
        """All fingerprints, every digest checked.

        Raises:
            PedigreeError: As :meth:`fingerprint`; one bad reference is not left out.
        """
        return ReferenceSet({name: self.fingerprint(name) for name in self._entries})

    def verify(self) -> tuple[Problem, ...]:
        """Everything that is wrong with the stored references."""
        problems = []
        for name in sorted(self._entries):
            try:
                self.fingerprint(name)
            except (ArtifactError, SourceRefused) as error:
                problems.append(Problem(name, error.reason, error.message))
        return tuple(problems)

    def _path(self, entry: Entry) -> Path:
        name = f"{entry.fingerprint.hex}.safetensors"
        return self._root / "fingerprints" / name

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with (self._root / ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except PermissionError as error:
            raise SourceRefused(
                f"registry {quote(str(self._root))} cannot be written: "
                f"{error.strerror}",
                reason="Forbidden",
            ) from error
