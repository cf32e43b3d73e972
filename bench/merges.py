# SPDX-License-Identifier: Apache-2.0
"""Are the parents of merges, the layers of stacked models and adapters told right?

    python -m bench.merges FOLDER... [--quick] [--out FILE.json]

``FOLDER`` holds models with a ``zoo.json``.  For every base with two children of its
shape: linear merges over a grid of shares, of two and of three, SLERP, TIES and DARE,
with and without rounding to 4 bits; the engine is given the base and all of its
children.  For every two models of one shape: layers stacked from both.  For every base:
layers dropped, repeated and put in another order.  For every adapter: which base.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from bench.engine import fingerprint, merge_shares, origins, verdict
from bench.genealogy import is_base, read_zoo, truth
from bench.machine import interval, machine_facts
from bench.variants import launder, merging
from bench.variants.files import Model, read_model, write_model
from bench.variants.network import Network
from bench.variants.rounding import integers

from pedigree.fingerprint.model import Fingerprint

SHARES = (0.1, 0.2, 0.3, 0.5)
TOLERANCE = 0.1


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.merges",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    zoo = read_zoo(args.folders)
    with tempfile.TemporaryDirectory() as work:
        bench = _Bench(zoo, Path(work), args.seed, quick=args.quick)
        document = {
            "schema": "pedigree.dev/bench/merges/v1",
            "machine": machine_facts(),
            "merges": list(bench.merges()),
            "stacks": list(bench.stacks()),
            "depths": list(bench.depths()),
            "adapters": list(bench.adapters()),
        }
    document["summary"] = _summary(document)
    if args.out:
        args.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document["summary"], indent=1))
    return 0


class _Bench:
    """The models, their fingerprints, and a place for what is made."""

    def __init__(
        self, zoo: Mapping[str, Any], work: Path, seed: int, *, quick: bool
    ) -> None:
        self.zoo = zoo
        self.work = work
        self.seed = seed
        self.quick = quick
        self.prints = {n: fingerprint(f["folder"])[0] for n, f in zoo.items()}
        self.models: dict[str, Model] = {
            name: read_model(facts["folder"])
            for name, facts in zoo.items()
            if (facts["folder"] / "config.json").exists()
        }

    def take(self, like: str, network: Network) -> Fingerprint:
        """Write a network with the other files of a model, and fingerprint it."""
        model = self.models[like]
        made = Model(network, model.config, model.files)
        return fingerprint(write_model(self.work / "made", made))[0]

    def families(self) -> Iterator[tuple[str, list[str]]]:
        """Each base with its children that have its shapes."""
        for base in self.models:
            if not is_base(base, self.zoo):
                continue
            children = [
                name
                for name, facts in self.zoo.items()
                if facts.get("linked") is True
                and facts["parents"] == [base]
                and name in self.models
                and self.models[name].config == self.models[base].config
            ]
            if len(children) >= 2:
                yield base, children[: 3 if self.quick else None]

    def merges(self) -> Iterator[dict[str, Any]]:
        """Merges of children, with what the engine says of their shares."""
        for base, children in self.families():
            references = {n: self.prints[n] for n in (base, *children)}
            for names, method, shares in self._recipes(children):
                for rounded in (False, True):
                    network = self._merge(base, names, method, shares)
                    if rounded:
                        network.map_matrices(
                            lambda values: integers(values, 4, 32), embeddings=False
                        )
                    told = merge_shares(self.take(base, network), references)
                    yield _merge_row(base, names, method, shares, rounded, told)

    def _recipes(
        self, children: Sequence[str]
    ) -> Iterator[tuple[tuple[str, ...], str, tuple[float, ...]]]:
        pairs = list(combinations(children, 2))
        for k, pair in enumerate(pairs):
            # The whole grid for a few pairs, one share each for the others.
            few = SHARES if k < 3 and not self.quick else SHARES[k % 4 : k % 4 + 1]
            for share in few:
                yield pair, "linear", (share, round(1 - share, 2))
        for pair in pairs[:3]:
            for method in ("slerp", "ties", "dare"):
                yield pair, method, (0.4, 0.6)
        if len(children) >= 3:
            yield tuple(children[:3]), "linear", (0.2, 0.3, 0.5)

    def _merge(
        self, base: str, names: Sequence[str], method: str, shares: Sequence[float]
    ) -> Network:
        parts = [self.models[name].network for name in names]
        root = self.models[base].network
        if method == "linear":
            return merging.linear(parts, shares)
        if method == "slerp":
            return merging.slerp(parts, shares[1])
        if method == "ties":
            return merging.ties([root, *parts], shares)
        random = np.random.default_rng(self.seed)
        return merging.dare([root, *parts], shares, random)

    def stacks(self) -> Iterator[dict[str, Any]]:
        """Layers of two models of one shape in turn, as they are and laundered."""
        pairs = [
            (a, b)
            for a, b in combinations(self.models, 2)
            if self.models[a].config == self.models[b].config
        ]
        step = max(1, len(pairs) // (4 if self.quick else 24))
        random = np.random.default_rng(self.seed)
        for a, b in pairs[::step]:
            layers = len(self.models[a].network.blocks)
            choice = random.integers(0, 2, layers)
            choice[:2] = random.permutation(2)
            plan = [(int(m), layer) for layer, m in enumerate(choice)]
            parts = [self.models[name].network for name in (a, b)]
            for laundered in (False, True):
                network = merging.passthrough(parts, plan)
                if laundered:
                    launder.launder(network, np.random.default_rng(self.seed))
                made = self.take(a, network)
                found = origins(made, {n: self.prints[n] for n in (a, b)})
                wanted = {layer: ((a, b)[m], at) for layer, (m, at) in enumerate(plan)}
                yield {
                    "parents": [a, b],
                    "truth": str(truth(a, b, self.zoo)),
                    "laundered": laundered,
                    "layers": layers,
                    "right": sum(found.get(k) == v for k, v in wanted.items()),
                    "told": {k: list(v) for k, v in sorted(found.items())},
                    "wanted": {k: list(v) for k, v in wanted.items()},
                }

    def depths(self) -> Iterator[dict[str, Any]]:
        """Layers dropped, repeated and moved, as they are and laundered."""
        for base, model in self.models.items():
            if not is_base(base, self.zoo):
                continue
            layers = len(model.network.blocks)
            every = list(range(layers))
            middle = every[1:-1]
            for what, order in (
                ("dropped", [*every[:1], *every[2:]]),
                ("repeated", [*every[:-1], *middle, *every[-1:]]),
                ("moved", every[::-1]),
            ):
                for laundered in (False, True):
                    network = merging.passthrough(
                        [model.network], [(0, layer) for layer in order]
                    )
                    if laundered:
                        launder.launder(network, np.random.default_rng(self.seed))
                    found = origins(self.take(base, network), {base: self.prints[base]})
                    told = [found.get(k, ("", -1))[1] for k in range(len(order))]
                    yield {
                        "base": base,
                        "change": what,
                        "laundered": laundered,
                        "order": order,
                        "told": told,
                        "right": told == order,
                    }

    def adapters(self) -> Iterator[dict[str, Any]]:
        """The base of each adapter, by the smallest p-value among all bases."""
        bases = [name for name in self.models if is_base(name, self.zoo)]
        for name in self.zoo:
            if name in self.models:
                continue
            scores = {
                base: round(
                    verdict(
                        self.prints[base], self.prints[name], family_size=len(bases)
                    ).log10_p,
                    2,
                )
                for base in bases
            }
            strongest = min(scores, key=lambda base: scores[base])
            yield {
                "adapter": name,
                "parents": self.zoo[name]["parents"],
                "strongest": strongest,
                "right": [strongest] == self.zoo[name]["parents"]
                and scores[strongest] <= -6,
                "log10P": scores,
            }


def _merge_row(
    base: str,
    names: Sequence[str],
    method: str,
    shares: Sequence[float],
    rounded: bool,
    told: Mapping[str, float] | None,
) -> dict[str, Any]:
    wanted = dict(zip(names, shares, strict=True))
    everybody = {*wanted, *(told or {})} - {base}
    errors = [abs((told or {}).get(n, 0) - wanted.get(n, 0)) for n in everybody]
    return {
        "base": base,
        "method": method,
        "rounded": rounded,
        "wanted": wanted,
        "told": None if told is None else {n: round(s, 3) for n, s in told.items()},
        "largestError": None if told is None else round(max(errors), 3),
    }


def _summary(document: Mapping[str, Any]) -> dict[str, Any]:
    merges = {}
    for method in ("linear", "slerp", "ties", "dare"):
        for rounded in (False, True):
            rows = [
                row
                for row in document["merges"]
                if (row["method"], row["rounded"]) == (method, rounded)
            ]
            errors = [r["largestError"] for r in rows if r["told"] is not None]
            within = sum(1 for error in errors if error <= TOLERANCE)
            merges[method + ("+int4" if rounded else "")] = {
                "merges": len(rows),
                "told": len(errors),
                "within0.1": within,
                "parentsRight": sum(1 for r in rows if _parents_right(r)),
                "interval95": interval(within, len(rows)),
                "largestError": max(errors, default=None),
                "exceptions": [
                    row
                    for row in rows
                    if row["largestError"] is None or row["largestError"] > TOLERANCE
                ][:5],
            }
    stacks, depths = document["stacks"], document["depths"]
    return {
        "merges": merges,
        "stackedLayers": {
            f"{kind}{', laundered' if laundered else ''}": _layers(
                [
                    row
                    for row in stacks
                    if (row["truth"], row["laundered"]) == (kind, laundered)
                ]
            )
            for kind in sorted({row["truth"] for row in stacks})
            for laundered in (False, True)
        },
        "depths": {
            f"{what}{', laundered' if laundered else ''}": _right(
                [
                    row
                    for row in depths
                    if (row["change"], row["laundered"]) == (what, laundered)
                ]
            )
            for what in ("dropped", "repeated", "moved")
            for laundered in (False, True)
        },
        "adapters": _right(document["adapters"]),
    }


def _parents_right(row: Mapping[str, Any]) -> bool:
    """Whether those with a share of a twentieth or more are the parents."""
    told = {n for n, s in (row["told"] or {}).items() if s >= 0.05 and n != row["base"]}
    return told == set(row["wanted"])


def _layers(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    right, layers = sum(r["right"] for r in rows), sum(r["layers"] for r in rows)
    return {
        "models": len(rows),
        "layers": layers,
        "right": right,
        "interval95": interval(right, layers),
        "wrong": [row for row in rows if row["right"] < row["layers"]][:5],
    }


def _right(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    right = sum(1 for row in rows if row["right"])
    return {
        "models": len(rows),
        "right": right,
        "interval95": interval(right, len(rows)),
        "wrong": [row for row in rows if not row["right"]][:5],
    }


if __name__ == "__main__":
    sys.exit(main())
