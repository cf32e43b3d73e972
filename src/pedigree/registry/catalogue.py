# SPDX-License-Identifier: Apache-2.0
"""The catalogue of a registry: what is known of each reference besides its weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pedigree.digests import Digest, canonical_json
from pedigree.errors import ArtifactError, ConfigError, quote

SCHEMA_V1 = "pedigree.dev/registry/v1"
_NOT_AS_WRITTEN = (
    AttributeError,  # a value of another type stands where a map was
    ConfigError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What reading an entry that somebody else wrote can end with."""
KIT_SPEC = "pedigree.dev/kit-signals/v1"
"""What an entry holds whose signals come from the Model Provenance Kit."""
CATALOGUE_MAX_BYTES = 64_000_000
"""Of the first version, which was one JSON document."""
TEXT_MAX_CHARS = 253
ADVISORY_MAX_CHARS = 1000
LIST_MAX = 32
"""Aliases, parents or advisories of one reference."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,252}")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class Parent:
    """Where a model comes from, as far as somebody said so.

    Attributes:
        name: Of a reference, which need not be in the registry.
        relation: What was done, such as ``fine-tune``.
    """

    name: str
    relation: str


@dataclass(frozen=True, slots=True)
class Advisory:
    """A warning that comes with a model and everything that descends from it."""

    id: str
    text: str


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
        parents: What it is said to descend from.
        advisories: What is known against it.
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
    parents: tuple[Parent, ...] = ()
    advisories: tuple[Advisory, ...] = ()

    @property
    def is_kit(self) -> bool:
        """Whether it holds signals of the kit, not a fingerprint."""
        return self.spec == KIT_SPEC

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
            "parents": [
                {"name": parent.name, "relation": parent.relation}
                for parent in self.parents
            ],
            "advisories": [{"id": a.id, "text": a.text} for a in self.advisories],
        }


def check_entry(entry: Entry) -> None:
    """Refuse an entry that could not be stored or shown.

    Raises:
        ConfigError: A name or text is too long or has other characters (reason
            ``EntryInvalid``).
    """
    for name in (entry.name, *(parent.name for parent in entry.parents)):
        if not _NAME.fullmatch(name) or ".." in name:
            raise ConfigError(
                f"reference name is {quote(name)}, wanted letters, digits and ._/- "
                f"starting with a letter or digit, at most {TEXT_MAX_CHARS}",
                reason="EntryInvalid",
            )
    words = [parent.relation for parent in entry.parents]
    for word in words:
        if not _WORD.fullmatch(word):
            raise _invalid(entry, f"the relation {quote(word, 80)}", "a word")
    texts = (entry.family, entry.publisher, entry.license, *entry.aliases)
    for text in (*texts, *(a.id for a in entry.advisories)):
        if len(text) > TEXT_MAX_CHARS or not text.isprintable():
            wanted = f"printable characters, at most {TEXT_MAX_CHARS}"
            raise _invalid(entry, f"the text {quote(text, 80)}", wanted)
    for advisory in entry.advisories:
        text = advisory.text
        if len(text) > ADVISORY_MAX_CHARS or not text.isprintable() or not advisory.id:
            wanted = f"an id and printable text of at most {ADVISORY_MAX_CHARS}"
            raise _invalid(entry, f"the advisory {quote(text, 80)}", wanted)
    for what in ("aliases", "parents", "advisories"):
        count = len(getattr(entry, what))
        if count > LIST_MAX:
            raise _invalid(entry, f"{count} {what}", f"at most {LIST_MAX}")


def _invalid(entry: Entry, got: str, wanted: str) -> ConfigError:
    return ConfigError(
        f"reference {quote(entry.name)} has {got}, wanted {wanted}",
        reason="EntryInvalid",
    )


def encode_entry(entry: Entry) -> bytes:
    """The stored form of one entry: canonical JSON."""
    return canonical_json(entry.to_dict())


def decode_entry(data: bytes | memoryview) -> Entry:
    """Read a stored entry.

    Raises:
        ValueError: It is not one.
    """
    try:
        entry = _entry(orjson.loads(data))
        check_entry(entry)
    except _NOT_AS_WRITTEN as error:
        raise ValueError(f"{type(error).__name__}: {str(error)[:300]}") from error
    return entry


def decode_v1(data: bytes, *, path: str) -> dict[str, Entry]:
    """Read a catalogue of the first version.

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
        if schema != SCHEMA_V1:
            raise ArtifactError(
                f"catalogue {quote(path)} has the schema {quote(schema)}, "
                f"understood is {SCHEMA_V1}",
                reason="UnsupportedCatalogue",
                path=path,
            )
        entries = [_entry(item) for item in document["references"]]
        for entry in entries:
            check_entry(entry)
        by_name = {entry.name: entry for entry in entries}
        if len(by_name) != len(entries):
            raise ValueError("a name is there twice")
    except _NOT_AS_WRITTEN as error:
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
    parents = (Parent(**_texts(p)) for p in item.get("parents", ()))
    advisories = (Advisory(**_texts(a)) for a in item.get("advisories", ()))
    return Entry(
        name=_text(item["name"]),
        fingerprint=Digest.parse(_text(item["fingerprint"]["digest"])),
        spec=_text(item["fingerprint"]["spec"]),
        aliases=tuple(_text(alias) for alias in item.get("aliases", ())),
        parents=tuple(parents),
        advisories=tuple(advisories),
        **texts,
    )


def _texts(item: Mapping[str, Any]) -> dict[str, str]:
    return {key: _text(value) for key, value in item.items()}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{quote(value, 40)} is not a text")
    return value
