# SPDX-License-Identifier: Apache-2.0
"""Ledger entries: what webhook and operator write down, in one bounded form.

An entry is plain JSON (``docs/audit.md`` is normative).  The two ``..._entry``
functions build one that always fits: long texts are clipped and long lists cut, and
then the entry says ``truncated``.  :func:`validate`, of :mod:`pedigree.ledger.form`, is
for entries that come from elsewhere.

Nothing here stores, sends or hashes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pedigree.errors import LedgerError
from pedigree.evidence import Match, match_to_dict
from pedigree.ledger.form import (
    MODELS_MAX,
    NAME_MAX_CHARS,
    SCHEMA,
    URI_MAX_CHARS,
    USER_MAX_CHARS,
    EntryKind,
    encode,
    validate,
)

__all__ = [
    "SCHEMA",
    "EntryKind",
    "EntryModel",
    "EntryObject",
    "EntryRequest",
    "admission_entry",
    "encode",
    "format_time",
    "judgement_entry",
    "validate",
]

GROUPS_MAX = 32


@dataclass(frozen=True, slots=True)
class EntryObject:
    """The object an entry is about; name and uid are empty while it has none."""

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class EntryModel:
    """One model of that object, and what was known of it at that time."""

    name: str
    uri: str
    digest: str = ""
    ancestors: Sequence[Match] = ()
    root_digest: str = ""


@dataclass(frozen=True, slots=True)
class EntryRequest:
    """The admission request an entry answers."""

    uid: str
    operation: str
    user: str
    groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How much of an entry is kept."""

    text: int
    uri: int
    groups: int
    ancestors: int
    causes: int
    policies: int


# The first set loses nothing that real objects hold (a verdict has at most 16 causes
# and policies, a model 16 matches); the last keeps 16 models below 256 KiB even when
# every character takes the 6 bytes of a \u escape.
_BOUNDS = (
    _Bounds(512, URI_MAX_CHARS, GROUPS_MAX, 16, 16, 16),
    _Bounds(256, 512, 8, 4, 8, 16),
    _Bounds(128, 256, 0, 1, 2, 8),
)


def admission_entry(
    *,
    engine: str,
    now: datetime,
    subject: EntryObject,
    request: EntryRequest,
    decision: str,
    basis: str,
    verdict: Mapping[str, Any] | None,
    models: Sequence[EntryModel] = (),
    component: str = "webhook",
) -> dict[str, Any]:
    """Entry for one answered admission request, denials included.

    Args:
        engine: Version of the engine that decided.
        now: When it decided, with time zone.
        subject: The object of the request.
        request: Who asked for what; ``request.uid`` gives the key.
        decision: ``Allow``, ``Warn``, ``Hold`` or ``Deny``.
        basis: What the decision rests on, as the metric label says it.
        verdict: ``Verdict.to_dict()``, or None if no verdict was needed.
        models: The models of the object.
        component: Who decided.

    Raises:
        LedgerError: A value is no entry's (reason ``EntryInvalid``).
    """
    entry = {
        "kind": str(EntryKind.ADMISSION),
        "key": f"admission/{request.uid}",
        "request": {
            "uid": request.uid,
            "operation": request.operation,
            "user": request.user,
            "groups": list(request.groups),
        },
        "decision": str(decision),
        "basis": str(basis),
    }
    return _build(entry, component, engine, now, subject, verdict, models)


def judgement_entry(
    *,
    engine: str,
    now: datetime,
    subject: EntryObject,
    verdict: Mapping[str, Any],
    models: Sequence[EntryModel] = (),
    after: str = "",
    component: str = "operator",
) -> dict[str, Any]:
    """Entry for one judgement of an object under the policies.

    Args:
        engine: Version of the engine that judged.
        now: When it judged, with time zone.
        subject: The object, with uid and generation.
        verdict: ``Verdict.to_dict()``.
        models: The models of the object.
        after: ``decidedAt`` of the verdict that this one replaces, if there is one.
            It makes the way back to an earlier verdict a judgement of its own, while
            the same step repeated after a crash keeps its key.
        component: Who judged.

    Raises:
        LedgerError: A value is no entry's (reason ``EntryInvalid``).
    """
    step = f"/{after}" if after else ""
    entry = {
        "kind": str(EntryKind.JUDGEMENT),
        "key": f"judgement/{subject.uid}/{verdict.get('inputsDigest')}{step}",
        "decision": str(verdict.get("action")),
    }
    return _build(entry, component, engine, now, subject, verdict, models)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: ``2026-11-23T04:05:06.789Z``.

    Raises:
        ValueError: The moment has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"time is {moment!r}, wanted one with a time zone")
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _build(
    entry: dict[str, Any],
    component: str,
    engine: str,
    now: datetime,
    subject: EntryObject,
    verdict: Mapping[str, Any] | None,
    models: Sequence[EntryModel],
) -> dict[str, Any]:
    about: dict[str, Any] = {
        "kind": subject.kind,
        "namespace": subject.namespace,
        "name": subject.name,
        "uid": subject.uid,
    }
    if subject.generation is not None:
        about["generation"] = subject.generation
    whole = entry | {
        "schema": SCHEMA,
        "time": format_time(now),
        "component": component,
        "engine": engine,
        "object": about,
        "verdict": None if verdict is None else dict(verdict),
        "models": [
            {
                "name": model.name,
                "uri": model.uri,
                "digest": str(model.digest),
                "rootDigest": str(model.root_digest),
                "ancestors": [match_to_dict(match) for match in model.ancestors],
            }
            for model in models
        ],
    }
    *roomy, tightest = _BOUNDS
    for bounds in roomy:
        try:
            return validate(_cut(whole, bounds))
        except LedgerError:  # perhaps too long; the last try says what is wrong
            continue
    return validate(_cut(whole, tightest))


def _cut(entry: Mapping[str, Any], bounds: _Bounds) -> dict[str, Any]:
    """A copy within bounds, marked if anything was left out."""
    cut = dict(entry)
    cut["models"] = [
        _clip(model, bounds.text)
        | {
            "uri": _clip(model["uri"], bounds.uri),
            "ancestors": _clip(model["ancestors"][: bounds.ancestors], bounds.text),
        }
        for model in entry["models"][:MODELS_MAX]
    ]
    if entry["verdict"] is not None:
        verdict = dict(entry["verdict"])
        for field, most in (("causes", bounds.causes), ("policies", bounds.policies)):
            verdict[field] = list(verdict.get(field, ()))[:most]
        cut["verdict"] = _clip(verdict, bounds.text)
    if "request" in entry:
        request = entry["request"]
        cut["request"] = request | {
            "user": _clip(request["user"], USER_MAX_CHARS),
            "groups": _clip(request["groups"][: bounds.groups], NAME_MAX_CHARS),
        }
    if cut != entry:
        cut["truncated"] = True
    return cut


def _clip(value: Any, most: int) -> Any:
    """The value with every text in it Unicode and at most ``most`` characters."""
    if isinstance(value, str):
        text = value.encode("utf-8", "replace").decode("utf-8")
        return text if len(text) <= most else text[: most - 1] + "…"
    if isinstance(value, Mapping):
        return {name: _clip(item, most) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clip(item, most) for item in value]
    return value
