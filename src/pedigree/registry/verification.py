# SPDX-License-Identifier: Apache-2.0
"""Everything that can be wrong with a registry, found by reading all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pedigree.digests import Digest
from pedigree.errors import ArtifactError, SourceRefused, quote
from pedigree.fingerprint.codec import decode as decode_fingerprint
from pedigree.registry.arrayfile import ArrayFile
from pedigree.registry.bodies import REASON as MALFORMED_PACK
from pedigree.registry.folder import Registry, Table, set_digest
from pedigree.registry.index import NOWHERE, Index
from pedigree.registry.kit_signals import check_signals
from pedigree.registry.state import FILE
from pedigree.registry.writing import Addition


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        name: Of the reference, or of the file.
        reason: Stable word.
        message: Sentence.
    """

    name: str
    reason: str
    message: str


def verify(registry: Registry) -> tuple[Problem, ...]:
    """Read a whole registry and say what is wrong with it.

    Every digest is recomputed: of index files, of packs, of fingerprints, and of the
    set.  Codes and shapes are computed again from the fingerprints, since a wrong one
    would hide a reference from a scan.

    Returns:
        Problems by name; none if all is well.
    """
    problems = [*_files(registry), *_names(registry)]
    for table in registry.tables:
        problems += _references(registry, table)
    if registry.digest != set_digest(registry.tables):
        message = f"set of references has the digest {set_digest(registry.tables)}"
        problems.append(
            Problem(FILE, "DigestMismatch", f"{message}, wanted {registry.digest}")
        )
    return tuple(sorted(problems, key=lambda p: (p.name, p.reason)))


def _files(registry: Registry) -> Iterator[Problem]:
    for table in registry.tables:
        if isinstance(table, Index):
            yield from _file(table.path, table.digest())
            if not table.is_sorted():
                message = f"names in {quote(str(table.path))} do not ascend"
                yield Problem(table.path.name, "MalformedIndex", message)
    packs = {
        place.pack: registry.bodies.path(place)
        for table in registry.tables
        for place in map(table.place, range(table.count))
        if place.pack != NOWHERE
    }
    for path in packs.values():
        try:
            yield from _file(path, ArrayFile(path, reason=MALFORMED_PACK).digest())
        except (ArtifactError, SourceRefused) as error:
            yield Problem(path.name, error.reason, error.message)


def _file(path: Path, got: Digest) -> Iterator[Problem]:
    if got.hex != path.stem:
        yield Problem(
            path.name,
            "DigestMismatch",
            f"file {quote(str(path))} has the digest {got}, wanted its name",
        )


def _names(registry: Registry) -> Iterator[Problem]:
    names = Counter(name for table in registry.tables for name in table.names)
    for name, count in names.items():
        if count > 1:
            message = f"reference {quote(name)} is there {count} times"
            yield Problem(name, "DuplicateName", message)


def _references(registry: Registry, table: Table) -> Iterator[Problem]:
    for number in range(table.count):
        name = table.name(number)
        try:
            yield from _reference(registry, table, number)
        except (ArtifactError, SourceRefused) as error:
            yield Problem(name, error.reason, error.message)


def _reference(registry: Registry, table: Table, number: int) -> Iterator[Problem]:
    entry = table.entry(number)
    body = registry.bodies.read(entry.name, table.place(number))
    if table.is_kit:
        check_signals(body, entry.name)
        return
    made = decode_fingerprint(body, path=entry.name)
    if made.spec != entry.spec:
        message = f"fingerprint of {quote(entry.name)} follows {made.spec}"
        yield Problem(entry.name, "SpecMismatch", f"{message}, wanted {entry.spec}")
    if isinstance(table, Index):
        wanted = Addition.of(entry, made)
        shape = tuple(table.shapes[number].tolist())
        words = np.stack([code[:, number] for code in table.words.values()])
        if shape != wanted.shape or not np.array_equal(words, wanted.words):
            yield Problem(
                entry.name,
                "IndexMismatch",
                f"reference {quote(entry.name)} has another code or shape in the index "
                "than its fingerprint gives; add it again with --replace",
            )
