# SPDX-License-Identifier: Apache-2.0
"""``pedigree scan``: which known models does a model descend from?"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedigree.cli.compare_command import describe
from pedigree.cli.comparison import (
    add_fail_on,
    comparison_dict,
    fail_classes,
    is_failing,
)
from pedigree.cli.failure import EXIT_NEGATIVE, EXIT_NOTHING_TO_CHECK, EXIT_OK
from pedigree.cli.models import MODEL_HELP, Subject, read_subject
from pedigree.cli.render import human_bytes, print_json, print_lines, print_table
from pedigree.lineage.classes import LineageClass

if TYPE_CHECKING:
    from pedigree.registry.scan import Ranked

SCHEMA = "pedigree.dev/scan/v1"
SHOWN_MAX = 20


def register(subparsers: Any) -> None:
    """Add the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "scan",
        help="say which known models a model descends from",
        description="Compare a model with every reference of a registry, best first. "
        "The p-values hold over the whole scan. Exits with 4 if the registry is empty.",
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--registry", type=Path, required=True, metavar="DIR", help="known models"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_fail_on(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Scan one model."""
    fail_on = fail_classes(args.fail_on)
    from pedigree.registry import Registry
    from pedigree.registry.scan import compare_all

    started = time.perf_counter()
    references = Registry.open(args.registry).references()
    subject = read_subject(args.model)
    ranked = compare_all(subject.fingerprint, references, power=args.json)
    seconds = time.perf_counter() - started
    if args.json:
        print_json(
            {
                "schema": SCHEMA,
                "model": subject.to_dict(),
                "registryDigest": str(references.digest),
                "references": len(references),
                "matches": [
                    {"reference": r.reference, **comparison_dict(r.comparison)}
                    for r in ranked
                ],
                "bytesRead": subject.bytes_read,
                "seconds": round(seconds, 4),
            }
        )
    else:
        _print(subject, ranked, seconds)
    if not ranked:
        return EXIT_NOTHING_TO_CHECK
    failing = is_failing([r.comparison for r in ranked], fail_on)
    return EXIT_NEGATIVE if failing else EXIT_OK


def _print(subject: Subject, ranked: Sequence[Ranked], seconds: float) -> None:
    print_lines(describe(subject), "", _sentence(ranked))
    print_table(
        ("reference", "verdict", "relation", "log10 p", "test", "effect"),
        [_row(item) for item in ranked[:SHOWN_MAX]],
        right=(3, 5),
    )
    if len(ranked) > SHOWN_MAX:
        print_lines(f"and {len(ranked) - SHOWN_MAX} more; --json lists all")
    size = human_bytes(subject.bytes_read)
    print_lines(f"{len(ranked)} references, {size} read, {seconds:.2f} s")


def _sentence(ranked: Sequence[Ranked]) -> str:
    if not ranked:
        return "the registry has no references: nothing was checked"
    best = ranked[0]
    if best.comparison.lineage.descends:
        return f"{best.comparison.lineage} from {best.reference}: the closest of all"
    if best.comparison.lineage is LineageClass.NO_EVIDENCE:
        return "NoEvidence: no reference is related, as far as the tests can see"
    return f"{best.comparison.lineage}: {best.reference}: {best.comparison.statement}"


def _row(item: Ranked) -> tuple[str, ...]:
    found = item.comparison
    test = found.deciding
    return (
        item.reference,
        str(found.lineage),
        found.relation or found.reason,
        f"{found.log10_p:.1f}",
        test.name if test else "-",
        f"{test.effect:.3f}" if test else "-",
    )
