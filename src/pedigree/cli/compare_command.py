# SPDX-License-Identifier: Apache-2.0
"""``pedigree compare``: what are two models to each other?"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from pedigree.cli.comparison import (
    add_fail_on,
    comparison_dict,
    fail_classes,
    is_failing,
    layer_map,
    print_evidence,
)
from pedigree.cli.failure import EXIT_NEGATIVE, EXIT_OK
from pedigree.cli.models import MODEL_HELP, Subject, read_subject
from pedigree.cli.render import human_bytes, print_json, print_lines

if TYPE_CHECKING:
    from pedigree.lineage.results import Comparison

SCHEMA = "pedigree.dev/compare/v1"


def register(subparsers: Any) -> None:
    """Add the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "compare",
        help="say whether two models are related, from their weights",
        description="Say whether two models are related, from their weights alone. "
        "Exits with 0 whatever the answer, unless --fail-on names it.",
    )
    parser.add_argument("a", metavar="A", help=MODEL_HELP)
    parser.add_argument("b", metavar="B", help="the other model, written the same way")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_fail_on(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare two models."""
    fail_on = fail_classes(args.fail_on)
    from pedigree.lineage.compare import compare

    started = time.perf_counter()
    a, b = read_subject(args.a), read_subject(args.b)
    found = compare(a.fingerprint, b.fingerprint)
    seconds = time.perf_counter() - started
    if args.json:
        print_json(_document(a, b, found, seconds))
    else:
        _print(a, b, found, seconds)
    return EXIT_NEGATIVE if is_failing([found], fail_on) else EXIT_OK


def _document(
    a: Subject, b: Subject, found: Comparison, seconds: float
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        **comparison_dict(found),
        "a": a.to_dict(),
        "b": b.to_dict(),
        "bytesRead": a.bytes_read + b.bytes_read,
        "seconds": round(seconds, 4),
    }


def _print(a: Subject, b: Subject, found: Comparison, seconds: float) -> None:
    told = found.relation not in ("", str(found.lineage))
    relation = f" ({found.relation})" if told else ""
    lines = [
        f"A  {describe(a)}",
        f"B  {describe(b)}",
        "",
        f"{found.lineage}{relation}: {found.statement}",
    ]
    if found.direction_evidence:
        lines.append(f"direction {found.direction}: {found.direction_evidence}")
    print_lines(*lines)
    print_evidence(found)
    tail = [layer_map(found)] if layer_map(found) else []
    size = human_bytes(a.bytes_read + b.bytes_read)
    tail.append(f"{size} read, {seconds:.2f} s")
    print_lines(*tail)


def describe(subject: Subject) -> str:
    """One line about a model."""
    made = subject.fingerprint
    family = made.architecture or f"unknown architecture ({made.reason})"
    return (
        f"{subject.name}: {family}, {made.parameters:,} weights, "
        f"{made.shape.layers} layers of width {made.shape.width}"
    )
