# SPDX-License-Identifier: Apache-2.0
"""What is a ledger entry, and what is not.

:func:`validate` changes nothing and refuses what is not an entry.  Fields it does not
know are kept, so that a newer producer can write to an older ledger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from pedigree.digests import canonical_json
from pedigree.errors import LedgerError, quote

SCHEMA = "pedigree.dev/ledger-entry/v1"
ENTRY_MAX_BYTES = 256 * 1024
"""Canonical bytes of one entry: an ordinary one has 1 to 4 KiB."""
KEY_MAX_CHARS = 512
NAME_MAX_CHARS = 253
"""Kubernetes' own bound on object names."""
URI_MAX_CHARS = 1024
USER_MAX_CHARS = 1024
DEPTH_MAX = 12
"""Nested lists and maps; a whole entry needs 6."""
MODELS_MAX = 16

DECISIONS = ("Allow", "Warn", "Hold", "Deny")
RESULTS = ("Pass", "Warn", "Fail", "Unknown", "Pending", "Error")
COMPONENTS = ("webhook", "operator")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
_BASIS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_KEY = re.compile(r"[!-~]{1,512}")
_DIGEST = re.compile(r"(sha256:[0-9a-f]{64})?")


class EntryKind(StrEnum):
    """What happened.  Closed set; a metric label."""

    ADMISSION = "Admission"
    """A request was answered, whatever the answer was."""
    JUDGEMENT = "Judgement"
    """An object was judged under the policies outside of any request."""


def encode(entry: Mapping[str, Any]) -> bytes:
    """The canonical bytes of a valid entry.

    Raises:
        LedgerError: It is not a valid entry (reason ``EntryInvalid``).
    """
    _check_shape(entry)
    try:
        body = canonical_json(entry)
    except (TypeError, ValueError) as error:
        raise _invalid("$", f"cannot be written as canonical JSON: {error}") from error
    if len(body) > ENTRY_MAX_BYTES:
        raise _invalid("$", f"has {len(body)} bytes, allowed are {ENTRY_MAX_BYTES}")
    _check_fields(entry)
    return body


def validate(entry: object) -> dict[str, Any]:
    """The same entry, if it is one.

    Raises:
        LedgerError: It is not (reason ``EntryInvalid``); the message names the field.
    """
    if not isinstance(entry, dict):
        raise _invalid("$", f"is a {type(entry).__name__}, wanted a map")
    encode(entry)
    return entry


def _invalid(path: str, what: str) -> LedgerError:
    return LedgerError(f"ledger entry: {path} {what}", reason="EntryInvalid")


def _check_shape(entry: Mapping[str, Any]) -> None:
    """Depth and field names, without recursion: the value may be hostile."""
    stack: list[tuple[object, str, int]] = [(entry, "$", 0)]
    while stack:
        value, path, depth = stack.pop()
        if depth > DEPTH_MAX:
            raise _invalid(path[:200], f"is nested deeper than {DEPTH_MAX}")
        if isinstance(value, dict):
            for name, item in value.items():
                if not isinstance(name, str) or not _FIELD.fullmatch(name):
                    raise _invalid(
                        path[:200],
                        f"has the field {quote(name, 80)}, wanted 1 to 64 letters and "
                        "digits",
                    )
                stack.append((item, f"{path}.{name}", depth + 1))
        elif isinstance(value, list | tuple):
            stack.extend((item, f"{path}[]", depth + 1) for item in value)


def _check_fields(entry: Mapping[str, Any]) -> None:
    if entry.get("schema") != SCHEMA:
        raise _invalid(
            "$.schema", f"is {quote(entry.get('schema'), 80)}, wanted {SCHEMA!r}"
        )
    kind = _one_of(entry, "$", "kind", tuple(EntryKind))
    _one_of(entry, "$", "component", COMPONENTS)
    _one_of(entry, "$", "decision", DECISIONS)
    _text(entry, "$", "engine", 64)
    _check_time(_text(entry, "$", "time", 32, _TIME))
    about = _map(entry, "$", "object")
    _text(about, "$.object", "kind", 63, _TOKEN)
    for field in ("namespace", "name", "uid"):
        _text(about, "$.object", field, NAME_MAX_CHARS)
    _check_verdict(entry)
    _check_models(entry)
    key = _text(entry, "$", "key", KEY_MAX_CHARS, _KEY)
    if kind == EntryKind.ADMISSION:
        wanted = _check_request(entry)
        fits = key == wanted
    else:
        wanted = _check_judgement(entry, about)
        fits = key == wanted or key.startswith(f"{wanted}/")
    if not fits:
        raise _invalid("$.key", f"is {quote(key, 200)}, wanted {quote(wanted, 200)}")


def _check_request(entry: Mapping[str, Any]) -> str:
    request = _map(entry, "$", "request")
    uid = _text(request, "$.request", "uid", NAME_MAX_CHARS, _KEY)
    _text(request, "$.request", "operation", 63, _TOKEN)
    _text(request, "$.request", "user", USER_MAX_CHARS)
    _text(entry, "$", "basis", 64, _BASIS)
    groups = request.get("groups", [])
    if not isinstance(groups, list | tuple) or not all(
        isinstance(group, str) for group in groups
    ):
        raise _invalid("$.request.groups", "is not a list of texts")
    return f"admission/{uid}"


def _check_judgement(entry: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    generation = about.get("generation")
    if not isinstance(generation, int) or isinstance(generation, bool):
        raise _invalid(
            "$.object.generation", f"is {quote(generation, 80)}, wanted an integer"
        )
    if not about["uid"]:
        raise _invalid("$.object.uid", "is empty, wanted the uid of the judged object")
    verdict = _map(entry, "$", "verdict")
    return f"judgement/{about['uid']}/{verdict['inputsDigest']}"


def _check_verdict(entry: Mapping[str, Any]) -> None:
    if "verdict" not in entry:
        raise _invalid("$.verdict", "is missing, wanted a verdict or null")
    if entry["verdict"] is None:
        return
    verdict = _map(entry, "$", "verdict")
    _one_of(verdict, "$.verdict", "result", RESULTS)
    _one_of(verdict, "$.verdict", "action", DECISIONS)
    _text(verdict, "$.verdict", "reason", 64, _TOKEN)
    _text(verdict, "$.verdict", "message", 4096)
    for field in ("policyDigest", "inputsDigest"):
        _text(verdict, "$.verdict", field, 71, _DIGEST)
    for field in ("causes", "policies"):
        _list(verdict, "$.verdict", field, 256)


def _check_models(entry: Mapping[str, Any]) -> None:
    for index, model in enumerate(_list(entry, "$", "models", MODELS_MAX)):
        path = f"$.models[{index}]"
        _text(model, path, "name", NAME_MAX_CHARS)
        _text(model, path, "uri", URI_MAX_CHARS)
        _text(model, path, "digest", 71, _DIGEST)
        if "rootDigest" in model:
            _text(model, path, "rootDigest", 71, _DIGEST)
        for place, match in enumerate(_list(model, path, "ancestors", 64)):
            _text(match, f"{path}.ancestors[{place}]", "reference", NAME_MAX_CHARS)
            _text(match, f"{path}.ancestors[{place}]", "lineage", 63, _TOKEN)


def _check_time(text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise _invalid("$.time", f"is {text!r}, which is no date") from None


def _text(
    owner: Mapping[str, Any],
    path: str,
    field: str,
    most: int,
    pattern: re.Pattern[str] | None = None,
) -> str:
    value = owner.get(field)
    if not isinstance(value, str):
        raise _invalid(f"{path}.{field}", f"is {quote(value, 80)}, wanted a text")
    if len(value) > most:
        raise _invalid(
            f"{path}.{field}", f"has {len(value)} characters, allowed are {most}"
        )
    if pattern is not None and not pattern.fullmatch(value):
        raise _invalid(
            f"{path}.{field}",
            f"is {quote(value, 80)}, wanted the form {pattern.pattern}",
        )
    return value


def _one_of(
    owner: Mapping[str, Any], path: str, field: str, values: Sequence[str]
) -> str:
    value = owner.get(field)
    if not isinstance(value, str) or value not in values:
        raise _invalid(
            f"{path}.{field}", f"is {quote(value, 80)}, wanted {', '.join(values)}"
        )
    return value


def _map(owner: Mapping[str, Any], path: str, field: str) -> Mapping[str, Any]:
    value = owner.get(field)
    if not isinstance(value, dict):
        raise _invalid(f"{path}.{field}", f"is {quote(value, 80)}, wanted a map")
    return value


def _list(
    owner: Mapping[str, Any], path: str, field: str, most: int
) -> Sequence[Mapping[str, Any]]:
    value = owner.get(field)
    if not isinstance(value, list | tuple) or not all(
        isinstance(item, dict) for item in value
    ):
        raise _invalid(f"{path}.{field}", "is not a list of maps")
    if len(value) > most:
        raise _invalid(f"{path}.{field}", f"has {len(value)} items, allowed are {most}")
    return value
