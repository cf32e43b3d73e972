# SPDX-License-Identifier: Apache-2.0
"""References that travel: one file for many, and registries brought together.

What comes from elsewhere is not believed: every digest is recomputed, every fingerprint
decoded, and codes and shapes are computed again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from pedigree.digests import sha256
from pedigree.errors import ArtifactError, ConfigError, SourceRefused, quote
from pedigree.fingerprint.codec import STORED_MAX_BYTES
from pedigree.fingerprint.codec import decode as decode_fingerprint
from pedigree.registry.arrayfile import ArrayFile, Chunks, array_path, write_arrays
from pedigree.registry.catalogue import Entry, decode_entry, encode_entry
from pedigree.registry.folder import Registry, Table
from pedigree.registry.kit_signals import check_signals
from pedigree.registry.writing import Addition, add_all

SCHEMA = "pedigree.dev/registry-export/v1"
REASON = "MalformedExport"
RECORD_MAX_BYTES = 100_000


class OnConflict(StrEnum):
    """What happens to a reference whose name stands for something else here."""

    FAIL = "fail"
    KEEP = "keep"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Conflict:
    """One name that stands for two things."""

    name: str
    ours: Entry
    theirs: Entry


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did.

    Attributes:
        added: References that were new, replaced ones included.
        same: References that were there already.
        conflicts: Names that stood for something else, settled as was asked.
    """

    added: int
    same: int
    conflicts: tuple[Conflict, ...]


def export_file(registry: Registry, path: Path, names: Sequence[str] = ()) -> int:
    """Write references to one file.

    Args:
        registry: Where they are.
        path: The file; replaced if it is there.
        names: Which; all if empty.

    Returns:
        How many were written.

    Raises:
        SourceRefused: There is no reference of a name (reason ``NotFound``).
        PedigreeError: A reference is damaged, or the file cannot be written.
    """
    found = sorted(_chosen(registry, names), key=lambda item: item[0].name(item[1]))
    records = [encode_entry(table.entry(number)) for table, number in found]
    sizes = [len(_body(registry, item)) for item in found]
    bodies = (_body(registry, item) for item in found)
    digest = write_arrays(
        path.parent,
        {
            "body.end": np.cumsum(sizes, dtype="<i8"),
            "body.bytes": Chunks(sum(sizes), bodies),
            "record.end": np.cumsum([len(r) for r in records], dtype="<i8"),
            "record.text": np.frombuffer(b"".join(records), np.uint8),
        },
        {"schema": SCHEMA, "references": len(found)},
    )
    array_path(path.parent, digest).replace(path)
    return len(found)


def _chosen(registry: Registry, names: Sequence[str]) -> Iterator[tuple[Table, int]]:
    if not names:
        for table in registry.tables:
            yield from ((table, number) for number in range(table.count))
        return
    for name in dict.fromkeys(names):
        found = registry.find(name)
        if found is None:
            registry.entry(name)  # says what is missing
        else:
            yield found


def _body(registry: Registry, item: tuple[Table, int]) -> bytes:
    table, number = item
    return registry.bodies.read(table.name(number), table.place(number))


def read_references(path: Path) -> Iterator[Addition]:
    """The references of an exported file, or of the folder of another registry.

    Raises:
        ArtifactError: A digest is wrong (``DigestMismatch``), or the file is damaged.
        SourceError: It is not there, or cannot be read.
    """
    if path.is_dir():
        registry = Registry.open(path)
        for item in _chosen(registry, ()):
            entry = item[0].entry(item[1])
            yield checked(entry, _body(registry, item))
        return
    file = ArrayFile(path, reason=REASON)
    _check_schema(file)
    pieces = zip(
        _pieces(file, "record", "text", RECORD_MAX_BYTES),
        _pieces(file, "body", "bytes", STORED_MAX_BYTES),
        strict=True,
    )
    for record, body in pieces:
        try:
            entry = decode_entry(record)
        except ValueError as error:
            raise file.damaged(f"an entry: {error}") from error
        yield checked(entry, body)


def checked(entry: Entry, body: bytes) -> Addition:
    """An addition of something that came from elsewhere.

    Raises:
        ArtifactError: The fingerprint is not the one that the entry names
            (``DigestMismatch``, ``SpecMismatch``), or cannot be read.
    """
    if sha256(body) != entry.fingerprint:
        raise ArtifactError(
            f"fingerprint of reference {quote(entry.name)} has the digest "
            f"{sha256(body)}, wanted {entry.fingerprint}",
            reason="DigestMismatch",
            hint="get the file again",
        )
    if entry.is_kit:
        check_signals(body, entry.name)
        return Addition.of_kit(entry, body)
    made = decode_fingerprint(body, path=entry.name)
    if made.spec != entry.spec:
        raise ArtifactError(
            f"fingerprint of reference {quote(entry.name)} follows {made.spec}, "
            f"wanted {quote(entry.spec)}",
            reason="SpecMismatch",
        )
    return Addition.of(entry, made)


def _check_schema(file: ArrayFile) -> None:
    try:
        schema = json.loads(file.metadata)["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(
            f"file {quote(str(file.path))} does not say what it is, wanted {SCHEMA}",
            reason=REASON,
            hint="give a file that `pedigree registry export` wrote",
        ) from error
    if schema != SCHEMA:
        raise ArtifactError(
            f"file {quote(str(file.path))} has the schema {quote(schema)}, "
            f"understood is {SCHEMA}",
            reason="UnsupportedExport",
            path=str(file.path),
        )


def _pieces(file: ArrayFile, name: str, what: str, most: int) -> Iterator[bytes]:
    ends = file.array(f"{name}.end", "I64", None)
    data = file.array(f"{name}.{what}", "U8", None)
    begin = 0
    for end in map(int, ends):
        if not begin <= end <= len(data) or end - begin > most:
            raise file.damaged(f"array {name}.end has {end} after {begin}")
        yield data[begin:end].tobytes()
        begin = end


def merge(root: Path, incoming: Iterable[Addition], on_conflict: OnConflict) -> Merged:
    """Bring references into a registry: all of them or, on an error, none.

    Args:
        root: Folder of the registry; made if it is not there.
        incoming: What comes.
        on_conflict: What to do where a name stands for something else already.

    Raises:
        ConfigError: There are conflicts, and ``on_conflict`` is ``fail`` (reason
            ``MergeConflict``).
        PedigreeError: Something is damaged or away.
    """
    registry = Registry.open(root, create=True)
    conflicts: list[Conflict] = []
    same = 0

    def wanted() -> Iterator[Addition]:
        nonlocal same
        for addition in incoming:
            found = registry.find(addition.entry.name)
            ours = found[0].entry(found[1]) if found else None
            if ours == addition.entry:
                same += 1
                continue
            if ours is not None:
                conflicts.append(Conflict(ours.name, ours, addition.entry))
                if on_conflict is not OnConflict.REPLACE:
                    continue
            yield addition
        if conflicts and on_conflict is OnConflict.FAIL:
            raise _refused(root, conflicts)

    added = add_all(root, wanted(), replace=on_conflict is OnConflict.REPLACE)
    return Merged(added, same, tuple(conflicts))


def _refused(root: Path, conflicts: Sequence[Conflict]) -> ConfigError:
    first = conflicts[0]
    return ConfigError(
        f"{len(conflicts)} names stand for something else in registry "
        f"{quote(str(root))}, the first is {quote(first.name)} with fingerprint "
        f"{first.ours.fingerprint} here and {first.theirs.fingerprint} there",
        reason="MergeConflict",
        hint="give --on-conflict keep or replace",
    )


def require_there(path: Path) -> None:
    """Refuse a path that is not there before anything is changed.

    Raises:
        SourceRefused: Nothing is there (reason ``NotFound``).
    """
    if not path.exists():
        raise SourceRefused(
            f"there is nothing at {quote(str(path))}, wanted an exported file or the "
            "folder of a registry",
            reason="NotFound",
        )
