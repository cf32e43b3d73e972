# SPDX-License-Identifier: Apache-2.0
"""Are the p-values of unrelated models what they say?

    python -m bench.null_calibration FOLDER... [--draws N] [--out FILE.json]

Folders hold models with a ``zoo.json`` each; ``python -m bench.null_bases`` makes many.
For every test with a permutation null and every pair of architectures:

``bases``
    Every pair of blocks of models from different random numbers (students included),
    as they are: this alone tests *exchangeability itself*.  Models are few and cells
    share them; the interval is exact all the same, see ``bench.null_relabel``.
``all``
    The same with all descendants, which repeat their bases; the interval is by the
    jackknife, leaving out one base with all its descendants at a time.
``repaired``
    The same cells with the rows of one side permuted at random, over and over.  A
    permuted model computes the same function, so each is as good a null.
``whole``
    Whole tests, all cells and their correction included, on re-paired models: shares of
    p-values at or below 0.1 and 0.01, which must not exceed them.
``made``
    Rows made to be nasty (``bench.null_made``).
``tail``
    Proven bounds at the thresholds that decide, against simulation
    (``bench.null_tail``), on cells of real models.

The inflation factor is median(x^2) / 0.4549, with x the normal quantile of the reported
p-value; ``inflationOfZ`` is the same of Z itself.  Prints one JSON document, and a
table of it to standard error.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from bench.genealogy import read_zoo
from bench.machine import machine_facts
from bench.null_made import MADE
from bench.null_models import TESTS, Pair, bases, group, independent, load
from bench.null_relabel import CHI2_MEDIAN, inflation, relabelled, scores
from bench.null_tail import log10_tail
from numpy.typing import NDArray

from pedigree.lineage.axis import run
from pedigree.lineage.permutation import centre, log10_bound, tail

Vector = NDArray[np.float64]
RELABELLINGS = 200


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.null_calibration")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument(
        "--draws", type=int, default=10_000, help="re-pairings per test; 0: none"
    )
    parser.add_argument("--tests", nargs="+", choices=TESTS, default=list(TESTS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    random = np.random.default_rng(20261123)
    zoo = read_zoo(args.folders)
    models = load(zoo)
    document: dict[str, Any] = {
        "schema": "pedigree.dev/bench/null-calibration/v2",
        "machine": machine_facts(),
        "models": sorted(models),
        "groups": sorted({group(name, zoo) for name in models}),
    }
    for test in args.tests:
        every = list(independent(models, zoo, test))
        apart = [p for p in every if {p.a, p.b} <= bases(zoo)]
        document[test] = _of_test(apart, args.draws, random)
        document[test]["all"] = _jackknife(every, zoo)
        print(f"{test}: {len(every)} pairs", file=sys.stderr, flush=True)
    document["made"] = {
        name: _summary(*_made(name, args.draws // 5, random))
        for name in MADE
        if args.draws
    }
    text = json.dumps(document, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)
    print(_table(document), file=sys.stderr)
    return 0


def _of_test(
    pairs: list[Pair], draws: int, random: np.random.Generator
) -> dict[str, Any]:
    if not draws:
        return {"bases": _of_models(pairs, random)}
    kinds = sorted({pair.kind for pair in pairs})
    by_kind = {kind: [p for p in pairs if p.kind == kind] for kind in kinds}
    return {
        "bases": _of_models(pairs, random),
        "repaired": {
            kind: _summary(*_repaired(mine, draws // len(kinds), random))
            for kind, mine in by_kind.items()
        },
        "whole": _whole(pairs, draws // 20, random),
        "tail": _tail(pairs, random),
    }


def _of_models(pairs: list[Pair], random: np.random.Generator) -> dict[str, Any]:
    """Cells as they are, and where chance alone puts their inflation factor."""
    cells = [
        [_cell(x, y) for x in pair.rows[0] for y in pair.rows[1]] for pair in pairs
    ]
    z, log10_p = np.array([cell for pair in cells for cell in pair]).T
    kinds = np.array(
        [pair.kind for pair, of in zip(pairs, cells, strict=True) for _ in of]
    )
    null = relabelled(pairs, RELABELLINGS, random)  # (draws, cells)
    result = {}
    for kind in ("any", *sorted(set(kinds))):
        mine = np.full(len(kinds), True) if kind == "any" else kinds == kind
        factors = inflation(null[:, mine])
        low, high = np.quantile(factors, [0.025, 0.975])
        rank = float((factors >= inflation(z[mine])).mean())
        result[str(kind)] = _summary(z[mine], log10_p[mine]) | {
            "pairs": sum(kind in (pair.kind, "any") for pair in pairs),
            "inflationByChance95": [round(float(low), 3), round(float(high), 3)],
            "twoSidedP": round(min(1.0, 2 * min(rank, 1 - rank) + 2 / RELABELLINGS), 3),
        }
    return result


def _jackknife(pairs: list[Pair], zoo: Mapping[str, Any]) -> dict[str, Any]:
    """Inflation of Z over all independent pairs, with a leave-one-group-out error."""
    z = [scores(pair).reshape(-1) for pair in pairs]
    sides = [{group(pair.a, zoo), group(pair.b, zoo)} for pair in pairs]
    everything = np.concatenate(z)
    left_out = [
        inflation(np.concatenate(kept))
        for name in sorted(set.union(*sides))
        if (kept := [x for x, s in zip(z, sides, strict=True) if name not in s])
    ]
    count = len(left_out)
    error = math.sqrt((count - 1) * float(np.var(left_out)))
    factor = float(inflation(everything))
    return {
        "pairs": len(pairs),
        "tests": len(everything),
        "deviation": round(float(everything.std()), 3),
        "maximum": round(float(everything.max()), 2),
        "inflationOfZ": round(factor, 3),
        "jackknife95": [
            round(factor - 1.96 * error, 3),
            round(factor + 1.96 * error, 3),
        ],
    }


def _cell(a: NDArray[np.floating], b: NDArray[np.floating]) -> tuple[float, float]:
    found = tail([centre(a.astype(float) @ b.astype(float).T)], seed=1)
    return found.z, found.log10_p


def _repaired(
    pairs: Sequence[Pair], draws: int, random: np.random.Generator
) -> tuple[Vector, Vector]:
    cells = []
    for _ in range(draws):
        a, b = pairs[int(random.integers(len(pairs)))].rows
        x, y = a[random.integers(len(a))], b[random.integers(len(b))]
        cells.append(_cell(x, y[random.permutation(len(y))]))
    z, log10_p = np.array(cells).T
    return z, log10_p


def _whole(
    pairs: Sequence[Pair], draws: int, random: np.random.Generator
) -> dict[str, Any]:
    """P-values of whole tests; each block, or the whole model, is permuted."""
    found = []
    for _ in range(draws):
        pair = pairs[int(random.integers(len(pairs)))]
        axis = TESTS[pair.test][0]
        a, b = pair.blocks
        n = pair.rows[1].shape[1]
        one = random.permutation(n)
        orders = [one if axis.shared else random.permutation(n) for _ in b.rows]
        rows = np.array(
            [x[order] for x, order in zip(b.rows, orders, strict=True)]
        ).reshape(b.rows.shape)
        other = replace(b, rows=rows, common=b.common[one])
        found.append(run(axis, a, other, alpha_log10=None).log10_p)
    log10_p = np.array(found)
    return {
        "tests": draws,
        "ratio": {
            f"1e-{k}": round(float((log10_p <= -k).mean()) * 10**k, 3) for k in (1, 2)
        },
        "smallestLog10P": round(float(log10_p.min()), 2),
    }


def _tail(
    pairs: Sequence[Pair], random: np.random.Generator, cells: int = 4
) -> dict[str, Any]:
    """log10 of the bound less that of the simulated probability, at three levels."""
    levels = (-7.0, -10.0, -15.0)
    excess: list[list[float]] = []
    for _ in range(cells):
        a, b = pairs[int(random.integers(len(pairs)))].rows
        x, y = a[random.integers(len(a))], b[random.integers(len(b))]
        d = centre(x.astype(float) @ y.astype(float).T)
        at = [_level(d, level) for level in levels]
        estimates = log10_tail(d, at, random)
        excess.append(
            [
                round(log10_bound([d], t) - p, 2)
                for t, p in zip(at, estimates, strict=True)
            ]
        )
    return {
        f"1e{level:.0f}": [row[k] for row in excess] for k, level in enumerate(levels)
    }


def _level(d: NDArray[np.float64], log10_p: float) -> float:
    """The statistic whose bound is a p-value."""
    low, high = 0.0, float(d.max(axis=1).sum())
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if log10_bound([d], middle) <= log10_p else (middle, high)
        )
    return high


def _made(name: str, draws: int, random: np.random.Generator) -> tuple[Vector, Vector]:
    cells = []
    for _ in range(draws):
        a, b = MADE[name](random)
        cells.append(_cell(a, b[random.permutation(len(b))]))
    z, log10_p = np.array(cells).T
    return z, log10_p


def _expected(count: int) -> list[float]:
    """Where 95 % of inflation factors of ``count`` exact, independent tests lie.

    The sample median has standard error 1 / (2 f sqrt(n)), f the density at it: 0.4717
    for chi-squared with one degree of freedom.
    """
    error = 1.96 / (2 * 0.4717 * math.sqrt(count)) / CHI2_MEDIAN
    return [round(max(0.0, 1 - error), 3), round(1 + error, 3)]


def _summary(z: Vector, log10_p: Vector) -> dict[str, Any]:
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
        "inflation": round(float(inflation(quantiles)), 3),
        "inflationOfZ": round(float(inflation(z)), 3),
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
            [round(math.log10((i + 0.5) / len(z)), 3), round(float(ordered[i]), 3)]
            for i in places
        ],
    }


def _table(document: Mapping[str, Any]) -> str:
    lines = [
        "| null | tests | sd of Z | max Z | inflation [95 % by chance] | of Z "
        "| p/alpha at 1e-1, 1e-2, 1e-3 (normal tail) |",
        "|---|---|---|---|---|---|---|",
    ]

    def row(name: str, s: Mapping[str, Any]) -> str:
        low, high = s.get("inflationByChance95", s["inflationIfExact95"])
        ratios = " ".join(
            f"{s['ratio'][f'1e-{k}'][0]} ({s['ratio'][f'1e-{k}'][1]})"
            for k in (1, 2, 3)
        )
        return (
            f"| {name} | {s['tests']} | {s['deviation']} | {s['maximum']} "
            f"| {s['inflation']} [{low}, {high}] | {s['inflationOfZ']} | {ratios} |"
        )

    for null in ("bases", "repaired"):
        for test in TESTS:
            for kind, s in document.get(test, {}).get(null, {}).items():
                lines.append(row(f"{null}: {test}, {kind}", s))
    lines += [row(f"made: {name}", s) for name, s in document["made"].items()]
    lines += ["", "| test | pairs | cells | inflation of Z, all | jackknife 95 % |"]
    lines += ["|---|---|---|---|---|"]
    for test in (t for t in TESTS if t in document):
        s = document[test]["all"]
        lines.append(
            f"| {test} | {s['pairs']} | {s['tests']} | {s['inflationOfZ']} "
            f"| {s['jackknife95']} |"
        )
    for part in ("whole", "tail"):
        told = [t for t in TESTS if part in document.get(t, {})]
        lines += ["", *(f"{t}: {part} {document[t][part]}" for t in told)]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
