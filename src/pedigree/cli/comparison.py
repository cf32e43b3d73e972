# SPDX-License-Identifier: Apache-2.0
"""A comparison as JSON and as a table; the schema is in ``docs/cli.md``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pedigree.cli.plain_words import TESTS
from pedigree.cli.render import print_lines, print_table
from pedigree.errors import ConfigError, quote
from pedigree.lineage.classes import LineageClass

if TYPE_CHECKING:
    from pedigree.lineage.results import Comparison, TestResult


def comparison_dict(found: Comparison) -> dict[str, Any]:
    """What one comparison says."""
    return {
        "verdict": str(found.lineage),
        "relation": found.relation,
        "direction": str(found.direction),
        "directionEvidence": found.direction_evidence,
        "reason": found.reason,
        "statement": found.statement,
        "log10P": round(found.log10_p, 3),
        "familySize": found.family_size,
        "decidingTest": found.deciding.name if found.deciding else "",
        "tests": [_test_dict(test) for test in found.tests],
    }


def _test_dict(test: TestResult) -> dict[str, Any]:
    if test.reason is not None:
        return {
            "name": test.name,
            "ran": False,
            "reason": str(test.reason),
            "detail": test.detail,
        }
    smallest = test.smallest_effect
    return {
        "name": test.name,
        "ran": True,
        "reason": "",
        "detail": test.detail,
        "effect": round(test.effect, 4),
        "z": round(test.z, 3),
        "log10P": round(test.log10_p, 3),
        "method": test.method,
        "n": test.n,
        "cells": test.cells,
        "samples": test.samples,
        "deciding": test.deciding,
        "smallestEffect": None if smallest is None else round(smallest, 4),
        "pairs": [{"a": p.a, "b": p.b, "z": p.z} for p in test.pairs],
    }


def forensics_dict(found: Comparison) -> dict[str, Any]:
    """How two related models are related, in full."""
    layers = found.layer_map
    return {
        "relations": [
            {"kind": str(r.kind), "evidence": r.evidence, "numbers": dict(r.numbers)}
            for r in found.relations
        ],
        "directions": [
            {
                "kind": d.kind,
                "direction": str(d.direction),
                "logOdds": round(d.log_odds, 3),
                "evidence": d.evidence,
            }
            for d in found.directions
        ],
        "change": None if found.change is None else round(found.change, 5),
        "layerMap": None
        if layers is None
        else {
            "test": layers.test,
            "a": list(layers.labels_a),
            "b": list(layers.labels_b),
            "scores": [list(row) for row in layers.scores],
            "origins": [{"b": o.b, "a": o.a, "score": o.score} for o in layers.origins],
            "remarks": list(layers.remarks),
        },
    }


def print_forensics(found: Comparison) -> None:
    """What was done, and which way; nothing for unrelated models."""
    lines = [f"relation {r.kind}: {r.evidence}" for r in found.relations]
    marks = [
        f"  {d.kind} says {d.direction} (log odds {d.log_odds:.1f}): {d.evidence}"
        for d in found.directions
    ]
    way = f"direction {found.direction}"
    if marks:
        lines += [way, *marks]
    elif found.relations or found.direction_evidence:
        evidence = found.direction_evidence or "no mark tells who came first"
        lines.append(f"{way}: {evidence}")
    if lines:
        print_lines(*lines, "")


def print_evidence(found: Comparison) -> None:
    """The table of tests, run or not."""
    print_table(
        ("test", "effect", "Z", "log10 p", "rows", "would see", "survives, or why not"),
        [_row(test) for test in found.tests],
        right=(1, 2, 3, 4, 5),
    )


def _row(test: TestResult) -> tuple[str, ...]:
    if test.reason is not None:
        return (test.name, "-", "-", "-", "-", "-", f"{test.reason}: {test.detail}")
    smallest = test.smallest_effect
    is_hash = test.name == "HASH"
    return (
        test.name,
        f"{test.effect:.3f}",
        "-" if is_hash else f"{test.z:.1f}",
        f"{test.log10_p:.1f}",
        str(test.n),
        "-" if smallest is None else f"{smallest:.2f}",
        test.detail if is_hash else TESTS[test.name].survives,
    )


def add_fail_on(parser: argparse.ArgumentParser) -> None:
    """Add ``--fail-on``."""
    parser.add_argument(
        "--fail-on",
        default="",
        metavar="CLASS[,CLASS]",
        help="exit with 1 if a verdict is one of these classes: "
        + ", ".join(LineageClass),
    )


def fail_classes(text: str) -> frozenset[LineageClass]:
    """Read the value of ``--fail-on``.

    Raises:
        ConfigError: A name is not that of a class.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        return frozenset(LineageClass(name) for name in names)
    except ValueError as error:
        raise ConfigError(
            f"--fail-on is {quote(text)}, wanted names of: {', '.join(LineageClass)}",
            reason="UsageInvalid",
        ) from error


def is_failing(found: Iterable[Comparison], fail_on: frozenset[LineageClass]) -> bool:
    """Whether a comparison has one of the classes."""
    return any(item.lineage in fail_on for item in found)
