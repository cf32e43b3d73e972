# SPDX-License-Identifier: Apache-2.0
"""Accuracy on models with a known genealogy, and on variants that are made of them.

    python -m bench.lineage_zoo FOLDER... [--quick] [--out FILE.json]

Each model is a folder with a ``zoo.json`` that says ``parents`` and ``linked``.  All
pairs of models are compared; each variant is compared with its source, the source's
ancestors, and every base.  The threshold is family-wise over all models given.  Prints
one JSON document: counts with confidence intervals, verdicts by truth and by kind of
change, ROC points, exceptions by name, and facts about the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from bench.engine import fingerprint, verdict
from bench.genealogy import ancestors, contents, is_base, read_zoo, truth
from bench.machine import machine_facts
from bench.scores import summary
from bench.variants.catalogue import STEPS, make, parse
from bench.variants.files import read_model, read_tensors, write_model

from pedigree.errors import PedigreeError
from pedigree.fingerprint.model import Fingerprint

FOR_BASES = (
    *("copy", "relabel", "reshard", "f32", "f16", "vocabulary"),
    *("neurons", "heads", "channels", "rotation", "scale-norms", "fold"),
    *("scale-neurons", "mix-qk", "mix-vo", "launder", "upcycle"),
    *("split-neurons", "pad-neurons", "pad-heads", "pad-channels", "insert-layers"),
    *("int8", "int4", "int4-rows", "fp8", "fp8-scaled", "int4=3"),
    *("noise=0.1", "noise=0.3", "prune=0.5", "drop=1", "drop=2", "duplicate=2"),
    *("prune-neurons=0.5", "redraw-neurons=0.25", "redraw-embeddings=0.25"),
    *("launder+int4", "drop=1+launder+int4", "duplicate=2+launder+int4"),
    *("prune-neurons=0.5+launder+int4", "upcycle+launder+int4"),
    *("vocabulary+launder+int4", "insert-layers+split-neurons+launder+int4"),
    *("pad-channels+pad-heads+pad-neurons+launder+int4", "noise=0.2+launder+int4"),
)
FOR_CHILDREN = ("launder", "launder+int4")
MERGES = ("linear=0.3", "linear=0.5", "slerp=0.5", "ties=0.5", "dare=0.5")
MERGES_LAUNDERED = ("passthrough=0.5", "linear=0.5+launder+int4")
QUICK = ("relabel", "launder", "int4", "drop=1+launder+int4", "noise=0.3")
ROOM_FOR_LLAMA = ("upcycle", "pad-heads", "pad-channels")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.lineage_zoo", description=__doc__
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-variants", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    zoo = read_zoo(args.folders)
    models = list(zoo)
    prints: dict[str, Fingerprint] = {}
    builds: dict[str, Any] = {}
    for name in models:
        _take(name, zoo[name]["folder"], prints, builds)
    with tempfile.TemporaryDirectory() as work:
        for source, variant in () if args.no_variants else _plan(zoo, args.quick):
            name = _variant(source, variant, zoo, Path(work), args.seed)
            _take(name, zoo[name]["folder"], prints, builds)
    pairs = []
    for a, b in _pairs(models, zoo, prints):
        pairs.append(_pair(a, b, prints, zoo, len(models)))
        if len(pairs) % 200 == 0:
            print(f"{len(pairs)} pairs compared", file=sys.stderr)
    document = {
        "schema": "pedigree.dev/bench/lineage-zoo/v2",
        "machine": machine_facts(),
        "summary": summary(pairs, zoo),
        "models": builds,
        "pairs": pairs,
    }
    if args.out:
        args.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document["summary"], indent=1))
    return 0


def _take(
    name: str, folder: Path, prints: dict[str, Fingerprint], builds: dict[str, Any]
) -> None:
    try:
        prints[name], builds[name] = fingerprint(folder)
    except PedigreeError as error:
        builds[name] = {"error": error.reason, "said": str(error)}
        print(f"{name}: {error}", file=sys.stderr)


def _plan(zoo: Mapping[str, Any], quick: bool) -> Iterator[tuple[str, str]]:
    """(source, variant) of everything that is made."""
    for name in list(zoo):
        if not (zoo[name]["folder"] / "config.json").exists():
            continue  # an adapter
        if is_base(name, zoo) and zoo[name].get("linked") != "distilled":
            for variant in QUICK if quick else FOR_BASES:
                gpt2 = read_model(zoo[name]["folder"]).network.kind == "gpt2"
                steps = {step for step, _ in parse(variant)}
                if not (gpt2 and steps & set(ROOM_FOR_LLAMA)):
                    yield name, variant
            if len(_mergeable(name, zoo)) >= 2 and not quick:
                for variant in MERGES + MERGES_LAUNDERED:
                    yield name, variant
        elif zoo[name].get("linked") is True:
            for variant in FOR_CHILDREN[-1:] if quick else FOR_CHILDREN:
                yield name, variant


def _mergeable(name: str, zoo: Mapping[str, Any]) -> list[str]:
    """Children of a base with its shape, in the order of their names."""
    found = []
    shape = read_model(zoo[name]["folder"])
    for child, facts in sorted(zoo.items()):
        config = facts["folder"] / "config.json"
        made_here = "variantOf" in facts
        if facts.get("linked") is True and facts["parents"] == [name] and not made_here:
            same = config.exists() and json.loads(config.read_text()) == shape.config
            found += [child] if same else []
    return found


def _variant(
    source: str, variant: str, zoo: dict[str, Any], work: Path, seed: int
) -> str:
    """Make a variant, and enter it into the zoo."""
    needed = max(STEPS[step].others for step, _ in parse(variant))
    others = _mergeable(source, zoo)[:needed] if needed else []
    # A linear merge is of two children; the base itself would hide behind them.
    first = source
    if needed == 1:
        first, *others = _mergeable(source, zoo)[:2]
    name = f"{source}~{variant}"
    made = make(
        read_model(zoo[first]["folder"]),
        variant,
        seed=seed,
        others=[read_model(zoo[other]["folder"]) for other in others],
    )
    write_model(work / name, made)
    zoo[name] = {
        "parents": [first, *others],
        "linked": True,
        "how": variant,
        "variantOf": source,
        "sameValues": not others and _same_values(zoo[first]["folder"], work / name),
        "folder": work / name,
    }
    return name


def _same_values(a: Path, b: Path) -> bool:
    """Whether two folders hold the same names and, up to storage, the same values.

    True of more than copies: float16 holds bfloat16 weights exactly but for tiny ones,
    which it moves by at most half its smallest step, and a model without gates has no
    neurons to scale.
    """
    first, second = read_tensors(a)[0], read_tensors(b)[0]
    shapes = [{name: t.shape for name, t in part.items()} for part in (first, second)]
    return shapes[0] == shapes[1] and all(
        np.abs(values - second[name]).max() <= 2.0**-25
        for name, values in first.items()
    )


def _pairs(
    models: list[str], zoo: Mapping[str, Any], prints: Mapping[str, Fingerprint]
) -> Iterator[tuple[str, str]]:
    known = [name for name in models if name in prints]
    yield from combinations(known, 2)
    bases = [name for name in known if is_base(name, zoo)]
    for name in prints:
        if name not in models:
            above = ancestors(name, zoo) - {name}
            for reference in sorted({*bases, *above} & set(prints)):
                yield reference, name


def _pair(
    a: str,
    b: str,
    prints: Mapping[str, Fingerprint],
    zoo: Mapping[str, Any],
    references: int,
) -> dict[str, Any]:
    found = verdict(prints[a], prints[b], family_size=references)
    return {
        "a": a,
        "b": b,
        "truth": str(truth(a, b, zoo)),
        "kind": zoo[b].get("how", "") if "variantOf" in zoo[b] else "as given",
        "sameValues": contents(a, zoo) == contents(b, zoo),
        **found.document(),
    }


if __name__ == "__main__":
    sys.exit(main())
