# SPDX-License-Identifier: Apache-2.0
"""The form in which an examination elsewhere hands its result back: pure, bounded.

A Job that examines a volume writes into ConfigMaps, which hold one mebibyte each.  The
fingerprint is cut into parts; the answer, which is written last, holds what ``pedigree
examine --json`` prints and the SHA-256 of the fingerprint, so that a reader who has
the answer can tell whether it has all of the rest.

The reader believes nothing: whoever may run Pods beside the Job can write all of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pedigree.digests import Digest, sha256
from pedigree.errors import ArtifactError, PedigreeError, quote
from pedigree.fingerprint.codec import decode
from pedigree.fingerprint.model import Fingerprint
from pedigree.tensors.strictjson import load

SCHEMA = "pedigree.dev/handed-back/v1"
ANSWER_KEY = "answer.json"
PART_KEY = "part"
PART_MAX_BYTES = 1_000_000
"""A ConfigMap holds 1,048,576 bytes of values."""
PARTS_MAX = 8
"""A fast fingerprint of 7 billion weights has 295 kB, so one part; the deep one of a
small model, and a fast one of hundreds of expert blocks, have several."""
FINGERPRINT_MAX_BYTES = PARTS_MAX * PART_MAX_BYTES
ANSWER_MAX_BYTES = 256_000
"""Evidence has at most 8 KiB, an error a few lines."""
OK = 0
NO_ANSWER = 3
_WHAT = "handed back answer"


@dataclass(frozen=True, slots=True)
class HandedBack:
    """An answer as it was found, of the right form and otherwise not believed.

    Attributes:
        code: 0 for an examination, 3 for an error.
        document: What ``pedigree examine --json`` prints in either case.
        size: Bytes of the fingerprint; 0 when there is none.
        digest: SHA-256 of the fingerprint; None when there is none.
    """

    code: int
    document: Mapping[str, Any]
    size: int
    digest: Digest | None

    @property
    def parts(self) -> int:
        """How many parts the fingerprint was cut into."""
        return -(-self.size // PART_MAX_BYTES)


def part_names(name: str) -> list[str]:
    """Names of the objects that take the parts.

    Args:
        name: Of the object that takes the answer.
    """
    return [f"{name}-{number}" for number in range(1, PARTS_MAX + 1)]


def parts_of(fingerprint: bytes) -> list[bytes]:
    """A fingerprint cut into parts.

    Raises:
        PedigreeError: It has too many bytes (reason ``AnswerTooLarge``).
    """
    if len(fingerprint) > FINGERPRINT_MAX_BYTES:
        raise PedigreeError(
            f"fingerprint has {len(fingerprint)} bytes, and {FINGERPRINT_MAX_BYTES} "
            "can be handed back",
            reason="AnswerTooLarge",
            hint="serve the model from a bucket or registry, or as file:///folder",
        )
    starts = range(0, len(fingerprint), PART_MAX_BYTES)
    return [fingerprint[start : start + PART_MAX_BYTES] for start in starts]


def answer_of(code: int, document: Mapping[str, Any], fingerprint: bytes) -> bytes:
    """The answer that goes with a fingerprint; empty bytes stand for none.

    Raises:
        PedigreeError: It has too many bytes (reason ``AnswerTooLarge``).
    """
    made: dict[str, Any] = {"schema": SCHEMA, "code": code, "document": document}
    if fingerprint:
        digest = str(sha256(fingerprint))
        made["fingerprint"] = {"bytes": len(fingerprint), "digest": digest}
    text = json.dumps(made, separators=(",", ":"), ensure_ascii=False)
    answer = text.encode("utf-8", "replace")  # half characters become "?"
    if len(answer) > ANSWER_MAX_BYTES:
        raise PedigreeError(
            f"answer has {len(answer)} bytes, and {ANSWER_MAX_BYTES} can be handed "
            "back",
            reason="AnswerTooLarge",
        )
    return answer


def read_answer(data: bytes) -> HandedBack:
    """Read an answer, strictly.

    Raises:
        ArtifactError: It is none (reason ``AnswerMalformed``), too large, or JSON of
            more than one meaning.
    """
    if len(data) > ANSWER_MAX_BYTES:
        raise ArtifactError(
            f"{_WHAT} has {len(data)} bytes, allowed are {ANSWER_MAX_BYTES}",
            reason="AnswerTooLarge",
        )
    found = load(
        data,
        what=_WHAT,
        path=ANSWER_KEY,
        depth_max=16,
        values_max=10_000,
        malformed="AnswerMalformed",
    )
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        schema = found.get("schema") if isinstance(found, dict) else found
        _refuse("schema", schema, SCHEMA)
    code, document = found.get("code"), found.get("document")
    if type(code) is not int or code not in (OK, NO_ANSWER):
        _refuse("code", code, f"{OK} or {NO_ANSWER}")
    if not isinstance(document, dict):
        _refuse("document", document, "an object")
    stated = found.get("fingerprint")
    if stated is None:
        return HandedBack(code, document, 0, None)
    if not isinstance(stated, dict):
        _refuse("fingerprint", stated, "an object")
    size = stated.get("bytes")
    if type(size) is not int or not 0 < size <= FINGERPRINT_MAX_BYTES:
        _refuse("bytes", size, f"1 to {FINGERPRINT_MAX_BYTES}")
    return HandedBack(code, document, size, _digest(stated.get("digest")))


def join(answer: HandedBack, parts: Sequence[bytes]) -> Fingerprint | None:
    """The fingerprint, if the parts are the ones that the answer speaks of.

    Raises:
        ArtifactError: They are not (reason ``AnswerIncomplete``), or they are no
            fingerprint.
    """
    if answer.digest is None:
        return None
    data = b"".join(parts)
    if len(data) != answer.size or sha256(data) != answer.digest:
        raise ArtifactError(
            f"{_WHAT} speaks of a fingerprint of {answer.size} bytes with the digest "
            f"{answer.digest}, got {len(data)} bytes with {sha256(data)}",
            reason="AnswerIncomplete",
        )
    return decode(data, path=_WHAT)


def _digest(text: object) -> Digest:
    try:
        return Digest.parse(text)
    except ValueError:
        _refuse("digest", text, "sha256: and 64 hex digits")


def _refuse(what: str, got: object, wanted: str) -> NoReturn:
    raise ArtifactError(
        f"{_WHAT} has the {what} {quote(got)}, wanted {wanted}",
        reason="AnswerMalformed",
    )
