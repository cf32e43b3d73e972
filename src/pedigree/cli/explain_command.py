# SPDX-License-Identifier: Apache-2.0
"""``pedigree explain``: what a test, a verdict or a signal is, in plain words."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from pedigree.cli.failure import EXIT_OK
from pedigree.cli.plain_words import CLASSES, CONTEXT_NOTE, FORENSICS, SIGNALS, TESTS
from pedigree.cli.render import print_json, print_table

SCHEMA = "pedigree.dev/explain/v1"


@dataclass(frozen=True, slots=True)
class Topic:
    """One thing that can be explained.

    Attributes:
        name: As it is asked for.
        kind: ``test``, ``forensics``, ``verdict`` or ``context``.
        plain: In plain words.
        module: Whose docstring has the definition; empty if there is no more to say.
    """

    name: str
    kind: str
    plain: str
    module: str = ""


def topics() -> dict[str, Topic]:
    """Everything that can be explained, by name."""
    found = [
        *(Topic(n, "test", w.plain, w.module) for n, w in TESTS.items()),
        *(Topic(n, "forensics", w.plain, w.module) for n, w in FORENSICS.items()),
        *(Topic(str(name), "verdict", plain) for name, plain in CLASSES.items()),
        *(
            Topic(name, "context", f"{plain} {CONTEXT_NOTE}", module)
            for name, (module, plain) in SIGNALS.items()
        ),
    ]
    return {topic.name: topic for topic in found}


def register(subparsers: Any) -> None:
    """Add the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "explain",
        help="say what a test, a verdict or a signal is",
        description="Say in plain words what a test, a verdict or a context signal is, "
        "then how it is defined. Without a name, list what can be explained.",
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", choices=sorted(topics()), default=None
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain one thing, or list all."""
    found = topics()
    if args.name is None:
        _list(found, as_json=args.json)
        return EXIT_OK
    topic = found[args.name]
    text = definition(topic)
    if args.json:
        print_json({"schema": SCHEMA, "test": topic.name, **_dict(topic), "text": text})
    else:
        lines = [f"{topic.name} ({topic.kind})", "", topic.plain]
        sys.stdout.write("\n".join([*lines, *(["", text] if text else []), ""]))
    return EXIT_OK


def definition(topic: Topic) -> str:
    """How a topic is defined, in the words of the module that computes it."""
    if not topic.module or find_spec(topic.module) is None:
        return ""
    return (import_module(topic.module).__doc__ or "").strip()


def _list(found: dict[str, Topic], *, as_json: bool) -> None:
    if as_json:
        print_json({"schema": SCHEMA, "topics": [_dict(t) for t in found.values()]})
        return
    print_table(
        ("name", "kind", "in plain words"),
        [(topic.name, topic.kind, topic.plain) for topic in found.values()],
    )


def _dict(topic: Topic) -> dict[str, str]:
    return {"name": topic.name, "kind": topic.kind, "plain": topic.plain}
