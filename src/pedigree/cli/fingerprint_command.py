# SPDX-License-Identifier: Apache-2.0
"""``pedigree fingerprint``: make the fingerprint of a model, and keep it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pedigree.cli.compare_command import describe
from pedigree.cli.failure import EXIT_OK
from pedigree.cli.models import FINGERPRINT_SUFFIX, MODEL_HELP, read_subject
from pedigree.cli.render import human_bytes, print_json, print_lines
from pedigree.errors import ConfigError, quote

SCHEMA = "pedigree.dev/fingerprint-made/v1"


def register(subparsers: Any) -> None:
    """Add the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "fingerprint",
        help="make the fingerprint of a model",
        description="Make the fingerprint of a model; with -o, keep it in a file that "
        "every command takes in place of the model.",
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help=f"where to keep it; the name must end in {FINGERPRINT_SUFFIX}",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fingerprint one model."""
    if args.out is not None and not args.out.name.endswith(FINGERPRINT_SUFFIX):
        raise ConfigError(
            f"--out is {quote(str(args.out))}, wanted a name that ends in "
            f"{FINGERPRINT_SUFFIX}",
            reason="UsageInvalid",
        )
    subject = read_subject(args.model)
    made = subject.fingerprint
    if args.out is not None:
        from pedigree.registry.files import write_whole

        write_whole(args.out, made.encoded)
    if args.json:
        print_json(
            {
                "schema": SCHEMA,
                **subject.to_dict(),
                "reason": made.reason,
                "unmappedTensors": made.unmapped,
                "fingerprintBytes": len(made.encoded),
                "out": str(args.out) if args.out else "",
                "seconds": round(subject.seconds, 4),
            }
        )
        return EXIT_OK
    lines = [
        describe(subject),
        f"fingerprint {made.digest} ({made.spec}, {human_bytes(len(made.encoded))})",
    ]
    if made.unmapped:
        lines.append(f"{made.unmapped} tensors have no known role")
    if args.out:
        lines.append(f"kept in {args.out}")
    lines.append(f"{human_bytes(subject.bytes_read)} read, {subject.seconds:.2f} s")
    print_lines(*lines)
    return EXIT_OK
