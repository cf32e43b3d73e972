# SPDX-License-Identifier: Apache-2.0
"""``pedigree explain``: what a test is, in the words of its own documentation."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from pedigree.cli.failure import EXIT_OK
from pedigree.cli.render import print_json

_MODULES = {
    "HASH": "pedigree.lineage.hash_test",
    "ALIGN-neuron": "pedigree.lineage.align",
    "ALIGN-residual": "pedigree.lineage.align",
    "GAMMA": "pedigree.lineage.gamma",
}
SCHEMA = "pedigree.dev/explain/v1"


def register(subparsers: Any) -> None:
    """Add the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "explain",
        help="say what a test measures, survives and assumes",
        description="Say what a test measures, survives and assumes.",
    )
    parser.add_argument("test", metavar="TEST", choices=sorted(_MODULES))
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain one test."""
    text = import_module(_MODULES[args.test]).__doc__ or ""
    if args.json:
        print_json({"schema": SCHEMA, "test": args.test, "text": text.strip()})
    else:
        import sys

        sys.stdout.write(text.strip() + "\n")
    return EXIT_OK
