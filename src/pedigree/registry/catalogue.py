# SPDX-License-Identifier: Apache-2.0
"""The catalogue of a registry: what is known of each reference besides its weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pedigree.digests import Digest, canonical_json
from pedigree.errors import ArtifactError, ConfigError, quote

SCHEMA = "pedigree.dev/registry/v1"
CATALOGUE_MAX_BYTES = 64_000_000
"""Room for 100,000 entries of 600 bytes."""
TEXT_MAX_CHARS = 253
ALIASES_MAX = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,252}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One known model.

    Attributes:
        name: Unique in the registry; letters, digits and ``._/-``.
        fingerprint: Digest of its fingerprint.
        spec: Format of the fingerprint.
        model: Root digest of its files, or empty if not known.
        source: Where its weights were read, or empty.
        family: Models that belong together, such as all sizes of one release.
        publisher: Who published it.
        license: SPDX expression or the publisher's own name for it.
        aliases: Names people claim for it.
    """

    name: str
    fingerprint: Digest
    spec: str
    model: str = ""
    source: str = ""
    family: str = ""
    publisher: str = ""
    license: str = ""  # - the field's own name
    aliases: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "name": self.name,
            "fingerprint": {"digest": str(self.fingerprint), "spec": self.spec},
            "model": self.model,
            "source": self.source,
            "family": self.family,
            "publisher": self.publisher,
            "license": self.license,
            "aliases": list(self.aliases),
        }


def check_entry(entry: Entry) -> None:
    """Refuse an entry that could not be stored or shown.

    Raises:
        ConfigError: A name or text is too long or has other characters (reason
            ``EntryInvalid``).
    """
    if not _NAME.fullmatch(entry.name) or ".." in entry.name:
        raise ConfigError(
            f"reference name is {quote(entry.name)}, wanted letters, digits and ._/- "
            f"starting with a letter or digit, at most {TEXT_MAX_CHARS}",
            reason="EntryInvalid",
        )
    texts = (entry.family, entry.publisher, entry.license, *entry.aliases)
    for text in texts:
        if len(text) > TEXT_MAX_CHARS or not text.isprintable():
            raise ConfigError(
                f"reference {quote(entry.name)} has the text {quote(text, 80)}, wanted "
                f"printable characters, at most {TEXT_MAX_CHARS}",
                reason="EntryInvalid",
            )
    if len(entry.aliases) > ALIASES_MAX:
        raise ConfigError(
            f"reference {quote(entry.name)} has {len(entry.aliases)} aliases, "
            f"allowed are {ALIASES_MAX}",
            reason="EntryInvalid",
        )


def encode(entries: Mapping[str, Entry]) -> bytes:
    """The stored catalogue: canonical JSON, entries by name."""
    ordered = [entries[name].to_dict() for name in sorted(entries)]
    return canonical_json({"schema": SCHEMA, "references": ordered}) + b"\n"


def decode(data: bytes, *, path: str) -> dict[str, Entry]:
    """Read a stored catalogue.

    Raises:
        ArtifactError: It is not one (reason ``MalformedCatalogue``), of another
            version (``UnsupportedCatalogue``), or too long (``LimitExceeded``).
    """
    if len(data) > CATALOGUE_MAX_BYTES:
        raise ArtifactError(
            f"catalogue {quote(path)} is over {CATALOGUE_MAX_BYTES} bytes",
            reason="LimitExceeded",
            path=path,
        )
    try:
        document = json.loads(data)
        schema = document["schema"]
        if schema != SCHEMA:
            raise ArtifactError(
                f"catalogue {quote(path)} has the schema {quote(schema)}, "
                f"understood is {SCHEMA}",
                reason="UnsupportedCatalogue",
                path=path,
            )
        entries = [_entry(item) for item in document["references"]]
        for entry in entries:
            check_entry(entry)
        by_name = {entry.name: entry for entry in entries}
        if len(by_name) != len(entries):
            raise ValueError("a name is there twice")
    except (KeyError, TypeError, ValueError, RecursionError, ConfigError) as error:
        raise ArtifactError(
            f"catalogue {quote(path)} cannot be read: {type(error).__name__}: "
            f"{str(error)[:300]}",
            reason="MalformedCatalogue",
            hint="restore it from a copy, or add the references again",
            path=path,
        ) from error
    return by_name


def _entry(item: Mapping[str, Any]) -> Entry:
    texts = {
        key: _text(item.get(key, ""))
        for key in ("model", "source", "family", "publisher", "license")
    }
    return Entry(
        name=_text(item["name"]),
        fingerprint=Digest.parse(_text(item["fingerprint"]["digest"])),
        spec=_text(item["fingerprint"]["spec"]),
        aliases=tuple(_text(alias) for alias in item.get("aliases", ())),
        **texts,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{quote(value, 40)} is not a text")
    return value
