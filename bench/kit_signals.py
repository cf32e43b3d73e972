# SPDX-License-Identifier: Apache-2.0
"""Our eight context signals against the Model Provenance Kit's own values.

    python -m bench.kit_signals FOLDER --expected PAIRS.json [--out FILE.json]

``FOLDER`` holds one folder per model, each with a ``zoo.json`` that says ``parents``
and ``linked``.  ``PAIRS.json`` is a list of maps with ``a``, ``b`` and the kit's value
of each signal in lower case (``null`` where it has none).  Prints one JSON document:
per signal how many values are equal within 1e-5, the largest difference, and how well
it tells related pairs from unrelated ones (area under the ROC curve): the reason that
none of them decides.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.machine import machine_facts

from pedigree.errors import ArtifactError
from pedigree.lineage.context.features import (
    COSTS,
    ContextFeatures,
    context_signals,
    read_features,
)
from pedigree.lineage.context.model import ContextSignal
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source
from pedigree.tensors.checkpoint import Checkpoint

TOLERANCE = 1e-5


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--expected", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    expected = json.loads(args.expected.read_text())
    names = sorted({pair[side] for pair in expected for side in "ab"})
    features, seconds = _read(args.folder, names)
    pairs = [
        (row, signals_of(features[row["a"]], features[row["b"]]))
        for row in expected
        if row["a"] in features and row["b"] in features
    ]
    zoo = {
        name: json.loads((args.folder / name / "zoo.json").read_text())
        for name in features
    }
    truth = [
        bool(ancestors(row["a"], zoo) & ancestors(row["b"], zoo)) for row, _ in pairs
    ]
    document = {
        "schema": "pedigree.dev/bench/kit-signals/v1",
        "machine": machine_facts(),
        "models": len(features),
        "pairs": len(pairs),
        "secondsPerModel": round(sum(seconds) / max(1, len(seconds)), 4),
        "signals": {name: summary(name, pairs, truth) for name in COSTS},
    }
    text = json.dumps(document, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)
    return 0


def _read(
    folder: Path, names: Sequence[str]
) -> tuple[dict[str, ContextFeatures], list[float]]:
    found: dict[str, ContextFeatures] = {}
    seconds: list[float] = []
    for name in names:
        started = time.perf_counter()
        reference = parse(f"file://{(folder / name).resolve()}")
        try:
            source = open_source(reference, SourceSettings())
            found[name] = read_features(source, Checkpoint.open(source))
        except ArtifactError as error:
            print(f"{name}: {error.reason}", file=sys.stderr)
            continue
        seconds.append(time.perf_counter() - started)
    return found, seconds


def ancestors(name: str, zoo: Mapping[str, Any]) -> set[str]:
    """A model and all that its weights descend from."""
    found = {name}
    if zoo.get(name, {}).get("linked") != "distilled":
        for parent in zoo.get(name, {}).get("parents", ()):
            found |= ancestors(parent, zoo)
    return found


def signals_of(a: ContextFeatures, b: ContextFeatures) -> dict[str, ContextSignal]:
    """The signals of two models by name."""
    return {signal.name: signal for signal in context_signals(a, b)}


def summary(
    name: str,
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, ContextSignal]]],
    truth: Sequence[bool],
) -> dict[str, Any]:
    """How one signal agrees with the kit, and with the genealogy.

    Args:
        name: Of the signal.
        pairs: The kit's values of a pair, and ours.
        truth: Whether the models of each pair are related.
    """
    ours = [found[name].value for _, found in pairs]
    theirs = [row.get(name.lower()) for row, _ in pairs]
    gaps = [
        abs(x - y)
        for x, y in zip(ours, theirs, strict=True)
        if x is not None and y is not None
    ]
    known = [row for row, _ in pairs if name.lower() in row]
    both_none = sum(
        x is None and row.get(name.lower(), 0) is None
        for x, (row, _) in zip(ours, pairs, strict=True)
    )
    kin = [x for x, is_kin in zip(ours, truth, strict=True) if is_kin and x is not None]
    apart = [
        x for x, is_kin in zip(ours, truth, strict=True) if not is_kin and x is not None
    ]
    return {
        "expected": len(known),
        "equal": sum(gap <= TOLERANCE for gap in gaps) + both_none,
        "largestDifference": max(gaps, default=None),
        "related": _range(kin),
        "independent": _range(apart),
        "areaUnderRoc": area_under_roc(kin, apart),
    }


def _range(values: Sequence[float]) -> dict[str, Any]:
    return {
        "values": len(values),
        "least": min(values, default=None),
        "most": max(values, default=None),
    }


def area_under_roc(kin: Sequence[float], apart: Sequence[float]) -> float | None:
    """Chance that a related pair has a larger value than an unrelated one."""
    if not kin or not apart:
        return None
    wins = sum((x > y) + (x == y) / 2 for x in kin for y in apart)
    return round(wins / (len(kin) * len(apart)), 4)


if __name__ == "__main__":
    sys.exit(main())
