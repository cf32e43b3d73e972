# SPDX-License-Identifier: Apache-2.0
"""Measure how often neurons of independent models match twice, for the null bank.

    python -m bench.null_bank FOLDER... --date 2026-01-31 [--out FILE.json]

Folders hold models with a ``zoo.json`` each; ``python -m bench.null_bases`` makes many.
Every pair of models without common random numbers (students and their teachers
included) is matched by MATCH and QF, every pair of blocks, without screening.  The
output is what ``pedigree.lineage.nullbank`` loads.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from bench.genealogy import read_zoo
from bench.null_models import group

from pedigree.fingerprint.build import build_fingerprint
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.spec import Profile
from pedigree.fingerprint.vocabulary import read_vocabulary
from pedigree.lineage import match, qf
from pedigree.lineage.mutual import Block, cells, prepare
from pedigree.lineage.nullbank import RATE_MATCHED, fit
from pedigree.lineage.results import TestResult
from pedigree.lineage.views import GATED, views_of
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source
from pedigree.tensors.checkpoint import Checkpoint

VERSION = "1"
Zoo = Mapping[str, Mapping[str, Any]]
Count = tuple[int, int]
"""Agreed, matched."""
Blocks = tuple[list[Block], list[Block]] | TestResult
TESTS: dict[str, Callable[[Fingerprint, Fingerprint], Blocks]] = {
    match.NAME: match.blocks_of,
    qf.NAME: qf.blocks_of,
}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.null_bank")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--date", required=True, help="of the measurement")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    zoo = read_zoo(args.folders)
    deep = _fingerprints(zoo, Profile.DEEP)
    fast = _fingerprints(zoo, Profile.FAST)
    counts = _measure(deep, fast, zoo)
    families = sorted({group(name, zoo) for name in deep})
    document = {
        "schema": "pedigree.dev/null-bank/v1",
        "version": VERSION,
        "made": {
            "date": args.date,
            "program": "bench.null_bank",
            "fingerprint": next(iter(deep.values())).spec,
            "models": len(deep),
            "families": {name: _facts(deep[name]) for name in families},
        },
        "laws": {name: _law(found) for name, found in sorted(counts.items()) if found},
        "counts": {
            name: _table(found) for name, found in sorted(counts.items()) if found
        },
    }
    text = json.dumps(document, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
        text = json.dumps(document["laws"], indent=1)
    print(text)
    return 0


def _fingerprints(zoo: Zoo, profile: Profile) -> dict[str, Fingerprint]:
    found = {}
    for name, facts in sorted(zoo.items()):
        source = open_source(
            parse(f"file://{facts['folder'].resolve()}"), SourceSettings()
        )
        made = build_fingerprint(
            Checkpoint.open(source), vocabulary=read_vocabulary(source), profile=profile
        )
        if made.architecture:
            found[name] = made
    return found


def _facts(model: Fingerprint) -> str:
    shape = model.shape
    return f"{model.architecture} {shape.layers}x{shape.width}, {shape.neurons} neurons"


Found = dict[tuple[str, str, str], list[list[Count]]]
"""Comparisons by architectures and the two families."""


def _measure(
    deep: Mapping[str, Fingerprint], fast: Mapping[str, Fingerprint], zoo: Zoo
) -> dict[str, Found]:
    counts: dict[str, Found] = defaultdict(lambda: defaultdict(list))
    for one, other in combinations(sorted(deep), 2):
        first, second = sorted((group(one, zoo), group(other, zoo)))
        if first == second:
            continue
        a, b = deep[one], deep[other]
        kind = ":".join(sorted((a.architecture, b.architecture)))
        for test in TESTS:
            for name, x, y in (
                ("whole", a, b),
                ("sampled", a, fast[other]),
                ("sampled", fast[one], b),
            ):
                found = list(_cells(test, x, y))
                if found:
                    units = counts[f"{test}/{name}"]
                    units[kind, first, second].append(found)
    return counts


def _cells(test: str, a: Fingerprint, b: Fingerprint) -> Iterator[Count]:
    blocks = TESTS[test](a, b)
    if isinstance(blocks, TestResult):
        return
    first, second = prepare(*blocks)
    found, _ = cells(first, second, signed=views_of(a) != GATED, screen=False)
    for cell in found:
        if cell.matched:
            yield cell.agreed, cell.matched


def _law(found: Found) -> dict[str, float]:
    units = list(found.values())
    comparisons = [comparison for unit in units for comparison in unit]
    every = [count for comparison in comparisons for count in comparison]
    return {
        "beta": round(fit(units), 2),
        "allowed": round(fit(units, 1000.0), 1),
        "pairs": len(units),
        "comparisons": len(comparisons),
        "cells": len(every),
        "agreed": sum(agreed for agreed, _ in every),
        "matched": sum(matched for _, matched in every),
        "largest": round(
            max((k / n for k, n in every if n >= RATE_MATCHED), default=0.0), 4
        ),
    }


def _table(found: Found) -> dict[str, list[list[int]]]:
    """By architectures: agreed, pairs of blocks with that many, matched in these."""
    tables: dict[str, dict[str, Counter[int]]] = defaultdict(
        lambda: {"cells": Counter(), "matched": Counter()}
    )
    for (kind, _, _), comparisons in found.items():
        for agreed, matched in (count for one in comparisons for count in one):
            tables[kind]["cells"][agreed] += 1
            tables[kind]["matched"][agreed] += matched
    return {
        kind: [
            [agreed, cells_, table["matched"][agreed]]
            for agreed, cells_ in sorted(table["cells"].items())
        ]
        for kind, table in sorted(tables.items())
    }


if __name__ == "__main__":
    sys.exit(main())
