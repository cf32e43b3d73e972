# SPDX-License-Identifier: Apache-2.0
"""JSON from strangers: one meaning or none.

Python's reader takes the last of two equal keys, understands ``NaN`` and recurses as
deeply as it is told to.  Another loader may take the first key.  Everything on which
two readers could differ is refused here, and size, nesting and number of values are
bounded before any object is made.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from pedigree.errors import ArtifactError, quote

_INTEGER_MAX_CHARS = 64
"""Arbitrary, above every integer seen in a model's files (31 digits) and far below
what makes conversion slow."""
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""How half of a surrogate pair is written; UTF-8 has none."""
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)|[\[\]{},]', re.DOTALL)
"""Whole strings (an unclosed one runs to the end, so no byte is looked at twice) and
the structural characters outside them."""


def load(
    data: bytes,
    *,
    what: str,
    path: str,
    depth_max: int = 64,
    values_max: int = 2_000_000,
    floats: bool = True,
    constants: bool = False,
    malformed: str = "MalformedJson",
) -> Any:
    """Read one JSON text that has exactly one meaning.

    Args:
        data: UTF-8 text.
        what: What the text is, for messages: ``"header"``.
        path: File it came from, for messages.
        depth_max: Allowed nesting.
        values_max: Allowed number of values, members and elements together.
        floats: Whether numbers other than integers >= 0 are understood.
        constants: Whether ``NaN`` and ``Infinity`` are, which are no JSON but which
            Python programs write.
        malformed: Reason given when the text is not JSON.

    Raises:
        ArtifactError: Reasons ``DuplicateKey``, ``LimitExceeded``,
            ``MalformedName`` (text that is not Unicode) or ``malformed``.
    """
    reader = _Reader(what, path, floats, malformed)
    reader.check_bounds(data, depth_max, values_max)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        reader.refuse(
            malformed, f"is not UTF-8 at byte {error.start}", "wanted UTF-8 text"
        )
    try:
        value = json.loads(
            text,
            object_pairs_hook=reader.pairs,
            parse_int=reader.integer,
            parse_float=reader.real,
            parse_constant=float if constants else reader.constant,
        )
    except json.JSONDecodeError as error:
        reader.refuse(
            malformed, f"is not JSON at character {error.pos}: {error.msg}", ""
        )
    if _HALF.search(data):
        reader.check_texts(value)
    return value


class _Reader:
    """The hooks of one reading, with what their messages need."""

    def __init__(self, what: str, path: str, floats: bool, malformed: str) -> None:
        self.what, self.path = what, path
        self.floats, self.malformed = floats, malformed

    def refuse(self, reason: str, got: str, wanted: str) -> NoReturn:
        tail = f"; {wanted}" if wanted else ""
        raise ArtifactError(
            f"{self.what} of {quote(self.path)} {got}{tail}",
            reason=reason,
            path=self.path,
        )

    def check_bounds(self, data: bytes, depth_max: int, values_max: int) -> None:
        depth = values = 0
        for match in _TOKEN.finditer(data):
            first = data[match.start()]
            if first == 0x22:  # a string
                continue
            if first in b"]}":
                depth -= 1
                continue
            values += 1
            if values > values_max:
                self.refuse(
                    "LimitExceeded",
                    f"has over {values_max} values",
                    "it was built to exhaust memory",
                )
            if first != 0x2C:  # not a comma
                depth += 1
                if depth > depth_max:
                    self.refuse(
                        "LimitExceeded",
                        f"is nested over {depth_max} deep",
                        "it was built to exhaust the reader",
                    )

    def check_texts(self, value: Any) -> None:
        """Refuse half of a surrogate pair, wherever it stands."""
        pending = [value]
        while pending:
            item = pending.pop()
            if isinstance(item, str):
                self.text(item)
            elif isinstance(item, list):
                pending.extend(item)
            elif isinstance(item, dict):
                pending.extend(item)
                pending.extend(item.values())

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    self.refuse(
                        "DuplicateKey",
                        f"has the key {quote(key)} twice",
                        "readers disagree on which of the two counts",
                    )
                seen.add(key)
        return members

    def text(self, text: str) -> None:
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            self.refuse(
                "MalformedName",
                f"holds {quote(text)}, half of a surrogate pair",
                "wanted Unicode text",
            )

    def integer(self, digits: str) -> int:
        if len(digits) > _INTEGER_MAX_CHARS:
            self.refuse(
                self.malformed,
                f"holds an integer of {len(digits)} characters",
                f"wanted at most {_INTEGER_MAX_CHARS}",
            )
        if digits[0] == "-" and not self.floats:
            self.refuse(self.malformed, f"holds {digits}", "wanted integers >= 0")
        return int(digits)

    def real(self, digits: str) -> float:
        if not self.floats:
            self.refuse(
                self.malformed,
                f"holds the number {quote(digits, 40)}",
                "wanted integers only",
            )
        return float(digits)

    def constant(self, name: str) -> NoReturn:
        self.refuse(self.malformed, f"holds {name}", "JSON has no such value")
