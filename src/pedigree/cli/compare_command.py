# SPDX-License-Identifier: Apache-2.0
"""``pedigree compare``: what are two models to each other?"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedigree.cli.chat_templates import ComparedTemplates, compared_templates
from pedigree.cli.claimed import JudgedClaim, judged_claims
from pedigree.cli.comparison import (
    add_fail_on,
    comparison_dict,
    fail_classes,
    forensics_dict,
    is_failing,
    print_evidence,
    print_forensics,
)
from pedigree.cli.context import context_of, signal_dicts, signal_row
from pedigree.cli.failure import EXIT_NEGATIVE, EXIT_OK
from pedigree.cli.far import add_options
from pedigree.cli.heatmap import heatmap
from pedigree.cli.models import MODEL_HELP, Subject, read_subject, source_settings
from pedigree.cli.plain_words import CONTEXT_NOTE
from pedigree.cli.render import human_bytes, print_json, print_lines, print_table
from pedigree.errors import ArtifactError, quote

if TYPE_CHECKING:
    from pedigree.lineage.context.model import ContextSignal
    from pedigree.lineage.results import Comparison
    from pedigree.sources import SourceSettings

SCHEMA = "pedigree.dev/compare/v1"


@dataclass(frozen=True, slots=True)
class Report:
    """All that is told of one pair.

    Attributes:
        a: First model.
        b: Second model.
        found: What the weights say.
        claims: What the files say, held against it.
        templates: The chat templates of both.
        context: Signals that never decide; empty if there are no files.
        seconds: By stage, wall time.
    """

    a: Subject
    b: Subject
    found: Comparison
    claims: list[JudgedClaim]
    templates: ComparedTemplates
    context: tuple[ContextSignal, ...]
    seconds: dict[str, float]

    @property
    def bytes_read(self) -> int:
        """Bytes had from both sources."""
        return sum(
            subject.source.bytes_read if subject.source else subject.bytes_read
            for subject in (self.a, self.b)
        )


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
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--context",
        action="store_true",
        help="read models of any size for the context signals, which never decide; "
        "models up to 67 MB are read unasked",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw the layer map and the evidence into a .png or .svg file; needs the "
        "extra 'plot'",
    )
    add_fail_on(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare two models."""
    fail_on = fail_classes(args.fail_on)
    if args.plot is not None:
        from pedigree.cli.plotting import check_target

        check_target(args.plot)
    report = _examined(args)
    if args.plot is not None:
        from pedigree.cli.plotting import draw

        draw(report.found, args.plot, names=(report.a.name, report.b.name))
    if args.json:
        print_json(_document(report))
    else:
        _print(report)
    return EXIT_NEGATIVE if is_failing([report.found], fail_on) else EXIT_OK


def _read(text: str, sources: SourceSettings) -> Subject:
    """One of the two models; what is wrong with its files says which of them it is."""
    try:
        return read_subject(text, sources=sources)
    except ArtifactError as error:
        raise ArtifactError(
            f"model {quote(text, 160)}: {error.message}",
            reason=error.reason,
            hint=error.hint,
            path=error.path,
        ) from error


def _examined(args: argparse.Namespace) -> Report:
    from pedigree.lineage.compare import compare

    sources = source_settings(args)
    a, b = (_read(each, sources) for each in (args.a, args.b))
    started = time.perf_counter()
    found = compare(a.fingerprint, b.fingerprint)
    compared = time.perf_counter()
    claims = judged_claims(a, b, found)
    templates = compared_templates(a, b)
    signals = context_of(a, b, asked=args.context)
    seconds = {
        "a": a.seconds,
        "b": b.seconds,
        "tests": compared - started,
        "context": time.perf_counter() - compared,
    }
    return Report(a, b, found, claims, templates, signals, seconds)


def _document(report: Report) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        **comparison_dict(report.found),
        **forensics_dict(report.found),
        "a": report.a.to_dict(),
        "b": report.b.to_dict(),
        "claims": [
            {
                "model": claim.side,
                "field": claim.field,
                "value": claim.value,
                "source": claim.source,
                "agreement": str(claim.agreement),
                "evidence": claim.evidence,
            }
            for claim in report.claims
        ],
        "chatTemplates": report.templates.to_dict(),
        "context": signal_dicts(report.context),
        "bytesRead": report.bytes_read,
        "seconds": round(sum(report.seconds.values()), 4),
        "secondsByStage": {
            stage: round(seconds, 4) for stage, seconds in report.seconds.items()
        },
    }


def _print(report: Report) -> None:
    found = report.found
    told = found.relation not in ("", str(found.lineage))
    relation = f" ({found.relation})" if told else ""
    print_lines(
        f"A  {describe(report.a)}",
        f"B  {describe(report.b)}",
        "",
        f"{found.lineage}{relation}: {found.statement}",
    )
    print_evidence(found)
    print_forensics(found)
    if found.layer_map is not None:
        print_lines(*heatmap(found.layer_map), "")
    _print_claims(report.claims)
    if line := report.templates.line():
        print_lines(line, "")
    _print_context(report.context)
    stages = ", ".join(f"{name} {s:.2f} s" for name, s in report.seconds.items())
    total = sum(report.seconds.values())
    size = human_bytes(report.bytes_read)
    print_lines(f"{size} read, {total:.2f} s ({stages})")


def _print_claims(claims: list[JudgedClaim]) -> None:
    if not claims:
        return
    print_lines("what the files claim, against the weights:")
    print_table(
        ("of", "claim", "value", "file", "agreement", "evidence"),
        [
            (c.side, c.field, c.value, c.source, str(c.agreement), c.evidence)
            for c in claims
        ],
    )


def _print_context(signals: tuple[ContextSignal, ...]) -> None:
    if not signals:
        print_lines("context signals were not read; --context reads them", "")
        return
    print_lines(CONTEXT_NOTE)
    print_table(
        [signal.name for signal in signals],
        [signal_row(signals)],
        right=range(len(signals)),
    )
    print_lines(
        *(
            f"{signal.name}: {signal.reason}: {signal.detail}"
            for signal in signals
            if signal.reason
        )
    )


def describe(subject: Subject) -> str:
    """One line about a model."""
    from pedigree.lineage.results import NotRun

    made = subject.fingerprint
    family = made.architecture or f"unknown architecture ({made.reason})"
    if made.reason == NotRun.ADAPTER_WEIGHTS:
        family = "an adapter"
    return (
        f"{subject.name}: {family}, {made.parameters:,} weights, "
        f"{made.shape.layers} layers of width {made.shape.width}"
    )
