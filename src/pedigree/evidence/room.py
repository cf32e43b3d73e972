# SPDX-License-Identifier: Apache-2.0
"""Keeps a stored object within its bytes: cuts texts, and lists from their end.

etcd and every watch cache hold all evidence of a cluster, so an object has a bound that
no artifact, however hostile, can push.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

OBJECT_MAX_BYTES = 8192
"""JSON of one ``ModelEvidence`` as Pedigree writes it; the API server adds its own
metadata."""
_ENVELOPE_BYTES = 256
"""apiVersion, kind, name."""
SPEC_MAX_BYTES = 3840
FINDINGS_MAX_BYTES = 2048
_ELLIPSIS = "..."
# The API server's JSON writer escapes these three for HTML: "\u003c".
_ESCAPED = 5


def stored_bytes(value: object) -> int:
    """Bytes of a JSON value as the API server keeps it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    escapes = sum(text.count(character) for character in "<>&\u2028\u2029")
    return len(text.encode("utf-8")) + _ESCAPED * escapes


def status_room(spec: object) -> int:
    """Bytes that a spec leaves for the status."""
    return OBJECT_MAX_BYTES - _ENVELOPE_BYTES - stored_bytes(spec)


def cut(text: str, max_bytes: int) -> str:
    """The text, or its beginning and ``...`` where it takes more than ``max_bytes``.

    Half characters, which file names can hold and JSON cannot, become ``?``.  Since
    every character takes at least one byte, the result also has at most that many
    characters, which is what the CRD bounds.
    """
    clean = text.encode("utf-8", "replace").decode("utf-8")
    if stored_bytes(clean) - 2 <= max_bytes:
        return clean
    left = max_bytes - len(_ELLIPSIS)
    for index, character in enumerate(clean):
        left -= stored_bytes(character) - 2
        if left < 0:
            return clean[:index] + _ELLIPSIS
    return clean


def fitting(items: Sequence[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """The longest beginning of a list that takes at most ``room`` bytes."""
    kept = []
    for item in items:
        room -= stored_bytes(item) + 1
        if room < 0:
            break
        kept.append(item)
    return kept
