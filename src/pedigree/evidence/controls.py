# SPDX-License-Identifier: Apache-2.0
"""Which controls a finding or a verdict is evidence for, and what to do about it.

The mapping ages faster than code, so it is data: ``controls.json`` beside this module,
with the date of every source and whether it was read itself or told by others.  It is
read when it is first asked for, and refused as a whole when anything in it is wrong.
A mapping helps to find evidence; it never says that a control is met.
"""

from __future__ import annotations

import json
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn

from pedigree.errors import ConfigError, quote

FILE = "controls.json"
SCHEMA = "pedigree.dev/controls/v1"
_DATE = re.compile(r"\d{4}(?:-\d{2}(?:-\d{2})?)?")
_REASON = re.compile(r"[A-Z][A-Za-z0-9]{2,63}")
_READ = ("primary", "secondary")


@dataclass(frozen=True, slots=True)
class Framework:
    """One publication with controls, risks or duties.

    Attributes:
        id: Short name.
        title: Its own name.
        version: Edition.
        url: Where it is published.
        date: When that edition was published, as far as known: year, month or day.
        read: ``primary`` if the text itself was read, ``secondary`` if others told it.
        note: What a reader must know about the source.
    """

    id: str
    title: str
    version: str
    url: str
    date: str
    read: str
    note: str


@dataclass(frozen=True, slots=True)
class Control:
    """One control, risk or duty of a framework.

    Attributes:
        id: As the framework numbers it.
        framework: Id of the framework.
        text: What it is about, in our own words.
    """

    id: str
    framework: str
    text: str

    def to_dict(self) -> dict[str, str]:
        """JSON form."""
        return {"framework": self.framework, "id": self.id, "text": self.text}


@dataclass(frozen=True, slots=True)
class Guidance:
    """What to do about a finding, and what it is evidence for.

    Attributes:
        reason: Reason of the finding.
        advice: What to do next, one or two sentences.
        subject: What findings of its kind have in common.
        controls: The controls.
    """

    reason: str
    advice: str
    subject: str
    controls: tuple[Control, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The whole mapping.

    Attributes:
        checked: Day on which the sources were last looked at.
        notice: What a mapping is not.
        frameworks: By id.
        controls: By id, in the order of the file.
        findings: Guidance by reason of a finding.
        verdicts: Guidance by reason of a verdict.
    """

    checked: str
    notice: str
    frameworks: Mapping[str, Framework]
    controls: Mapping[str, Control]
    findings: Mapping[str, Guidance]
    verdicts: Mapping[str, Guidance]

    def evidence_for(self, control: str) -> tuple[str, ...]:
        """Reasons of the findings and verdicts that count for a control, sorted."""
        return tuple(
            sorted(
                reason
                for reason, guidance in {**self.verdicts, **self.findings}.items()
                if any(item.id == control for item in guidance.controls)
            )
        )


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """The mapping that ships with this version.

    Raises:
        ConfigError: The file is missing or wrong (``ControlsInvalid``).
    """
    return parse(pkgutil.get_data("pedigree.evidence", FILE) or b"")


def guidance(reason: str) -> Guidance | None:
    """What is known about a reason, of a finding before of a verdict; else None."""
    known = catalogue()
    return known.findings.get(reason) or known.verdicts.get(reason)


def parse(data: bytes) -> Catalogue:
    """Read a mapping.

    Args:
        data: The file, UTF-8.

    Raises:
        ConfigError: Anything in it is not as described (``ControlsInvalid``).
    """
    try:
        document = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        _refuse("the file is not JSON")
    top = _fields(
        document,
        "file",
        (
            *("schema", "checked", "notice", "frameworks", "controls", "groups"),
            *("findings", "verdicts"),
        ),
    )
    if top["schema"] != SCHEMA:
        _refuse(f"schema is {quote(top['schema'])}, wanted {SCHEMA}")
    frameworks = _frameworks(top["frameworks"])
    controls = _controls(top["controls"], frameworks)
    groups = _groups(top["groups"], controls)
    findings = _findings(top["findings"], groups)
    verdicts = _findings(top["verdicts"], groups)
    told = (*findings.values(), *verdicts.values())
    used = {item.id for known in told for item in known.controls}
    if unused := sorted(set(controls) - used):
        _refuse(f"controls {quote(unused)} belong to no finding")
    return Catalogue(
        checked=_date(top["checked"], "checked"),
        notice=_text(top["notice"], "notice"),
        frameworks=MappingProxyType(frameworks),
        controls=MappingProxyType(controls),
        findings=MappingProxyType(findings),
        verdicts=MappingProxyType(verdicts),
    )


def _frameworks(items: object) -> dict[str, Framework]:
    found: dict[str, Framework] = {}
    names = ("id", "title", "version", "url", "date", "read", "note")
    for item in _list(items, "frameworks"):
        fields = _fields(item, "framework", names)
        made = Framework(**{name: _text(fields[name], name) for name in names})
        _date(made.date, f"date of {made.id}")
        if not made.url.startswith("https://") or made.read not in _READ:
            _refuse(f"framework {quote(made.id)} has no https url, or no {_READ}")
        if made.id in found:
            _refuse(f"framework {quote(made.id)} is told twice")
        found[made.id] = made
    return found


def _controls(items: object, frameworks: Mapping[str, object]) -> dict[str, Control]:
    found: dict[str, Control] = {}
    names = ("id", "framework", "text")
    for item in _list(items, "controls"):
        fields = _fields(item, "control", names)
        made = Control(**{name: _text(fields[name], name) for name in names})
        if made.framework not in frameworks or made.id in found:
            _refuse(f"control {quote(made.id)} is told twice, or of no framework")
        found[made.id] = made
    return found


def _groups(
    items: object, controls: Mapping[str, Control]
) -> dict[str, tuple[str, tuple[Control, ...]]]:
    found = {}
    for name, item in _map(items, "groups").items():
        fields = _fields(item, f"group {name}", ("title", "controls"))
        ids = [_text(entry, "control") for entry in _list(fields["controls"], name)]
        if unknown := sorted(set(ids) - set(controls)):
            _refuse(f"group {quote(name)} names unknown controls {quote(unknown)}")
        if not ids or len(set(ids)) < len(ids):
            _refuse(f"group {quote(name)} names no control, or one twice")
        title = _text(fields["title"], f"title of {name}")
        found[name] = (title, tuple(controls[entry] for entry in ids))
    return found


def _findings(
    items: object, groups: Mapping[str, tuple[str, tuple[Control, ...]]]
) -> dict[str, Guidance]:
    found = {}
    for reason, item in _map(items, "findings").items():
        fields = _fields(item, f"finding {reason}", ("group", "advice"))
        group = _text(fields["group"], "group")
        if not _REASON.fullmatch(reason) or group not in groups:
            _refuse(f"finding {quote(reason)} is no reason, or of no group")
        subject, controls = groups[group]
        advice = _text(fields["advice"], f"advice of {reason}")
        found[reason] = Guidance(reason, advice, subject, controls)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A map whose keys are told once: the last of two would hide the other."""
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse(f"a map among {quote(sorted(found), 120)} tells a key twice")
    return found


def _fields(value: object, what: str, names: tuple[str, ...]) -> dict[str, Any]:
    fields = _map(value, what)
    if set(fields) != set(names):
        _refuse(f"{what} has fields {quote(sorted(fields))}, wanted {quote(names)}")
    return fields


def _map(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(f"{what} is {quote(value, 64)}, wanted a map")
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(f"{what} is {quote(value, 64)}, wanted a list")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        _refuse(f"{what} is {quote(value, 64)}, wanted a text")
    return value


def _date(value: object, what: str) -> str:
    text = _text(value, what)
    if not _DATE.fullmatch(text):
        _refuse(f"{what} is {quote(text)}, wanted a date such as 2026-07-15")
    return text


def _refuse(problem: str) -> NoReturn:
    raise ConfigError(
        f"mapping of findings to controls {FILE} cannot be used: {problem}",
        reason="ControlsInvalid",
        hint="install Pedigree again",
    )
