# SPDX-License-Identifier: Apache-2.0
"""``pedigree explain``: what a test, verdict, signal, finding or control is."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from pedigree.cli.failure import EXIT_OK
from pedigree.cli.findings import control_lines
from pedigree.cli.plain_words import (
    CLASSES,
    CONTEXT_NOTE,
    FORENSICS,
    RELATIONS,
    SIGNALS,
    TESTS,
)
from pedigree.cli.render import print_json, print_table
from pedigree.cli.signature_words import SIGNATURES
from pedigree.errors import ConfigError, quote

SCHEMA = "pedigree.dev/explain/v1"
_MARKUP = re.compile(r"(?::[a-z]+:)?``?~?([^`]+)``?")
"""What docstrings mark as code, and names of modules they refer to."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One thing that can be explained.

    Attributes:
        name: As it is asked for.
        kind: ``test``, ``forensics``, ``relation`` (kind of descent), ``verdict``,
            ``context``, ``finding``, ``reason`` (of a policy's verdict), ``signature``
            (what one is worth), ``control`` or ``licence``.
        plain: In plain words.
        module: Whose docstring has the definition; empty if there is none.
        more: What else there is to say, as lines.
    """

    name: str
    kind: str
    plain: str
    module: str = ""
    more: tuple[str, ...] = ()


def topics() -> dict[str, Topic]:
    """Everything that can be explained, by name."""
    found = [
        *(Topic(n, "test", w.plain, w.module) for n, w in TESTS.items()),
        *(Topic(n, "forensics", w.plain, w.module) for n, w in FORENSICS.items()),
        *(Topic(str(name), "relation", plain) for name, plain in RELATIONS.items()),
        *(Topic(str(name), "verdict", plain) for name, plain in CLASSES.items()),
        *(
            Topic(name, "context", f"{plain} {CONTEXT_NOTE}", module)
            for name, (module, plain) in SIGNALS.items()
        ),
        *(Topic(str(name), "signature", plain) for name, plain in SIGNATURES.items()),
        *_findings(),
        *_controls(),
        *_licences(),
    ]
    return {topic.name: topic for topic in found}


def _findings() -> Iterator[Topic]:
    from pedigree.evidence.controls import catalogue

    known = catalogue()
    for reason, guidance in {**known.verdicts, **known.findings}.items():
        lines = control_lines(guidance.controls)
        yield Topic(
            reason,
            "finding" if reason in known.findings else "reason",
            f"{guidance.subject}. What to do: {guidance.advice}",
            more=(
                "It is evidence for:",
                *(f"  {line}" for line in lines),
                known.notice,
            ),
        )


def _controls() -> Iterator[Topic]:
    from pedigree.evidence.controls import catalogue

    known = catalogue()
    for control in known.controls.values():
        source = known.frameworks[control.framework]
        yield Topic(
            control.id,
            "control",
            f"{control.text}. {source.title} {source.version}, {source.date}.",
            more=(
                f"Source: {source.url}, {source.read}, checked {known.checked}. "
                f"{source.note}",
                "Findings and verdicts that count for it:",
                *(f"  {reason}" for reason in known.evidence_for(control.id)),
                known.notice,
            ),
        )


def _licences() -> Iterator[Topic]:
    from pedigree.evidence.licences import licences

    for item in {licence.id: licence for licence in licences().values()}.values():
        asked = {
            "A copy of the licence goes along.": item.licence_file,
            f"A notice file begins with: {item.notice}": item.notice,
            f"Names begin with: {item.name_prefix}": item.name_prefix,
            f"Words to display: {item.attribution}": item.attribution,
        }
        yield Topic(
            item.id,
            "licence",
            f"{item.title}, {item.goes_on}. Indicator, not legal advice.",
            more=(
                *(line for line, wanted in asked.items() if wanted),
                f"Source: {item.url}, {item.date}, {item.read}. {item.note}",
            ),
        )


def register(subparsers: Any) -> None:
    """Add the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "explain",
        help="say what a test, a verdict, a signal, a finding or a control is",
        description="Say in plain words what a test, a verdict, a kind of descent or "
        "a context signal is, then how it is defined; of a finding what to do about it "
        "and which controls it is evidence for; of a control which findings count for "
        "it; of a licence what it asks of derivatives. Without a name, list all.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", default=None)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain one thing, or list all."""
    found = topics()
    if args.name is None:
        _list(found, as_json=args.json)
        return EXIT_OK
    topic = _asked(args.name, found)
    text = "\n".join(topic.more) or definition(topic)
    if args.json:
        print_json({"schema": SCHEMA, "test": topic.name, **_dict(topic), "text": text})
    else:
        lines = [f"{topic.name} ({topic.kind})", "", topic.plain]
        sys.stdout.write("\n".join([*lines, *(["", text] if text else []), ""]))
    return EXIT_OK


def _asked(name: str, found: dict[str, Topic]) -> Topic:
    """The topic of a name; case does not count.

    Raises:
        ConfigError: There is none (``UnknownTopic``).
    """
    folded = {topic.casefold(): topic for topic in found}
    if name.casefold() in folded:
        return found[folded[name.casefold()]]
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    meant = ", ".join(folded[word] for word in near)
    raise ConfigError(
        f"there is nothing called {quote(name, 80)} to explain",
        reason="UnknownTopic",
        hint=f"try {meant}" if meant else "run pedigree explain to list everything",
    )


def definition(topic: Topic) -> str:
    """How a topic is defined, in the words of the module that computes it."""
    if not topic.module or find_spec(topic.module) is None:
        return ""
    return _MARKUP.sub(r"\1", (import_module(topic.module).__doc__ or "").strip())


def _list(found: dict[str, Topic], *, as_json: bool) -> None:
    if as_json:
        print_json({"schema": SCHEMA, "topics": [_dict(t) for t in found.values()]})
        return
    print_table(
        ("name", "kind", "in plain words"),
        [
            (topic.name, topic.kind, topic.plain.removesuffix(f" {CONTEXT_NOTE}"))
            for topic in found.values()
        ],
    )


def _dict(topic: Topic) -> dict[str, str]:
    return {"name": topic.name, "kind": topic.kind, "plain": topic.plain}
