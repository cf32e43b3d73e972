# SPDX-License-Identifier: Apache-2.0
"""The one file of a registry that changes: which index files it consists of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pedigree.digests import Digest, canonical_json
from pedigree.errors import ArtifactError, quote
from pedigree.registry.files import read_bounded, write_whole

SCHEMA = "pedigree.dev/registry/v2"
FILE = "registry.json"
STATE_MAX_BYTES = 1_000_000
"""Room for 10,000 index files; a registry has about one per doubling."""


@dataclass(frozen=True, slots=True)
class State:
    """What ``registry.json`` says.

    Attributes:
        index: Digests of the index files.
        digest: Identity of the set of references; entries of the kit do not count.
        references: How many there are, entries of the kit included.
    """

    index: tuple[Digest, ...]
    digest: Digest
    references: int


def read_state(root: Path) -> State | None:
    """The state of a registry, or None if the folder has none.

    Raises:
        ArtifactError: It cannot be understood (``MalformedCatalogue``), or is of
            another version (``UnsupportedCatalogue``).
        SourceError: It cannot be read.
    """
    path = root / FILE
    data = read_bounded(path, STATE_MAX_BYTES)
    if data is None:
        return None
    try:
        document = json.loads(data[:STATE_MAX_BYTES])
        schema = document["schema"]
        if schema != SCHEMA:
            _refuse(
                path,
                f"has the schema {quote(schema)}, understood is {SCHEMA}",
                "UnsupportedCatalogue",
            )
        index = tuple(Digest.parse(text) for text in document["index"])
        digest = Digest.parse(document["digest"])
        references = int(document["references"])
    except (
        AttributeError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        _refuse(path, f"cannot be read: {type(error).__name__}", "MalformedCatalogue")
    return State(index, digest, references)


def write_state(root: Path, state: State) -> None:
    """Replace the state; from now on a reader sees the new registry.

    Raises:
        SourceError: The folder cannot be written.
    """
    document = {
        "schema": SCHEMA,
        "index": [str(digest) for digest in state.index],
        "digest": str(state.digest),
        "references": state.references,
    }
    write_whole(root / FILE, canonical_json(document) + b"\n")


def _refuse(path: Path, got: str, reason: str) -> NoReturn:
    raise ArtifactError(
        f"catalogue {quote(str(path))} {got}",
        reason=reason,
        hint="restore it from a copy, or add the references again",
        path=str(path),
    )
