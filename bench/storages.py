# SPDX-License-Identifier: Apache-2.0
"""One model in every storage that is read, compared pair by pair.

Writes the model in each storage as its own tools would, fingerprints all of them, and
compares every pair; beside it a stranger of the same shape, in bfloat16, which must
match none.  Prints one JSON document, with ``--table`` the lineage of all pairs as a
page instead::

    python -m bench.storages [--model FOLDER] [--profiles deep fast] [--table]

Without ``--model`` the model is a made Llama of about a million weights.  A folder's
weights are rounded to bfloat16 first, so that storages which keep bfloat16 keep it all.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import ml_dtypes
import numpy as np
from bench.machine import machine_facts

import made_models as made
from made_models import Weights
from pedigree.fingerprint.spec import Profile
from pedigree.lineage.compare import compare
from storages import FEW_BITS, PLAIN, QUANTISED

STRANGER = "stranger"
_SIGNS = {"Identical": "=", "Derived": "d", "NoEvidence": ".", "Inconclusive": "?"}
_LEGEND = """\
= Identical, q Derived (Quantised), d Derived in another way, . NoEvidence,
? Inconclusive, r any other lineage; columns are the rows by number"""
EVERY = {**PLAIN, **QUANTISED, **FEW_BITS}


def main() -> None:
    """Write, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--profiles", nargs="+", default=["deep", "fast"])
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    weights, other = _models(given.model)
    found = {name: measure(weights, other, Profile(name)) for name in given.profiles}
    if given.table:
        for name, rows in found.items():
            print(f"{name}\n{table(rows)}\n")
        print(_LEGEND)
        return
    parameters = sum(values.size for values in weights.values())
    summary = {name: summarise(rows) for name, rows in found.items()}
    met = {name for rows in found.values() for row in rows for name in row.values()}
    document = {
        "machine": machine_facts(),
        "parameters": parameters,
        "tooNarrowFor": sorted(EVERY.keys() - met),
        **summary,
        "pairs": found,
    }
    print(json.dumps(document, indent=1))


def measure(weights: Weights, other: Weights, profile: Profile) -> list[dict[str, Any]]:
    """Every pair of storages, and each against a stranger."""
    with tempfile.TemporaryDirectory() as name:
        prints = {}
        for kind, write in {**EVERY, STRANGER: PLAIN["bf16"]}.items():
            folder = Path(name, kind)
            try:
                write(folder, other if kind == STRANGER else weights)
            except ValueError:  # blocks that are wider than its matrices
                continue
            prints[kind] = made.fingerprint(folder, profile=profile)
    rows = []
    for first, second in combinations(prints, 2):
        result = compare(prints[first], prints[second])
        relation = result.relations[0].kind.value if result.relations else ""
        row = {"first": first, "second": second, "lineage": result.lineage.value}
        rows.append({**row, "relation": relation, "log10P": round(result.log10_p, 1)})
    return rows


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many pairs of which kind got which lineage and relation."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        kinds = " and ".join(sorted({_kind(row["first"]), _kind(row["second"])}))
        told = f"{row['lineage']} {row['relation']}".strip()
        per = counts.setdefault(kinds, {})
        per[told] = per.get(told, 0) + 1
    return counts


def table(rows: list[dict[str, Any]]) -> str:
    """A triangle with one sign for each pair; ``_LEGEND`` says what they stand for."""
    names = list(dict.fromkeys([row["first"] for row in rows] + [STRANGER]))
    cells = {(row["first"], row["second"]): _sign(row) for row in rows}
    width = max(map(len, names))
    lines = [" " * width + " " + " ".join(f"{at:2}" for at in range(1, len(names)))]
    for at, name in enumerate(names):
        told = (cells[before, name] for before in names[:at])
        lines.append(f"{name:{width}} " + " ".join(f"{cell:>2}" for cell in told))
    return "\n".join(lines)


def _models(folder: Path | None) -> tuple[Weights, Weights]:
    """The model, and one of the same shape that has nothing to do with it."""
    if folder is None:
        shape = {"width": 256, "neurons": 512, "tokens": 320}
        return _rounded(made.llama(seed=11, **shape)), made.llama(seed=12, **shape)
    weights = _rounded(made.read(folder))
    rng = np.random.default_rng(0)
    return weights, {
        name: rng.normal(0, values.std() + 1e-6, values.shape).astype(np.float32)
        for name, values in weights.items()
    }


def _rounded(weights: Weights) -> Weights:
    return {
        name: values.astype(ml_dtypes.bfloat16).astype(np.float32)
        for name, values in weights.items()
    }


def _kind(name: str) -> str:
    if name == STRANGER:
        return STRANGER
    if name in PLAIN:
        return "kept"
    return "rounded" if name in QUANTISED else "rounded to few bits"


def _sign(row: dict[str, Any]) -> str:
    if row["lineage"] == "Derived" and row["relation"] == "Quantised":
        return "q"
    return _SIGNS.get(str(row["lineage"]), "r")


if __name__ == "__main__":
    main()
