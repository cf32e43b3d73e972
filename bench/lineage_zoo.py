# SPDX-License-Identifier: Apache-2.0
"""Compare every pair of models in a folder whose genealogy is known.

    python -m bench.lineage_zoo FOLDER [--out FILE.json]

Each model is a folder with a ``zoo.json`` that says ``parents`` and ``linked``.  Two
models are related if they have a common ancestor through linked steps; a distilled
student shares no weights and counts as independent.  Prints one JSON document: counts
with confidence intervals, every pair, sizes and times, and facts about the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from bench.machine import machine_facts, upper_limit

from pedigree.errors import PedigreeError
from pedigree.fingerprint.build import build_fingerprint
from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.compare import compare
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source
from pedigree.tensors.checkpoint import Checkpoint


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    zoo = {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(args.folder.glob("*/zoo.json"))
    }
    prints, builds = _fingerprints(args.folder, zoo)
    pairs = [_pair(a, b, prints, zoo) for a, b in combinations(sorted(prints), 2)]
    document = {
        "schema": "pedigree.dev/bench/lineage-zoo/v1",
        "machine": machine_facts(),
        "models": builds,
        "summary": _summary(pairs),
        "pairs": pairs,
    }
    text = json.dumps(document, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
        text = json.dumps(document["summary"], indent=1)
    print(text)
    return 0


def _fingerprints(
    folder: Path, zoo: Mapping[str, Any]
) -> tuple[dict[str, Fingerprint], dict[str, Any]]:
    prints: dict[str, Fingerprint] = {}
    facts: dict[str, Any] = {}
    for name in zoo:
        started = time.perf_counter()
        reference = parse(f"file://{(folder / name).resolve()}")
        try:
            source = open_source(reference, SourceSettings())
            made = build_fingerprint(Checkpoint.open(source))
        except PedigreeError as error:
            facts[name] = {"error": error.reason}
            continue
        prints[name] = made
        facts[name] = {
            "architecture": made.architecture,
            "parameters": made.parameters,
            "fingerprintBytes": len(made.encoded),
            "bytesRead": source.bytes_read,
            "seconds": round(time.perf_counter() - started, 4),
        }
        print(f"{name}: {facts[name]}", file=sys.stderr)
    return prints, facts


def _ancestors(name: str, zoo: Mapping[str, Any]) -> set[str]:
    found = {name}
    if zoo.get(name, {}).get("linked") != "distilled":
        for parent in zoo.get(name, {}).get("parents", ()):
            found |= _ancestors(parent, zoo)
    return found


def _pair(
    a: str, b: str, prints: Mapping[str, Fingerprint], zoo: Mapping[str, Any]
) -> dict[str, Any]:
    started = time.perf_counter()
    result = compare(prints[a], prints[b])
    seconds = time.perf_counter() - started
    return {
        "a": a,
        "b": b,
        "related": bool(_ancestors(a, zoo) & _ancestors(b, zoo)),
        "verdict": str(result.lineage),
        "relation": result.relation,
        "direction": str(result.direction),
        "reason": result.reason,
        "log10P": round(result.log10_p, 2),
        "seconds": round(seconds, 4),
        "tests": {
            test.name: (
                str(test.reason)
                if test.reason
                else {
                    "effect": round(test.effect, 4),
                    "z": round(test.z, 2),
                    "log10P": round(test.log10_p, 2),
                    "smallestEffect": test.smallest_effect,
                }
            )
            for test in result.tests
        },
    }


def _summary(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    dependent = ("Identical", "Derived")
    related = [pair for pair in pairs if pair["related"]]
    apart = [pair for pair in pairs if not pair["related"]]
    found = [pair for pair in related if pair["verdict"] in dependent]
    false = [pair for pair in apart if pair["verdict"] in dependent]
    return {
        "related": {
            "pairs": len(related),
            "found": len(found),
            "verdicts": Counter(pair["verdict"] for pair in related),
            "missed": [
                [pair["a"], pair["b"], pair["verdict"], pair["reason"], pair["log10P"]]
                for pair in related
                if pair["verdict"] not in dependent
            ],
        },
        "independent": {
            "pairs": len(apart),
            "false": len(false),
            "falseRateUpper95": upper_limit(len(false), len(apart)),
            "verdicts": Counter(pair["verdict"] for pair in apart),
            "falsePairs": [[pair["a"], pair["b"]] for pair in false],
            "smallestLog10P": min((pair["log10P"] for pair in apart), default=0),
        },
        "secondsPerComparison": round(
            sum(pair["seconds"] for pair in pairs) / max(1, len(pairs)), 4
        ),
    }


if __name__ == "__main__":
    sys.exit(main())
