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
from pedigree.cli.context import features_of, signal_dicts, signal_row
from pedigree.cli.failure import EXIT_NEGATIVE, EXIT_NOTHING_TO_CHECK, EXIT_OK
from pedigree.cli.far import add_options
from pedigree.cli.models import MODEL_HELP, Subject, read_subject, source_settings
from pedigree.cli.plain_words import CONTEXT_NOTE, related_to
from pedigree.cli.render import (
    counted,
    human_bytes,
    print_json,
    print_lines,
    print_table,
)
from pedigree.lineage.classes import LineageClass

if TYPE_CHECKING:
    from pedigree.lineage.merges import MergeFinding
    from pedigree.registry import Registry
    from pedigree.registry.kit_scan import KitMatch
    from pedigree.registry.path import Step
    from pedigree.registry.scan import Ranked, Scan

SCHEMA = "pedigree.dev/scan/v1"
SHOWN_MAX = 20


def register(subparsers: Any) -> None:
    """Add the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "scan",
        help="say which known models a model descends from",
        description="Find the references of a registry that a model descends from, "
        "best first. The p-values hold over all references, compared or not. "
        "Exits with 4 if the registry is empty.",
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--registry", type=Path, required=True, metavar="DIR", help="known models"
    )
    parser.add_argument(
        "--exhaustive",
        action="store_true",
        help="compare every reference, also those that are far in every code",
    )
    parser.add_argument(
        "--context",
        action="store_true",
        help="read a model of any size for the context signals against records of the "
        "kit, which never decide; models up to 67 MB are read unasked",
    )
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_fail_on(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Scan one model."""
    fail_on = fail_classes(args.fail_on)
    from pedigree.cli.scan_claims import told_of
    from pedigree.registry import Registry
    from pedigree.registry.kit_scan import scan_kit
    from pedigree.registry.path import lineage_path
    from pedigree.registry.scan import scan_registry

    started = time.perf_counter()
    registry = Registry.open(args.registry)
    subject = read_subject(args.model, sources=source_settings(args))
    found = scan_registry(
        subject.fingerprint, registry, exhaustive=args.exhaustive, power=args.json
    )
    path = lineage_path(found, registry)
    kit = (
        scan_kit(
            subject.checkpoint,
            registry,
            context=lambda: features_of(subject, asked=args.context),
        )
        if subject.checkpoint
        else ()
    )
    told = told_of(subject, found, path, registry)
    seconds = time.perf_counter() - started
    if args.json:
        document = _document(subject, registry, found, path, seconds)
        kits = [_kit_dict(match) for match in kit]
        print_json({**document, "kit": kits, **told.to_dict()})
    else:
        _print(subject, found, path, seconds)
        _print_kit(kit)
        told.print()
    if not found.references and not kit:
        return EXIT_NOTHING_TO_CHECK
    failing = is_failing([r.comparison for r in found.ranked], fail_on)
    return EXIT_NEGATIVE if failing else EXIT_OK


def _document(
    subject: Subject,
    registry: Registry,
    found: Scan,
    path: Sequence[Step],
    seconds: float,
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "model": subject.to_dict(),
        "registryDigest": str(registry.digest),
        "references": found.references,
        "matches": [
            {"reference": r.reference, **comparison_dict(r.comparison)}
            for r in found.ranked
        ],
        "screened": found.screened,
        "far": found.far,
        "incomparable": list(found.incomparable),
        "merge": _merge_dict(found.merge),
        "siblings": [
            {
                "reference": name,
                "root": told.root,
                "carried": round(told.carried, 4),
                "error": round(told.error, 4),
                "counts": told.counts,
                "evidence": told.evidence,
            }
            for name, told in sorted(found.siblings.items())
        ],
        "path": [
            {
                "name": step.name,
                "relation": step.relation,
                "source": step.source,
                "sure": step.sure,
                "known": step.known,
                "advisories": [{"id": a.id, "text": a.text} for a in step.advisories],
            }
            for step in path
        ],
        "bytesRead": subject.bytes_read,
        "seconds": round(seconds, 4),
    }


def _merge_dict(merge: MergeFinding | None) -> dict[str, Any] | None:
    if merge is None:
        return None
    return {
        "kind": merge.kind,
        "shares": [
            {"reference": share.name, "share": round(share.share, 4)}
            for share in merge.shares
        ],
        "layers": [
            {
                "layer": layer.layer,
                "origin": layer.origin,
                "shares": [{"reference": n, "share": s} for n, s in layer.shares],
            }
            for layer in merge.layers
        ],
        "left": round(merge.left, 6),
        "evidence": merge.evidence,
    }


def _kit_dict(match: KitMatch) -> dict[str, Any]:
    return {
        "reference": match.reference,
        "related": match.is_related,
        "log10P": round(match.log10_p, 3),
        "context": signal_dicts(match.context),
        "tests": [
            {
                "name": test.name,
                "ran": test.ran,
                "reason": str(test.reason or ""),
                "detail": test.detail,
                "effect": round(test.effect, 4),
                "z": round(test.z, 3),
                "log10P": round(test.log10_p, 3),
                "method": test.method,
                "n": test.n,
            }
            for test in match.tests
        ],
    }


def _print_kit(kit: Sequence[KitMatch]) -> None:
    for match in [match for match in kit if match.is_related][:SHOWN_MAX]:
        ran = "; ".join(
            f"{test.name} effect {test.effect:.2f}, Z {test.z:.1f}"
            for test in match.tests
            if test.ran
        )
        print_lines(
            f"related by the kit's record {match.reference}: log10 p "
            f"{match.log10_p:.1f} ({ran})"
        )
    if kit:
        print_lines(f"{len(kit)} records of the kit could be tested")
    shown = [match for match in kit if match.context][:SHOWN_MAX]
    if shown:
        print_lines(CONTEXT_NOTE)
        print_table(
            ("record of the kit", *(signal.name for signal in shown[0].context)),
            [(match.reference, *signal_row(match.context)) for match in shown],
            right=range(1, 9),
        )


def _print(subject: Subject, found: Scan, path: Sequence[Step], seconds: float) -> None:
    ranked = found.ranked
    print_lines(describe(subject), "", _sentence(found))
    if path:
        steps = (f"{step.name} {'->' if step.sure else '--'} " for step in path)
        print_lines(f"path: {''.join(steps)}{subject.name}")
    if found.merge is not None:
        print_lines(*_merge_lines(found.merge))
    for name, told in sorted(found.siblings.items()):
        said = told.evidence.replace("B carries", "the model carries")
        said = said.replace("what A changed", "what it changed")
        said = said.replace("or A comes from B", "or it comes from the model")
        note = "" if told.counts else " (does not count: what is sampled is public)"
        print_lines(f"sibling {name}: {said}{note}")
    for step in path:
        for advisory in step.advisories:
            print_lines(f"advisory {advisory.id} ({step.name}): {advisory.text}")
    print_table(
        ("reference", "verdict", "relation", "log10 p", "test", "effect"),
        [_row(item) for item in ranked[:SHOWN_MAX]],
        right=(3, 5),
    )
    if len(ranked) > SHOWN_MAX:
        print_lines(f"and {len(ranked) - SHOWN_MAX} more; --json lists all")
    if found.incomparable:
        print_lines(
            f"{len(found.incomparable)} references follow another format or salt and "
            f"could not be compared, such as {found.incomparable[0]}"
        )
    size = human_bytes(subject.bytes_read)
    known = counted(found.references, "reference")
    looked = f"{len(ranked)} compared, {found.screened} screened, {found.far} far"
    print_lines(f"{known}: {looked}; {size} read, {seconds:.2f} s")


def _merge_lines(merge: MergeFinding) -> list[str]:
    """What it is merged of, and by layer where layers differ."""
    lines = [f"merged ({merge.kind}): {merge.evidence}"]
    origins = {(layer.layer == layer.origin, layer.shares) for layer in merge.layers}
    if len(origins) > 1:
        for layer in merge.layers:
            of = ", ".join(f"{share:.2f} {name}" for name, share in layer.shares)
            lines.append(f"  layer {layer.layer}: {of} (layer {layer.origin})")
    return lines


def _sentence(found: Scan) -> str:
    if not found.references:
        return "the registry has no fingerprints: nothing was checked"
    if not found.ranked:
        return "NoEvidence: no reference is near enough to be compared"
    best = found.ranked[0]
    if best.comparison.lineage.descends:
        related = related_to(best.comparison.lineage, best.reference)
        return f"{related}: the closest of all"
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
