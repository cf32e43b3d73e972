# SPDX-License-Identifier: Apache-2.0
"""What entries can be found by: facets of an entry, and filters over them.

The service keeps facets in indexed columns, and ``pedigree audit`` computes them from a
file; both ask this module, so that both find the same entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from pedigree.errors import LedgerError, quote
from pedigree.ledger.entry import format_time
from pedigree.lineage.classes import LineageClass

VALUE_MAX_CHARS = 1024
DESCENDING = frozenset(str(c) for c in LineageClass if c.descends)


@dataclass(frozen=True, slots=True)
class Facets:
    """What one entry can be found by; a text is empty where the entry has none.

    Attributes:
        kind: ``Admission`` or ``Judgement``.
        time: When it was decided; RFC 3339, so that texts compare as times.
        namespace: Of the object.
        name: Of the object.
        uid: Of the object.
        decision: ``Allow``, ``Warn``, ``Hold`` or ``Deny``.
        result: Of the verdict.
        reason: Of the verdict.
        user: Who asked, for admissions.
        digests: Model digests and root digests of the models.
        ancestors: References the models descend from (``Identical``, ``Derived``).
    """

    kind: str
    time: str
    namespace: str
    name: str
    uid: str
    decision: str
    result: str
    reason: str
    user: str
    digests: frozenset[str]
    ancestors: frozenset[str]


def facets_of(entry: Mapping[str, Any]) -> Facets:
    """The facets of a valid entry."""
    about = entry["object"]
    verdict = entry["verdict"] or {}
    models = entry["models"]
    return Facets(
        kind=entry["kind"],
        time=entry["time"],
        namespace=about["namespace"],
        name=about["name"],
        uid=about["uid"],
        decision=entry["decision"],
        result=verdict.get("result", ""),
        reason=verdict.get("reason", ""),
        user=(entry.get("request") or {}).get("user", ""),
        digests=frozenset(
            model[field]
            for model in models
            for field in ("digest", "rootDigest")
            if model.get(field)
        ),
        ancestors=frozenset(
            match["reference"]
            for model in models
            for match in model["ancestors"]
            if match["lineage"] in DESCENDING
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which entries are wanted; None asks for any.

    Attributes:
        kind: As in :class:`Facets`; so are the other names.
        since: Decided at this time or later.
        until: Decided before this time.
        digest: One of the models has this digest or root digest.
        ancestor: One of the models descends from this reference.
    """

    kind: str | None = None
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    decision: str | None = None
    result: str | None = None
    reason: str | None = None
    user: str | None = None
    digest: str | None = None
    ancestor: str | None = None
    since: str | None = None
    until: str | None = None

    def __post_init__(self) -> None:
        """Bring times to one form.

        Raises:
            LedgerError: A value is no filter (reason ``FilterInvalid``).
        """
        for field in ("since", "until"):
            if (text := getattr(self, field)) is not None:
                object.__setattr__(self, field, normal_time(text, field))
        for name, value in self.given().items():
            if len(value) > VALUE_MAX_CHARS or not _is_unicode(value):
                raise LedgerError(
                    f"filter {name} is {quote(value, 80)}, wanted at most "
                    f"{VALUE_MAX_CHARS} Unicode characters",
                    reason="FilterInvalid",
                )

    def given(self) -> dict[str, str]:
        """The filters that are set, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def match(self, facets: Facets) -> bool:
        """Whether an entry with these facets is wanted."""
        return all(_holds(facets, *wanted) for wanted in self.given().items())


def _holds(facets: Facets, name: str, value: str) -> bool:
    match name:
        case "since":
            return facets.time >= value
        case "until":
            return facets.time < value
        case "digest":
            return value in facets.digests
        case "ancestor":
            return value in facets.ancestors
        case _:
            return bool(getattr(facets, name) == value)


def normal_time(text: str, field: str) -> str:
    """A time or date as entries write it: UTC, milliseconds, ``Z``.

    Raises:
        LedgerError: It is neither (reason ``FilterInvalid``).
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return format_time(moment)
    except (ValueError, OverflowError) as error:
        raise LedgerError(
            f"filter {field} is {quote(text, 80)}, wanted a time such as "
            "2026-11-23T04:05:06Z or a date such as 2026-11-23",
            reason="FilterInvalid",
        ) from error


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
