# SPDX-License-Identifier: Apache-2.0
"""Chat templates: parsed within bounds, never compiled, never rendered.

A template is a program that comes with the model (CVE-2024-34359, CVE-2026-5760).
Whether its text asks a model for something bad is not judged here; what the program
reaches for is, and which characters a reader of it does not see.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment
from jinja2.ext import Extension

from pedigree.errors import quote
from pedigree.examine.safety.sightings import Sighting
from pedigree.examine.safety.template_reach import reach
from pedigree.tensors.remarks import ERROR, WARNING

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.parser import Parser

TEMPLATE_MAX_BYTES = 256 << 10
"""Real templates are below 30 KiB."""
_TOKENS_MAX = 50_000
_BRACKETS_MAX = 24
_BLOCKS_MAX = 32
_RUN_MAX = 24
_ELSE_MAX = 32
"""Nesting that Jinja's parser answers by recursion.  All at once are less than the
interpreter allows; real templates have a fifth of each."""
_OPENERS = frozenset(
    {"if", "for", "macro", "call", "filter", "block", "with", "autoescape"}
    | {"generation"}
)
_LINE_END = re.compile(r"\r\n|\r|\n")
_ESCAPE = "outside a sandbox it runs any code"
_REACH = "templates need messages and texts only"
_UNREAD = "what the template does is unknown"
_HIDDEN = "readers do not see all that the model gets"
_SMUGGLED = frozenset(
    {0x00AD, 0x061C, 0x115F, 0x1160, 0x180E, 0x200B, 0x200E, 0x200F, 0x3164, 0xFEFF}
    | {0xFFA0, *range(0x202A, 0x202F), *range(0x2060, 0x206A)}
    | {*range(0xE0000, 0xE0080), *range(0xE0100, 0xE01F0)}
)
"""Direction, tag and variation characters, and those of no width; not the joiners,
which writing systems and emoji need."""


class _Generation(Extension):
    """Marks what the assistant says; only training looks at it."""

    tags = {"generation"}  # noqa: RUF012 - as the class above declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """What stands within the mark."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def look_at(text: str, path: str) -> list[Sighting]:
    """What one template reaches for, and what it hides.

    Args:
        text: The template.
        path: File it stands in.
    """
    where = quote(path, 60)
    size = len(text.encode("utf-8", "surrogatepass"))
    found = list(_hidden(text, path))
    if size > TEMPLATE_MAX_BYTES:
        detail = f"{where} is {size} bytes, allowed {TEMPLATE_MAX_BYTES}"
        return [*found, Sighting(path, detail, "TemplateUnread", _UNREAD, ERROR)]
    try:
        with warnings.catch_warnings():  # of odd escapes in the template's texts
            warnings.simplefilter("ignore")
            if deep := _too_deep(text):
                detail = f"{where} has {deep}"
                unread = Sighting(path, detail, "TemplateUnread", _UNREAD, ERROR)
                return [*found, unread]
            sights, whole = reach(_environment().parse(text))
    except RecursionError:
        detail = f"{where} is nested too deeply"
        return [*found, Sighting(path, detail, "TemplateUnread", _UNREAD, ERROR)]
    except Exception as error:  # the parser promises no closed set of errors
        what = f"{type(error).__name__}: {quote(str(error), 60)}"
        detail = f"{where} is no Jinja, {what}"
        return [*found, Sighting(path, detail, "TemplateUnread", _UNREAD, WARNING)]
    if not whole:
        detail = f"{where} has too many parts"
        found.append(Sighting(path, detail, "TemplateUnread", _UNREAD, ERROR))
    lines = _LINE_END.split(text)
    for line, severity, what in sights:
        shown = quote(lines[line - 1].strip(), 48) if line <= len(lines) else "''"
        detail = f"{where} line {line}: {what} in {shown}"
        reason, consequence = (
            ("TemplateEscape", _ESCAPE)
            if severity == ERROR
            else ("TemplateReach", _REACH)
        )
        found.append(Sighting(path, detail, reason, consequence, severity))
    return found


@cache
def _environment() -> Environment:
    # As servers set it up, but for what renders.
    known: list[str | type[Extension]] = ["jinja2.ext.loopcontrols", "jinja2.ext.do"]
    return Environment(  # noqa: S701 - nothing is rendered
        extensions=[*known, _Generation], trim_blocks=True, lstrip_blocks=True
    )


def _too_deep(text: str) -> str | None:
    """Which bound a template breaks, told by its tokens, before the parser recurses."""
    brackets = blocks = run = choices = tokens = 0
    for _, kind, value in _environment().lex(text):
        if kind in ("whitespace", "data"):
            continue
        tokens += 1
        if kind in ("block_begin", "variable_begin"):
            brackets = run = choices = 0
            first = kind == "block_begin"
            continue
        if kind == "name" and first:
            blocks += (value in _OPENERS) - value.startswith("end")
        first = False
        if kind == "operator":
            brackets += (value in "([{") - (value in ")]}")
        sign = value in ("-", "+", "not", "**")
        run = run + 1 if sign else 0
        choices += value == "else"
        if tokens > _TOKENS_MAX:
            return f"over {_TOKENS_MAX} tokens"
        if brackets > _BRACKETS_MAX or blocks > _BLOCKS_MAX:
            return f"over {_BRACKETS_MAX} brackets or {_BLOCKS_MAX} blocks in another"
        if run > _RUN_MAX or choices > _ELSE_MAX:
            return f"over {_RUN_MAX} signs or {_ELSE_MAX} choices in a row"
    return None


def _hidden(text: str, path: str) -> Iterator[Sighting]:
    if text.isascii():
        return
    for number, line in enumerate(_LINE_END.split(text.removeprefix("\ufeff")), 1):
        codes = [ord(char) for char in line if ord(char) in _SMUGGLED]
        if codes:
            yield Sighting(
                path,
                f"{quote(path, 60)} line {number}: {len(codes)} unseen characters, "
                f"such as U+{codes[0]:04X}",
                "TemplateHiddenText",
                _HIDDEN,
                WARNING,
            )
