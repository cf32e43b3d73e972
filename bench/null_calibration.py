# SPDX-License-Identifier: Apache-2.0
"""Are the p-values of unrelated models what they say?

    python -m bench.null_calibration FOLDER [--draws N] [--out FILE.json]

Three nulls, from the most real to the most numerous:

``models``
    Every pair of layers of models that were trained apart, as they are; and for the
    neuron axis every pair of different layers of one model, which are independent
    pairings too.  This is the only one that tests *exchangeability itself*; its tests
    number in the hundreds and share models, so its intervals are wide.
``repaired``
    The same pairs of layers with the rows of one side permuted at random, over and
    over.  A permuted model computes the same function, so each is as good a null; this
    tests the p-values on real similarity matrices.
``made``
    Matrices made to be nasty: heavy tails, outlier channels, a common direction, low
    rank, few rows.

For each: mean and deviation of Z; the inflation factor median(x^2) / 0.4549, with x the
normal quantile of the reported p-value, and the same of Z itself; the interval that
holds 95 % of the factors of as many exact and independent tests; the share of p-values
at or below each power of ten over that power, and the same for a normal tail of Z; and
points of the QQ plot.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from bench.machine import machine_facts
from numpy.typing import NDArray

from pedigree.fingerprint.build import build_fingerprint
from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.align import neuron_blocks, residual_blocks
from pedigree.lineage.axis import Blocks
from pedigree.lineage.gamma import norm_blocks
from pedigree.lineage.permutation import centre, tail
from pedigree.lineage.results import TestResult
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source
from pedigree.tensors.checkpoint import Checkpoint

Matrix = NDArray[np.float64]
CHI2_MEDIAN = 0.4549364


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    # Made matrices mostly need Monte Carlo, at 20 ms each: a fifth of the draws.
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    random = np.random.default_rng(20261123)
    bases = _bases(args.folder)
    pairs = list(_independent(bases))
    document = {
        "schema": "pedigree.dev/bench/null-calibration/v1",
        "machine": machine_facts(),
        "bases": sorted(bases),
        "models": _of_models(pairs, bases),
        "repaired": _repaired(pairs, args.draws, random),
        "made": {
            name: _summary(*_draw(make, args.draws // 5, random))
            for name, make in MADE.items()
        },
    }
    text = json.dumps(document, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(_table(document))
    return 0


def _bases(folder: Path) -> dict[str, Fingerprint]:
    """Models trained from random initialisation: no parents, or distilled."""
    found = {}
    for path in sorted(folder.glob("*/zoo.json")):
        facts = json.loads(path.read_text())
        if not facts["parents"] or facts.get("linked") == "distilled":
            source = open_source(
                parse(f"file://{path.parent.resolve()}"), SourceSettings()
            )
            found[path.parent.name] = build_fingerprint(Checkpoint.open(source))
    return found


Pair = tuple[str, str, Blocks, Blocks]


def _independent(bases: Mapping[str, Fingerprint]) -> Iterator[Pair]:
    """(test, label, A, B) for every pair of bases the test can compare."""
    for a, b in combinations(sorted(bases), 2):
        first, second = bases[a], bases[b]
        for name, blocks in (
            ("ALIGN-neuron", neuron_blocks(first, second)),
            ("ALIGN-residual", residual_blocks(first, second)),
        ):
            if not isinstance(blocks, TestResult):
                yield (name, f"{a}:{b}", *blocks)
        if first.shape.width == second.shape.width:
            yield "GAMMA", f"{a}:{b}", norm_blocks(first), norm_blocks(second)


def _of_models(pairs: list[Pair], bases: Mapping[str, Fingerprint]) -> dict[str, Any]:
    found: dict[str, list[tuple[float, float]]] = {}
    for name, _, a, b in pairs:
        cells = found.setdefault(name, [])
        cells.extend(_cell(x, y) for x in a.rows for y in b.rows)
    within = found.setdefault("ALIGN-neuron, layers of one model", [])
    for model in bases.values():
        blocks = neuron_blocks(model, model)
        if not isinstance(blocks, TestResult):
            rows = blocks[0].rows
            within.extend(_cell(x, y) for x, y in combinations(rows, 2))
    return {
        name: _summary(*np.array(cells).T)  # (tests, 2) -> Z and log10 p
        for name, cells in found.items()
    }


def _cell(a: NDArray[np.floating], b: NDArray[np.floating]) -> tuple[float, float]:
    found = tail([centre(a.astype(float) @ b.astype(float).T)], seed=1)
    return found.z, found.log10_p


def _repaired(
    pairs: list[Pair], draws: int, random: np.random.Generator
) -> dict[str, Any]:
    result = {}
    for name in ("ALIGN-neuron", "ALIGN-residual", "GAMMA"):
        mine = [(a.rows, b.rows) for test, _, a, b in pairs if test == name]

        def make(
            random: np.random.Generator, mine: list[Any] = mine
        ) -> tuple[Matrix, Matrix]:
            a, b = mine[random.integers(len(mine))]
            return a[random.integers(len(a))], b[random.integers(len(b))]

        result[name] = _summary(*_draw(make, draws, random))
    return result


Maker = Callable[[np.random.Generator], tuple[Matrix, Matrix]]


def _draw(
    make: Maker, draws: int, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Z and log10 p of ``draws`` random pairings."""
    z, p = np.zeros(draws), np.zeros(draws)
    for k in range(draws):
        a, b = make(random)
        c = a.astype(float) @ b[random.permutation(len(b))].astype(float).T
        found = tail([centre(c)], seed=k)
        z[k], p[k] = found.z, found.log10_p
    return z, p


def _heavy(random: np.random.Generator, n: int, df: float) -> tuple[Matrix, Matrix]:
    a, b = random.standard_t(df, (2, n, 96))
    return a, b


def _outliers(random: np.random.Generator) -> tuple[Matrix, Matrix]:
    """Three rows of both models are twelve times as large, and share a direction."""
    a, b = random.standard_t(4, (2, 64, 96))
    a[:3] *= 12
    b[:3] *= 12
    return a + 2 * a[:1] / 12, b + 2 * b[:1] / 12


def _low_rank(random: np.random.Generator) -> tuple[Matrix, Matrix]:
    factor = random.normal(size=(2, 96))
    a, b = random.exponential(size=(2, 64, 2)) @ factor
    return a, b


def _one_row(random: np.random.Generator) -> tuple[Matrix, Matrix]:
    """All of the similarity is in one row of each: T has two values."""
    a, b = random.normal(0, 1e-3, (2, 64, 96))
    a[0] += 1
    b[0] += 1
    return a, b


MADE: dict[str, Maker] = {
    "normal, 64 rows": lambda r: (r.normal(size=(64, 96)), r.normal(size=(64, 96))),
    "Student t3, 64 rows": lambda r: _heavy(r, 64, 3),
    "Student t2, 16 rows": lambda r: _heavy(r, 16, 2),
    "outlier rows, common mean": _outliers,
    "rank 2, exponential": _low_rank,
    "one row holds all": _one_row,
}


def _expected(count: int) -> list[float]:
    """Where 95 % of inflation factors of ``count`` exact, independent tests lie.

    The sample median has standard error 1 / (2 f sqrt(n)), f the density at it: 0.4717
    for chi-squared with one degree of freedom.
    """
    error = 1.96 / (2 * 0.4717 * math.sqrt(count)) / CHI2_MEDIAN
    return [round(max(0.0, 1 - error), 3), round(1 + error, 3)]


def _summary(z: NDArray[np.float64], log10_p: NDArray[np.float64]) -> dict[str, Any]:
    normal = np.array([0.5 * math.erfc(x / math.sqrt(2)) for x in z])
    ordered = np.sort(log10_p)
    inverse = NormalDist().inv_cdf
    quantiles = np.array([inverse(min(max(10.0**x, 1e-300), 0.9999)) for x in log10_p])
    places = np.unique(np.geomspace(1, len(z), 25).astype(int)) - 1
    return {
        "tests": len(z),
        "mean": round(float(z.mean()), 3),
        "deviation": round(float(z.std()), 3),
        "maximum": round(float(z.max()), 2),
        "inflation": round(float(np.median(quantiles**2)) / CHI2_MEDIAN, 3),
        "inflationOfZ": round(float(np.median(z**2)) / CHI2_MEDIAN, 3),
        "inflationIfExact95": _expected(len(z)),
        "ratio": {
            f"1e-{k}": [
                round(float((log10_p <= -k).mean()) * 10**k, 3),
                round(float((normal <= 10.0**-k).mean()) * 10**k, 3),
            ]
            for k in (1, 2, 3, 4)
        },
        "smallestLog10P": round(float(ordered[0]), 2),
        "qq": [
            [
                round(math.log10((i + 0.5) / len(z)), 3),
                round(float(ordered[i]), 3),
            ]
            for i in places
        ],
    }


def _table(document: Mapping[str, Any]) -> str:
    lines = [
        "| null | tests | sd of Z | max Z | inflation [95 % if exact] | of Z "
        "| p/alpha at 1e-2, 1e-3, 1e-4 (normal tail) |",
        "|---|---|---|---|---|---|---|",
    ]
    for null in ("models", "repaired", "made"):
        for name, s in document[null].items():
            low, high = s["inflationIfExact95"]
            ratios = (
                " ".join(
                    f"{s['ratio'][f'1e-{k}'][0]} ({s['ratio'][f'1e-{k}'][1]})"
                    for k in (2, 3, 4)
                )
                if "ratio" in s
                else "-"
            )
            lines.append(
                f"| {null}: {name} | {s['tests']} | {s['deviation']} | {s['maximum']} "
                f"| {s['inflation']} [{low}, {high}] | {s['inflationOfZ']} | {ratios} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
