# SPDX-License-Identifier: Apache-2.0
"""``pedigree fingerprint``: make the fingerprint of a model, and keep it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pedigree.cli.compare_command import describe
from pedigree.cli.failure import EXIT_OK
from pedigree.cli.far import add_options
from pedigree.cli.models import (
    FINGERPRINT_SUFFIX,
    MODEL_HELP,
    read_subject,
    source_settings,
)
from pedigree.cli.render import human_bytes, print_json, print_lines
from pedigree.errors import ConfigError, quote

SCHEMA = "pedigree.dev/fingerprint-made/v1"
_SALT_MAX_BYTES = 1 << 20


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
    parser.add_argument(
        "--profile",
        choices=("auto", "minimal", "fast", "deep"),
        default="auto",
        help="how much to keep: fast reads below 1 %% of a large model, deep all; "
        "auto is deep up to 268 MB of weights and fast above",
    )
    parser.add_argument(
        "--salt",
        type=Path,
        metavar="FILE",
        help="secret of at least 16 bytes that decides what is sampled; only "
        "fingerprints of one salt can be compared",
    )
    add_options(parser)
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
    from pedigree.fingerprint.spec import Profile

    profile = None if args.profile == "auto" else Profile(args.profile)
    subject = read_subject(
        args.model,
        profile=profile,
        salt=_salt(args.salt),
        sources=source_settings(args),
    )
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
                "notes": list(made.notes),
                "salted": bool(made.settings.salted),
                "unmappedTensors": made.unmapped,
                "fingerprintBytes": len(made.encoded),
                "out": str(args.out) if args.out else "",
                "seconds": round(subject.seconds, 4),
            }
        )
        return EXIT_OK
    lines = [
        describe(subject),
        f"fingerprint {made.digest} "
        f"({made.spec}, {made.profile.value}, {human_bytes(len(made.encoded))})",
    ]
    if made.unmapped:
        lines.append(f"{made.unmapped} tensors have no known role")
    if args.out:
        lines.append(f"kept in {args.out}")
    lines.append(f"{human_bytes(subject.bytes_read)} read, {subject.seconds:.2f} s")
    print_lines(*lines)
    return EXIT_OK


def _salt(path: Path | None) -> bytes | None:
    from pedigree.registry.files import read_bounded

    if path is None:
        return None
    salt = read_bounded(path, _SALT_MAX_BYTES)
    if salt is None:
        raise ConfigError(
            f"there is no salt {quote(str(path))}",
            reason="UsageInvalid",
            hint="make one with `head -c 32 /dev/urandom > FILE`",
        )
    return salt
