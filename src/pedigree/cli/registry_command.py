# SPDX-License-Identifier: Apache-2.0
"""``pedigree registry``: the known models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedigree.cli import registry_exchange as exchange
from pedigree.cli.failure import EXIT_NEGATIVE, EXIT_OK
from pedigree.cli.far import add_options
from pedigree.cli.models import MODEL_HELP, read_subject, source_settings
from pedigree.cli.render import counted, print_json, print_lines, print_table
from pedigree.errors import ConfigError, quote

if TYPE_CHECKING:
    from pedigree.registry import Registry

SCHEMA_LIST = "pedigree.dev/registry-list/v1"
SCHEMA_ENTRY = "pedigree.dev/registry-entry/v1"
SCHEMA_VERIFY = "pedigree.dev/registry-verify/v1"


def register(subparsers: Any) -> None:
    """Add the command and its verbs."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "registry",
        help="the known models: add, list, show, verify, export, import, merge",
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
    add.add_argument(
        "--parent",
        action="append",
        default=[],
        metavar="NAME:RELATION",
        help="what it descends from and how, such as org/base:FineTuned",
    )
    add.add_argument(
        "--advisory",
        action="append",
        default=[],
        metavar="ID:TEXT",
        help="a warning, which all descendants inherit",
    )
    add.add_argument(
        "--profile",
        choices=("auto", "minimal", "fast", "deep"),
        default="auto",
        help="how much of the model to keep, as for `pedigree fingerprint`",
    )
    add.add_argument("--replace", action="store_true", help="replace what is there")
    add_options(add)
    _verb(verbs, "list", "list the known models", _list)
    show = _verb(verbs, "show", "show one known model", _show)
    show.add_argument("name", metavar="NAME")
    _verb(verbs, "verify", "recompute every digest and code", _verify)
    text = "bring in an exported file, or a database of the Model Provenance Kit"
    exchange.register_import(_verb(verbs, "import", text, exchange.run_import))
    text = "write references to one file that can be carried"
    exchange.register_export(_verb(verbs, "export", text, exchange.run_export))
    text = "bring in the references of another registry"
    exchange.register_merge(_verb(verbs, "merge", text, exchange.run_merge))
    text = "show the measurements behind the p-values of MATCH and QF"
    _verb(verbs, "null-bank", text, exchange.run_null_bank, needs_registry=False)


def _verb(
    verbs: Any, name: str, text: str, run: Any, *, needs_registry: bool = True
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    if needs_registry:
        parser.add_argument(
            "--registry", type=Path, required=True, metavar="DIR", help="the folder"
        )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)
    return parser


def _add(args: argparse.Namespace) -> int:
    from pedigree.fingerprint.spec import Profile
    from pedigree.registry import Advisory, Parent, Registry

    parents = [
        Parent(*_pair(text, "--parent", "NAME:RELATION")) for text in args.parent
    ]
    advisories = [
        Advisory(*_pair(text, "--advisory", "ID:TEXT")) for text in args.advisory
    ]
    registry = Registry.open(args.registry, create=True)
    profile = None if args.profile == "auto" else Profile(args.profile)
    sources = source_settings(args)
    subject = read_subject(args.model, profile=profile, sources=sources)
    entry = registry.add(
        args.name,
        subject.fingerprint,
        source=subject.uri,
        family=args.family,
        publisher=args.publisher,
        license=args.license,
        aliases=tuple(args.alias),
        parents=tuple(parents),
        advisories=tuple(advisories),
        replace=args.replace,
    )
    if args.json:
        print_json({"schema": SCHEMA_ENTRY, "reference": entry.to_dict()})
    else:
        print_lines(
            f"added {entry.name}: fingerprint {entry.fingerprint}, "
            f"{counted(len(registry), 'reference')} in {args.registry}"
        )
        known = {each.name for each in registry.entries} if entry.parents else set()
        for parent in entry.parents:
            if parent.name not in known:
                print_lines(
                    f"note: its parent {quote(parent.name)} is not in this registry; "
                    "paths name it, and no model is compared with it"
                )
    return EXIT_OK


def _pair(text: str, option: str, wanted: str) -> tuple[str, str]:
    first, colon, second = text.partition(":")
    if not (first and colon and second):
        raise ConfigError(
            f"{option} is {quote(text)}, wanted {wanted}", reason="UsageInvalid"
        )
    return first.strip(), second.strip()


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
    print_lines(counted(len(entries), "reference"))
    return EXIT_OK


def _show(args: argparse.Namespace) -> int:
    from pedigree.registry import Registry

    registry = Registry.open(args.registry)
    entry = registry.entry(args.name)
    facts = _kit_facts if entry.is_kit else _facts
    shown = {**entry.to_dict(), **facts(registry, args.name)}
    if args.json:
        print_json({"schema": SCHEMA_ENTRY, "reference": shown})
        return EXIT_OK
    shown["fingerprint"] = f"{entry.fingerprint} ({entry.spec})"
    shown["aliases"] = ", ".join(entry.aliases)
    shown["parents"] = ", ".join(f"{p.name} ({p.relation})" for p in entry.parents)
    shown["advisories"] = "; ".join(f"{a.id}: {a.text}" for a in entry.advisories)
    print_lines(*(f"{key:17} {value}" for key, value in shown.items()))
    return EXIT_OK


def _facts(registry: Registry, name: str) -> dict[str, Any]:
    made = registry.fingerprint(name)
    return {
        "architecture": made.architecture,
        "profile": made.profile.value,
        "parameters": made.parameters,
        "layers": made.shape.layers,
        "width": made.shape.width,
        "vocabulary": made.shape.vocabulary,
        "fingerprintBytes": len(made.encoded),
    }


def _kit_facts(registry: Registry, name: str) -> dict[str, Any]:
    from pedigree.registry.kit_signals import decode_signals

    body = registry.body(name)
    signals = decode_signals(body, name)
    names = [*signals.vectors, *(["wvc"] if signals.layers else [])]
    return {
        "architecture": str(signals.metadata.get("model_type", "")),
        "width": signals.width,
        "signals": ", ".join(names) or "none",
        "fingerprintBytes": len(body),
    }


def _verify(args: argparse.Namespace) -> int:
    from pedigree.registry import Registry

    registry = Registry.open(args.registry)
    problems = registry.verify()
    if args.json:
        print_json(
            {
                "schema": SCHEMA_VERIFY,
                "references": len(registry),
                "problems": [
                    {"reference": p.name, "reason": p.reason, "message": p.message}
                    for p in problems
                ],
            }
        )
    else:
        print_lines(
            *(f"{p.reason}: {p.message}" for p in problems),
            f"{counted(len(registry), 'reference')}, "
            f"{counted(len(problems), 'problem')}",
        )
    return EXIT_NEGATIVE if problems else EXIT_OK
