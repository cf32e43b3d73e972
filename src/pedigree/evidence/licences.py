# SPDX-License-Identifier: Apache-2.0
"""What common licences of base models ask of derivatives: indicators, no legal advice.

The terms are data, ``licences.json`` beside this module, each with its source, the date
of its text and whether the text itself was read.  Looked at are names and presence of
files only.  The base that the weights show decides; a declared base counts only where
the weights show none.
"""

from __future__ import annotations

import json
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NoReturn

from pedigree.errors import ConfigError, quote
from pedigree.evidence.terms import Claim, Finding, Severity

FILE = "licences.json"
SCHEMA = "pedigree.dev/licences/v1"
DIFFERS = "LicenceDiffersFromBase"
NAME_PREFIX = "NamePrefixMissing"
NOTICE = "NoticeMissing"
_FIELDS = frozenset({"license", "licenseName"})
"""Fields of claims that name a licence."""
_UNCHANGED = frozenset({"Copy", "Identical", "Quantised"})
"""Relations in which the weights are those of the base in another storage."""
_LICENCE_FILE = re.compile(r"licen[cs]e|copying", re.IGNORECASE)
_NOTICE_FILE = re.compile(r"notice", re.IGNORECASE)
_DATE = re.compile(r"\d{4}(?:-\d{2}(?:-\d{2})?)?")


class Propagation(StrEnum):
    """What of a licence goes on to derivatives."""

    NOTICES = "notices"
    """Notices are kept; a derivative may be under other terms."""
    RESTRICTIONS = "restrictions"
    """Restrictions of use go on, whatever other terms are added."""
    AGREEMENT = "agreement"
    """The agreement itself goes with every derivative."""
    NONCOMMERCIAL = "noncommercial"
    """As the agreement, and commercial use is excluded."""


_GOES_ON = {
    Propagation.NOTICES: "whose notices stay with derivatives",
    Propagation.RESTRICTIONS: "whose restrictions of use stay with derivatives",
    Propagation.AGREEMENT: "which itself stays with derivatives",
    Propagation.NONCOMMERCIAL: "which excludes commercial use of derivatives",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """One licence.

    Attributes:
        id: As model cards name it.
        title: Its own name.
        aliases: Other spellings, in lower case.
        propagation: What goes on to derivatives.
        licence_file: Whether a copy of its text goes with them.
        notice: How the notice begins that they carry in a file; empty for none.
        name_prefix: What names of models that were made with it begin with, or empty.
        attribution: Words that must be displayed, or empty.
        url: Where its text is.
        date: Of the text: year, month or day.
        read: ``primary`` if the text was read, ``secondary`` if others told it.
        note: What a reader must know about the source.
    """

    id: str
    title: str
    aliases: tuple[str, ...]
    propagation: Propagation
    licence_file: bool
    notice: str
    name_prefix: str
    attribution: str
    url: str
    date: str
    read: str
    note: str

    @property
    def goes_on(self) -> str:
        """What stays with derivatives, as the end of a sentence on the licence."""
        return _GOES_ON[self.propagation]


@dataclass(frozen=True, slots=True)
class Base:
    """A model that another descends from, or says so.

    Attributes:
        name: Of the reference.
        license: Its licence, as the reference states it.
        relation: Kind of descent, where the weights tell; else empty.
        verified: Whether the weights show the descent.
    """

    name: str
    license: str
    relation: str = ""
    verified: bool = True


@lru_cache(maxsize=1)
def licences() -> Mapping[str, Licence]:
    """All licences of this version, by id and by alias, in lower case.

    Raises:
        ConfigError: The file is missing or wrong (``LicencesInvalid``).
    """
    return parse(pkgutil.get_data("pedigree.evidence", FILE) or b"")


def known_licence(text: str) -> Licence | None:
    """The licence that a name means; None for one that is not known here."""
    return licences().get(" ".join(text.split()).casefold())


def licence_indicators(
    claims: Iterable[Claim],
    bases: Sequence[Base],
    files: Iterable[str] | None,
    names: Sequence[str] = (),
) -> list[Finding]:
    """What a model lacks of what the licences of its bases ask for.

    Args:
        claims: What the model's files declare.
        bases: Models it descends from; unverified ones count only without others.
        files: Paths of its files; None when they are not known.
        names: What it is published as; nothing is said of names without.

    Returns:
        Findings of severity Info or Warning, each with the words "indicator, not
        legal advice".  What is not known here gives none.
    """
    paths = None if files is None else tuple(files)
    declared = _declared(claims)
    deciding = [base for base in bases if base.verified] or list(bases)
    found: list[Finding] = []
    told: set[str] = set()
    for base in deciding:  # relatives of one family are under one licence
        licence = known_licence(base.license)
        if licence is not None and licence.id not in told:
            told.add(licence.id)
            found += _differs(licence, base, declared)
            found += _name(licence, base, names)
            found += _files(licence, base, paths)
    return found


def _declared(claims: Iterable[Claim]) -> dict[str, tuple[Licence, Claim]]:
    """Known licences that are declared, each with one claim that does."""
    found: dict[str, tuple[Licence, Claim]] = {}
    for claim in claims:
        licence = known_licence(claim.value) if claim.field in _FIELDS else None
        if licence is not None:
            found.setdefault(licence.id, (licence, claim))
    return found


def _differs(
    licence: Licence, base: Base, declared: Mapping[str, tuple[Licence, Claim]]
) -> Iterator[Finding]:
    if licence.id in declared:
        return
    severe = licence.propagation is not Propagation.NOTICES
    for other, claim in declared.values():
        yield _finding(
            DIFFERS,
            Severity.WARNING if severe else Severity.INFO,
            claim.source,
            f"{quote(claim.source, 80)} declares the licence {quote(claim.value, 64)} "
            f"({other.title}), but {_said(base)} is under {licence.title}, "
            f"{licence.goes_on}",
        )


def _name(licence: Licence, base: Base, names: Sequence[str]) -> Iterator[Finding]:
    wanted = _letters(licence.name_prefix)
    called = [name for name in names if _letters(name)]
    if not wanted or any(_letters(name).startswith(wanted) for name in called):
        return
    if called:
        same = base.relation in _UNCHANGED
        yield _finding(
            NAME_PREFIX,
            Severity.INFO if same else Severity.WARNING,
            "",
            f"the model is called {quote(called[0], 80)}, but {_said(base)} is under "
            f"{licence.title}, which wants names of models made with it to begin with "
            f"{quote(licence.name_prefix)}",
        )


def _files(
    licence: Licence, base: Base, paths: Sequence[str] | None
) -> Iterator[Finding]:
    if paths is None:
        return
    missing = []
    if licence.licence_file and not _has(paths, _LICENCE_FILE):
        missing.append("file with the text of the licence")
    if licence.notice and not _has(paths, _NOTICE_FILE):
        missing.append(f"notice file that says {quote(licence.notice, 120)}")
    if missing:
        severe = licence.propagation is not Propagation.NOTICES
        yield _finding(
            NOTICE,
            Severity.WARNING if severe else Severity.INFO,
            "",
            f"the model has no {' and no '.join(missing)}, but {_said(base)} is under "
            f"{licence.title}, which wants that",
        )


def _has(paths: Sequence[str], pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(PurePosixPath(path).name) for path in paths)


def _letters(text: str) -> str:
    """Letters and digits alone: ``Llama 3`` and ``llama-3`` are one beginning."""
    return "".join(filter(str.isalnum, text.casefold()))


def _said(base: Base) -> str:
    """What the base is and how that is known."""
    kind = "its base" if base.verified else "the base that it declares"
    return f"{kind} {quote(base.name, 80)}"


def _finding(reason: str, severity: Severity, path: str, message: str) -> Finding:
    return Finding(reason, severity, path, f"{message} (indicator, not legal advice)")


def parse(data: bytes) -> Mapping[str, Licence]:
    """Read the terms of licences.

    Args:
        data: The file, UTF-8.

    Raises:
        ConfigError: Anything in it is not as described (``LicencesInvalid``).
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        _refuse("the file is not JSON")
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        _refuse(f"it has another schema than {SCHEMA}")
    items = document.get("licences")
    if not isinstance(items, list) or not items:
        _refuse("it lists no licences")
    found: dict[str, Licence] = {}
    for item in items:
        licence = _licence(item)
        for name in (licence.id, *licence.aliases):
            if name in found or name != " ".join(name.split()).casefold():
                _refuse(f"name {quote(name)} is told twice, or not in lower case")
            found[name] = licence
    return MappingProxyType(found)


def _licence(item: object) -> Licence:
    names = {
        *("id", "title", "aliases", "propagation", "licenceFile", "notice"),
        *("namePrefix", "attribution", "url", "date", "read", "note"),
    }
    if not isinstance(item, dict) or set(item) != names:
        _refuse(f"{quote(item, 120)} has other fields than {quote(sorted(names))}")
    fields: dict[str, Any] = item
    texts = {name: fields[name] for name in names - {"aliases", "licenceFile"}}
    aliases = fields["aliases"]
    if (
        not all(isinstance(text, str) for text in texts.values())
        or not isinstance(aliases, list)
        or not all(isinstance(alias, str) for alias in aliases)
        or not isinstance(fields["licenceFile"], bool)
        or texts["propagation"] not in set(Propagation)
        or texts["read"] not in ("primary", "secondary")
        or not _DATE.fullmatch(texts["date"])
        or not texts["url"].startswith("https://")
    ):
        _refuse(f"a field of {quote(texts['id'], 64)} is not of its kind")
    return Licence(
        id=texts["id"],
        title=texts["title"],
        aliases=tuple(aliases),
        propagation=Propagation(texts["propagation"]),
        licence_file=fields["licenceFile"],
        notice=texts["notice"],
        name_prefix=texts["namePrefix"],
        attribution=texts["attribution"],
        url=texts["url"],
        date=texts["date"],
        read=texts["read"],
        note=texts["note"],
    )


def _refuse(problem: str) -> NoReturn:
    raise ConfigError(
        f"terms of licences {FILE} cannot be used: {problem}",
        reason="LicencesInvalid",
        hint="install Pedigree again",
    )
