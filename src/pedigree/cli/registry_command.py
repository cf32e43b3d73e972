# SPDX-License-Identifier: Apache-2.0
"""``pedigree registry``: the known models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pedigree.cli.failure import EXIT_NEGATIVE, EXIT_OK
from pedigree.cli.models import MODEL_HELP, read_subject
from pedigree.cli.render import print_json, print_lines, print_table

SCHEMA_LIST = "pedigree.dev/registry-list/v1"
SCHEMA_ENTRY = "pedigree.dev/registry-entry/v1"
SCHEMA_VERIFY = "pedigree.dev/registry-verify/v1"


def register(subparsers: Any) -> None:
    """Add the command and its verbs."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "registry",
        help="add, list, show and verify known models",
        description="A registry is a folder of fingerprints with a catalogue.",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    add = _verb(verbs, "add", "fingerprint a model and add it", _add)
    add.add_argument("name", metavar="NAME", help="unique in the registry")
    add.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    add.add_argument("--family", default="", help="models that belong together")
    add.add_argument("--publisher", default="", help="who published it")
    add.add_argument("--license", default="", help="SPDX expression")
    add.add_argument(
        "--alias", action="append", default=[], help="name people claim for it"
    )
    add.add_argument("--replace", action="store_true", help="replace what is there")
    _verb(verbs, "list", "list the known models", _list)
    show = _verb(verbs, "show", "show one known model", _show)
    show.add_argument("name", metavar="NAME")
    _verb(verbs, "verify", "check every stored fingerprint", _verify)


def _verb(verbs: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    parser.add_argument(
        "--registry", type=Path, required=True, metavar="DIR", help="the folder"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)
    return parser


def _add(args: argparse.Namespace) -> int:
    from pedigree.registry import Registry

    registry = Registry.open(args.registry, create=True)
    subject = read_subject(args.model)
    entry = registry.add(
        args.name,
        subject.fingerprint,
        source=subject.uri,
        family=args.family,
        publisher=args.publisher,
        license=args.license,
        aliases=tuple(args.alias),
        replace=args.replace,
    )
    if args.json:
        print_json({"schema": SCHEMA_ENTRY, "reference": entry.to_dict()})
    else:
        print_lines(
            f"added {entry.name}: fingerprint {entry.fingerprint}, "
            f"{len(registry.entries)} references in {args.registry}"
        )
    return EXIT_OK


def _list(args: argparse.Namespace) -> int:
    from pedigree.registry import Registry

    entries = Registry.open(args.registry).entries
    if args.json:
        print_json(
            {
                "schema": SCHEMA_LIST,
                "references": [entry.to_dict() for entry in entries],
            }
        )
        return EXIT_OK
    print_table(
        ("name", "family", "publisher", "license", "fingerprint"),
        [
            (e.name, e.family, e.publisher, e.license, str(e.fingerprint)[:19])
            for e in entries
        ],
    )
    print_lines(f"{len(entries)} references")
    return EXIT_OK


def _show(args: argparse.Namespace) -> int:
    from pedigree.registry import Registry

    registry = Registry.open(args.registry)
    entry = registry.entry(args.name)
    made = registry.fingerprint(args.name)
    facts = {
        "architecture": made.architecture,
        "parameters": made.parameters,
        "layers": made.shape.layers,
        "width": made.shape.width,
        "vocabulary": made.shape.vocabulary,
        "fingerprintBytes": len(made.encoded),
    }
    if args.json:
        print_json({"schema": SCHEMA_ENTRY, "reference": {**entry.to_dict(), **facts}})
        return EXIT_OK
    shown = {**entry.to_dict(), **facts}
    shown["fingerprint"] = f"{entry.fingerprint} ({entry.spec})"
    shown["aliases"] = ", ".join(entry.aliases)
    print_lines(*(f"{key:17} {value}" for key, value in shown.items()))
    return EXIT_OK


def _verify(args: argparse.Namespace) -> int:
    from pedigree.registry import Registry

    registry = Registry.open(args.registry)
    problems = registry.verify()
    if args.json:
        print_json(
            {
                "schema": SCHEMA_VERIFY,
                "references": len(registry.entries),
                "problems": [
                    {"reference": p.name, "reason": p.reason, "message": p.message}
                    for p in problems
                ],
            }
        )
    else:
        print_lines(
            *(f"{p.reason}: {p.message}" for p in problems),
            f"{len(registry.entries)} references, {len(problems)} problems",
        )
    return EXIT_NEGATIVE if problems else EXIT_OK
