# SPDX-License-Identifier: Apache-2.0
"""``pedigree examine``: all facts about one model, as the operator gathers them.

The operator runs this command as a subprocess, so that no hostile model can take its
memory or its time.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedigree.cli.failure import EXIT_OK
from pedigree.cli.far import add_options, usage_words
from pedigree.cli.findings import finding_dicts, print_findings
from pedigree.cli.models import PLACE_HELP, source_settings, to_ref
from pedigree.cli.progress import stage_progress
from pedigree.cli.render import human_bytes, print_json, print_lines
from pedigree.cli.signers import add_trust_options, trust_of, with_signatures
from pedigree.errors import ConfigError, PedigreeError, quote

if TYPE_CHECKING:
    from pedigree.evidence import Evidence, Finding
    from pedigree.examine import Examination

SCHEMA = "pedigree.dev/examination/v1"


def register(subparsers: Any) -> None:
    """Add the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "examine",
        help="gather all facts about one model",
        description="Gather all facts about one model: digest, formats, findings, "
        "claims, fingerprint. A malformed model is a finding and exits with 0.",
    )
    parser.add_argument("model", metavar="MODEL", help=PLACE_HELP)
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="where fingerprints are kept"
    )
    parser.add_argument(
        "--file-root",
        type=Path,
        action="append",
        metavar="DIR",
        help="folder that file:// models must be in; may be given several times",
    )
    parser.add_argument(
        "--deadline",
        type=_seconds,
        metavar="SECONDS",
        help="seconds after which no further read begins",
    )
    add_trust_options(parser)
    add_options(parser)
    parser.add_argument(
        "--controls",
        action="store_true",
        help="list the controls that each kind of finding is evidence for",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--hand-back",
        metavar="NAMESPACE/CONFIGMAP",
        help="for Jobs: write the answer into ConfigMaps that are there, empty",
    )
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{quote(text)}, wanted seconds, more than 0")
    return seconds


def run(args: argparse.Namespace) -> int:
    """Examine one model."""
    return _run_here(args) if args.hand_back is None else _run_for_another(args)


def _run_here(args: argparse.Namespace) -> int:
    import dataclasses

    from pedigree.examine import ExamineSettings, examine
    from pedigree.ranges import ModelSource, Usage, usage_of
    from pedigree.refs import Scheme
    from pedigree.registry import FingerprintStore

    roots = tuple(args.file_root) if args.file_root else None
    sources = dataclasses.replace(source_settings(args), file_roots=roots)
    ref = to_ref(args.model)
    sources_open: list[ModelSource] = []

    def far_usage() -> Usage:
        return usage_of(sources_open[0]) if sources_open else Usage()

    spent = None if ref.scheme is Scheme.FILE else far_usage
    with stage_progress(spent) as progress:
        found = examine(
            ref,
            settings=ExamineSettings(
                sources=sources, deadline_s=args.deadline, trust=trust_of(args)
            ),
            store=FingerprintStore(args.store) if args.store else None,
            now=datetime.now(UTC),
            progress=progress,
            opened_as=sources_open.append,
        )
    if args.json:
        findings = finding_dicts(with_signatures(found.evidence))
        print_json({**_document(found), "findings": findings})
    else:
        _print(found, controls=args.controls)
    return EXIT_OK


def _run_for_another(args: argparse.Namespace) -> int:
    """Examine and hand back, errors too: they are an answer to who asked."""
    import dataclasses

    from pedigree.cli.failure import EXIT_NO_ANSWER, failure_document
    from pedigree.cli.hand_back import (
        Target,
        examine_to_fit,
        hand_back,
        server_from_environment,
    )

    if args.store is not None:
        raise ConfigError("--store and --hand-back were both given, wanted one of them")
    target, server = Target.parse(args.hand_back), server_from_environment()
    roots = tuple(args.file_root) if args.file_root else None
    sources = dataclasses.replace(source_settings(args), file_roots=roots)
    try:
        with stage_progress() as progress:
            found = examine_to_fit(
                to_ref(args.model),
                sources,
                deadline_s=args.deadline,
                now=datetime.now(UTC),
                progress=progress,
            )
        made = b"" if found.fingerprint is None else found.fingerprint.encoded
        hand_back(server, target, EXIT_OK, _document(found), made)
    except PedigreeError as error:
        if error.reason != "NotHandedBack":
            document = failure_document(error)
            hand_back(server, target, EXIT_NO_ANSWER, document, b"")
        raise
    if args.json:
        print_json(_document(found))
    return EXIT_OK


def _document(found: Examination) -> dict[str, Any]:
    from pedigree.evidence import to_spec, to_status

    return {
        "schema": SCHEMA,
        "evidence": {
            "spec": to_spec(found.evidence),
            "status": to_status(found.evidence),
        },
        "reused": found.reused,
        "bytesRead": found.bytes_read,
        "bytesKept": found.usage.bytes_kept,
        "requests": found.usage.requests,
        "requestsLimited": found.usage.requests_limited,
        "requestsFailed": found.usage.requests_failed,
        "rateLimitedSeconds": round(found.usage.limited_s, 3),
        "seconds": round(found.seconds, 4),
    }


def _print(found: Examination, *, controls: bool) -> None:
    evidence = found.evidence
    findings = with_signatures(evidence)
    fingerprint = str(evidence.fingerprint or "none: the weights cannot be read")
    print_lines(
        f"digest       {evidence.digest}",
        f"root digest  {evidence.root_digest}",
        f"files        {evidence.files}, {human_bytes(evidence.size_bytes)}",
        f"formats      {', '.join(evidence.formats)}",
        f"architecture {evidence.architecture or 'unknown'}",
        f"weights      {evidence.parameters:,}",
        f"fingerprint  {fingerprint}",
        *(f"claims       {c.field}: {c.value} ({c.source})" for c in evidence.claims),
        f"signatures   {_signatures(evidence)}",
        f"findings     {_severities(findings)}",
    )
    print_findings(findings, controls=controls)
    reused = ", fingerprint kept from before" if found.reused else ""
    print_lines(f"{usage_words(found.usage)}, {found.seconds:.2f} s{reused}")


def _signatures(evidence: Evidence) -> str:
    """How many signatures there are, and how many of them are worth something."""
    found = evidence.signatures.found if evidence.signatures else ()
    valid = sum(item.valid for item in found)
    return f"{valid} valid of {len(found)}" if found else "none"


def _severities(findings: Iterable[Finding]) -> str:
    """How many findings there are of each severity, the worst first."""
    counts = Counter(str(finding.severity) for finding in findings)
    return ", ".join(f"{n} {severity}" for severity, n in counts.items()) or "none"
