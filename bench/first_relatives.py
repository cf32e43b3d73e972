# SPDX-License-Identifier: Apache-2.0
"""Does a scan put a model's parent before all its other relatives?

    python -m bench.first_relatives FOLDER... [--out FILE.json]

``FOLDER`` holds models with a ``zoo.json``.  Each descendant is looked for in a
registry of all the other models, its own descendants among them: once where the
registry records their parents, once where it does not, and once in the order of
p-values and effects alone, without a look at how relatives stand to each other.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.engine import fingerprint
from bench.genealogy import read_zoo
from bench.machine import interval, machine_facts

from pedigree.fingerprint.model import Fingerprint
from pedigree.registry.catalogue import Parent
from pedigree.registry.folder import Registry
from pedigree.registry.scan import compare_all, scan_registry

WAYS = ("parentsRecorded", "nothingRecorded", "comparisonsAlone")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.first_relatives",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    zoo = read_zoo(args.folders)
    prints = {name: fingerprint(facts["folder"])[0] for name, facts in zoo.items()}
    rows = []
    for name, facts in zoo.items():
        if facts.get("linked") is True:
            rows.append(_row(name, prints, zoo))
            print(json.dumps(rows[-1]), file=sys.stderr)
    document = {
        "schema": "pedigree.dev/bench/first-relatives/v1",
        "machine": machine_facts(),
        "summary": {way: _summary(rows, way) for way in WAYS},
        "models": rows,
    }
    if args.out:
        args.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document["summary"], indent=1))
    return 0


def _row(
    name: str, prints: Mapping[str, Fingerprint], zoo: Mapping[str, Any]
) -> dict[str, Any]:
    """The first relative of one model, in each way."""
    others = {other: made for other, made in prints.items() if other != name}
    compared = compare_all(prints[name], others)
    return {
        "model": name,
        "parents": zoo[name]["parents"],
        "parentsRecorded": _scanned(prints[name], others, zoo),
        "nothingRecorded": _scanned(prints[name], others, {}),
        "comparisonsAlone": compared[0].reference,
    }


def _scanned(
    model: Fingerprint, others: Mapping[str, Fingerprint], zoo: Mapping[str, Any]
) -> str:
    """Name that a scan puts first; ``zoo`` tells the parents that are recorded."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry.open(Path(folder), create=True)
        for name, made in others.items():
            names = zoo.get(name, {}).get("parents", ())
            parents = tuple(Parent(parent, "FineTuned") for parent in names)
            registry.add(name, made, parents=parents)
        ranked = scan_registry(model, registry).ranked
    return ranked[0].reference if ranked else ""


def _summary(rows: list[dict[str, Any]], way: str) -> dict[str, Any]:
    wrong = {row["model"]: row[way] for row in rows if row[way] not in row["parents"]}
    right = len(rows) - len(wrong)
    return {
        "models": len(rows),
        "parentFirst": right,
        "interval95": interval(right, len(rows)),
        "wrong": wrong,
    }


if __name__ == "__main__":
    sys.exit(main())
