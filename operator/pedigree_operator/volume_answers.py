# SPDX-License-Identifier: Apache-2.0
"""Reads what a Job handed back: pure, strict, bounded.

Whoever may run Pods in the namespace can write all of it.  So nothing is taken from it
that can be found out here: not the lineage, not the digest of the fingerprint, not the
time, not the reference.  What is left counts in that namespace only.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from pedigree.errors import ArtifactError, PedigreeError, SourceRefused, quote
from pedigree.evidence import (
    Evidence,
    Resolution,
    Severity,
)
from pedigree.examine.handed_back import (
    ANSWER_KEY,
    ANSWER_MAX_BYTES,
    OK,
    PART_KEY,
    PART_MAX_BYTES,
    HandedBack,
    join,
    read_answer,
)
from pedigree.fingerprint.model import Fingerprint
from pedigree_operator import jobs
from pedigree_operator.jobs import Examined

INTEGER_MAX = 2**53 - 1
"""What the kind's schema allows."""
TEXT_MAX_CHARS = 2048
SECONDS_MAX = 7 * 86400.0
REFUSED = "AnswerRefused"
_REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")

Object = Mapping[str, Any]


def sealed_value(obj: Object | None, key: str, most: int) -> bytes | None:
    """The value in a ConfigMap; None while nobody has sealed it.

    Args:
        obj: The ConfigMap; None if there is none.
        key: Of the value.
        most: Bytes it may have.

    Raises:
        SourceRefused: It is sealed and holds something else (``AnswerRefused``).
    """
    if obj is None or obj.get("immutable") is not True:
        return None
    held = obj.get("binaryData")
    text = held.get(key) if isinstance(held, Mapping) else None
    if not isinstance(text, str):
        _refuse(f"has no {key}")
    if len(text) > 4 * (most // 3 + 1):
        _refuse(f"has {len(text)} characters in {key}, allowed are {most} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SourceRefused(
            f"answer about the volume is no base64: {error}", reason=REFUSED
        ) from error


def answer_in(obj: Object | None) -> HandedBack | None:
    """The answer in a ConfigMap; None while there is none.

    Raises:
        SourceRefused: It is none of ours (``AnswerRefused``).
    """
    data = sealed_value(obj, ANSWER_KEY, ANSWER_MAX_BYTES)
    if data is None:
        return None
    try:
        return read_answer(data)
    except ArtifactError as error:
        raise _refused(error) from error


def understood(
    uri: str, answer: HandedBack, parts: Sequence[Object | None], seen: Resolution
) -> tuple[Examined, Fingerprint | None]:
    """What was handed back, as an examination here would have given it.

    Args:
        uri: The reference.
        answer: See :func:`answer_in`.
        parts: The ConfigMaps with the parts of the fingerprint, in order.
        seen: What the reference means, and in which namespace; its identity is
            completed with the digest.

    Raises:
        SourceRefused: It is not what a Job of ours writes (``AnswerRefused``).
        PedigreeError: The examination failed; its own error.
    """
    text = json.dumps(_plain(answer)).encode("ascii")
    try:
        found = jobs.read_answer(uri, answer.code, text, "")
    except jobs.ExaminationFailed as error:
        if answer.code == OK:
            raise _refused(error) from error
        raise
    values = [sealed_value(part, PART_KEY, PART_MAX_BYTES) for part in parts]
    try:
        fingerprint = join(answer, [value or b"" for value in values])
    except ArtifactError as error:
        raise _refused(error) from error
    evidence = _checked(found.evidence, fingerprint)
    identity = f"{seen.identity}:{evidence.digest.hex}"
    evidence = replace(
        evidence,
        examined_at=seen.resolved_at,
        confined_to=seen.scope,
        resolutions=(replace(seen, identity=identity),),
    )
    return replace(found, evidence=evidence), fingerprint


def _checked(evidence: Evidence, fingerprint: Fingerprint | None) -> Evidence:
    """Evidence of which every value has its type and its bounds.

    What the API server would refuse could never be recorded, and would be tried for
    ever.
    """
    for name in ("files", "size_bytes", "parameters"):
        value = getattr(evidence, name)
        if type(value) is not int or not 0 <= value <= INTEGER_MAX:
            _refuse(f"says {quote(value)} of {name}")
    texts = [
        evidence.engine,
        *evidence.formats,
        *(text for f in evidence.findings for text in (f.reason, f.path, f.message)),
        *(text for c in evidence.claims for text in (c.field, c.value, c.source)),
    ]
    for text in texts:
        if not isinstance(text, str) or len(text) > TEXT_MAX_CHARS:
            _refuse(f"has {quote(text)} for a text")
    if fingerprint is None:
        if not any(f.severity is Severity.ERROR for f in evidence.findings):
            _refuse("has no fingerprint and no finding that says why")
        return replace(evidence, fingerprint=None, fingerprint_spec="")
    if evidence.fingerprint != fingerprint.digest:
        _refuse(
            f"names the fingerprint {evidence.fingerprint} and brings "
            f"{fingerprint.digest}"
        )
    return replace(
        evidence,
        architecture=fingerprint.architecture,
        parameters=fingerprint.parameters,
        fingerprint_spec=fingerprint.spec,
    )


def _plain(answer: HandedBack) -> dict[str, Any]:
    """The document, with numbers and words that can do no harm."""
    document = answer.document
    if answer.code == OK:
        given = document.get("evidence")
        # Of the bytes alone: opinions, such as lineage and signatures, are left out.
        spec = given.get("spec") if isinstance(given, Mapping) else None
        return {
            **document,
            "evidence": {"spec": spec},
            "seconds": _seconds(document),
            "bytesRead": _bytes_read(document),
        }
    error = document.get("error")
    if not isinstance(error, Mapping):
        _refuse(f"has {quote(error)} for an error")
    reason = error.get("reason")
    known = isinstance(reason, str) and _REASON.fullmatch(reason)
    return {
        "error": {
            "class": str(error.get("class"))[:64],
            "reason": reason if known else "ExaminationFailed",
            "message": str(error.get("message"))[:TEXT_MAX_CHARS],
            "hint": str(error.get("hint") or "")[:TEXT_MAX_CHARS],
        }
    }


def _seconds(document: Mapping[str, Any]) -> float:
    value = document.get("seconds", 0)
    if type(value) not in (int, float) or not 0 <= value <= SECONDS_MAX:
        return 0.0
    return float(value) if math.isfinite(value) else 0.0


def _bytes_read(document: Mapping[str, Any]) -> int:
    value = document.get("bytesRead", 0)
    return value if type(value) is int and 0 <= value <= INTEGER_MAX else 0


def _refused(error: PedigreeError) -> SourceRefused:
    return SourceRefused(
        f"answer about the volume cannot be used: {error.message}",
        reason=REFUSED,
        hint="somebody in its namespace writes into the Job's ConfigMaps, or the Job "
        "runs another version",
    )


def _refuse(what: str) -> NoReturn:
    raise SourceRefused(
        f"answer about the volume {what}",
        reason=REFUSED,
        hint="somebody in its namespace writes into the Job's ConfigMaps, or the Job "
        "runs another version",
    )
