# SPDX-License-Identifier: Apache-2.0
"""``pedigree registry import|export|merge|null-bank``: what comes and goes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pedigree.cli.failure import EXIT_OK
from pedigree.cli.render import counted, print_json, print_lines, print_table
from pedigree.errors import ConfigError

if TYPE_CHECKING:
    from pedigree.registry.exchange import Merged

SCHEMA_MERGED = "pedigree.dev/registry-merged/v1"
SCHEMA_EXPORT = "pedigree.dev/registry-exported/v1"
SCHEMA_NULL_BANK = "pedigree.dev/null-bank/v1"
CONFLICTS_SHOWN = 20
POLICIES = ("fail", "keep", "replace")


def register_import(verb: argparse.ArgumentParser) -> None:
    """Arguments of ``import``."""
    verb.add_argument(
        "file", metavar="FILE", type=Path, nargs="?", help="an exported file"
    )
    verb.add_argument(
        "--kit",
        type=Path,
        metavar="DIR",
        help="folder of a Model Provenance Kit database: catalogue and features",
    )
    _add_policy(verb)


def register_export(verb: argparse.ArgumentParser) -> None:
    """Arguments of ``export``."""
    verb.add_argument("file", metavar="FILE", type=Path, help="the file to write")
    verb.add_argument("names", metavar="NAME", nargs="*", help="which; all if none")


def register_merge(verb: argparse.ArgumentParser) -> None:
    """Arguments of ``merge``."""
    verb.add_argument("other", metavar="OTHER", type=Path, help="the other registry")
    _add_policy(verb)


def _add_policy(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--on-conflict",
        choices=POLICIES,
        default="fail",
        help="where a name stands for something else already: fail (default), keep "
        "ours, or replace it",
    )


def run_import(args: argparse.Namespace) -> int:
    """Bring in an exported file, or a database of the kit."""
    if (args.file is None) == (args.kit is None):
        raise ConfigError(
            "import was given "
            + ("both a file and --kit" if args.kit else "neither a file nor --kit"),
            reason="UsageInvalid",
            hint="give one of them",
        )
    from pedigree.registry.exchange import OnConflict, merge, read_references
    from pedigree.registry.exchange import require_there as require

    require(args.kit or args.file)
    policy = OnConflict(args.on_conflict)
    if args.kit is None:
        return _say(args, merge(args.registry, read_references(args.file), policy))
    from pedigree.registry.kit import read_kit

    skipped: list[str] = []
    merged = merge(args.registry, read_kit(args.kit, skipped), policy)
    return _say(args, merged, skipped)


def run_merge(args: argparse.Namespace) -> int:
    """Bring in another registry."""
    from pedigree.registry.exchange import OnConflict, merge, read_references
    from pedigree.registry.exchange import require_there as require

    require(args.other)
    policy = OnConflict(args.on_conflict)
    return _say(args, merge(args.registry, read_references(args.other), policy))


def _say(
    args: argparse.Namespace, merged: Merged, skipped: list[str] | None = None
) -> int:
    if args.json:
        print_json(
            {
                "schema": SCHEMA_MERGED,
                "added": merged.added,
                "same": merged.same,
                "conflicts": [
                    {
                        "name": conflict.name,
                        "ours": str(conflict.ours.fingerprint),
                        "theirs": str(conflict.theirs.fingerprint),
                        "settled": args.on_conflict,
                    }
                    for conflict in merged.conflicts
                ],
                "skipped": skipped or [],
            }
        )
        return EXIT_OK
    for conflict in merged.conflicts[:CONFLICTS_SHOWN]:
        print_lines(f"conflict: {conflict.name} ({args.on_conflict})")
    print_lines(*(f"skipped: {text}" for text in (skipped or [])[:CONFLICTS_SHOWN]))
    print_lines(
        f"{merged.added} added, {merged.same} there already, "
        f"{len(merged.conflicts)} conflicts, {len(skipped or [])} skipped"
    )
    return EXIT_OK


def run_export(args: argparse.Namespace) -> int:
    """Write references to one file."""
    from pedigree.registry import Registry
    from pedigree.registry.exchange import export_file

    count = export_file(Registry.open(args.registry), args.file, args.names)
    size = args.file.stat().st_size
    if args.json:
        document = {"references": count, "file": str(args.file), "bytes": size}
        print_json({"schema": SCHEMA_EXPORT, **document})
    else:
        print_lines(f"{counted(count, 'reference')} in {args.file}, {size} bytes")
    return EXIT_OK


def run_null_bank(args: argparse.Namespace) -> int:
    """Show what stands behind the p-values of MATCH and QF."""
    from pedigree.lineage.nullbank import load

    bank = load()
    laws = {
        name: {
            "pairs": law.pairs,
            "cells": law.cells,
            "agreed": law.agreed,
            "matched": law.matched,
            "largestRate": round(law.largest, 6),
            "beta": round(law.beta, 3),
            "rateOf100At1e-6": law.smallest_rate(100, -6.0),
        }
        for name, law in sorted(bank.laws.items())
    }
    if args.json:
        document = {"version": bank.version, "made": dict(bank.made), "laws": laws}
        print_json({"schema": SCHEMA_NULL_BANK, **document})
        return EXIT_OK
    print_lines(*bank.summary().splitlines())
    print_table(
        ("test", "pairs", "matched", "agreed", "largest", "p 1e-6 of 100 at"),
        [
            (
                name,
                str(law["pairs"]),
                str(law["matched"]),
                str(law["agreed"]),
                str(law["largestRate"]),
                "-" if law["rateOf100At1e-6"] is None else str(law["rateOf100At1e-6"]),
            )
            for name, law in laws.items()
        ],
        right=(1, 2, 3, 4, 5),
    )
    return EXIT_OK
