# SPDX-License-Identifier: Apache-2.0
"""Thousands of damaged models: no exception of Python's, and no match out of damage.

    python -m bench.mutated_files [--count N] [--seconds S] [--seed N] [--models FOLDER]

Models are made in every storage that is read; ``--models`` adds folders of real ones.
Each case damages files of one in one way, examines the whole model and compares it
with the known ones.  A match (any class that says that two models are related) with
one that neither the undamaged model nor the giver of its parts matches is wrong.
Prints one JSON document, and ends with 1 if there is an exception or a wrong match.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import ml_dtypes
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.fuzzing.damage import FROM_OTHERS, KINDS, Files
from bench.machine import machine_facts

import made_models as made
from pedigree.errors import PedigreeError
from pedigree.examine import ExamineSettings, examine
from pedigree.fingerprint.spec import Profile
from pedigree.lineage.classes import LineageClass
from pedigree.refs import parse
from pedigree.registry import Registry
from pedigree.registry.scan import scan_registry
from pedigree.sources import SourceSettings
from storages import FEW_BITS, PLAIN, QUANTISED

EVERY = {**PLAIN, **QUANTISED, **FEW_BITS}
RELATED = frozenset(LineageClass) - {
    LineageClass.NO_EVIDENCE,
    LineageClass.INCONCLUSIVE,
}
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_REAL_MAX_BYTES = 16 << 20
_EXAMPLES_MAX = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one model: the references it matches, or why it has none."""

    matched: frozenset[str]
    refused: str = ""


@dataclass(slots=True)
class World:
    """Undamaged models, and the references that each matches.

    Attributes:
        root: Folder for everything.
        registry: Known models.
        models: Files by the name of a model.
        matches: Names of references by the name of a model.
    """

    root: Path
    registry: Registry
    models: dict[str, Files] = field(default_factory=dict)
    matches: dict[str, frozenset[str]] = field(default_factory=dict)

    def take(self, name: str, folder: Path) -> None:
        """Add an undamaged model.

        Raises:
            ValueError: It cannot be examined.
        """
        self.models[name] = {
            path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()
        }
        found = outcome(folder.resolve(), self.registry)
        if found.refused:  # else all that its damaged copies match would be wrong
            raise ValueError(f"{name} is refused undamaged: {found.refused}")
        self.matches[name] = found.matched


@dataclass(slots=True)
class Report:
    """Counts, and the first few of whatever must not be."""

    cases: int = 0
    seconds: float = 0.0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    exceptions: list[dict[str, str]] = field(default_factory=list)
    wrong: list[dict[str, Any]] = field(default_factory=list)

    def count(self, kind: str, what: str) -> None:
        """One more case."""
        self.outcomes.setdefault(kind, Counter())[what] += 1


def outcome(folder: Path, registry: Registry) -> Outcome:
    """Examine a folder and compare what is found with the known models."""
    settings = ExamineSettings(sources=SourceSettings(), profile=Profile.FAST)
    try:
        found = examine(parse(f"file://{folder}"), settings=settings, now=_NOW)
        if found.fingerprint is None:
            errors = [f.reason for f in found.evidence.findings]
            return Outcome(frozenset(), errors[0] if errors else "NoFingerprint")
        scan = scan_registry(found.fingerprint, registry)
    except PedigreeError as error:
        return Outcome(frozenset(), error.reason)
    related = [r for r in scan.ranked if r.comparison.lineage in RELATED]
    return Outcome(frozenset(item.reference for item in related))


def build(root: Path, storages: Sequence[str], models: Path | None = None) -> World:
    """Make the models and the registry.

    Three models: two are known, one is a stranger.  Real models are all known.

    Args:
        root: An empty folder.
        storages: Names of :mod:`storages`.
        models: Folder of folders of real models, or None.
    """
    world = World(root, Registry.open(root / "registry", create=True))
    known = {}
    for seed, name in enumerate(("first", "second", "stranger")):
        weights = made.llama(seed=seed, layers=2, width=256, neurons=256, tokens=256)
        weights = {  # as most models are published
            key: values.astype(ml_dtypes.bfloat16).astype(np.float32)
            for key, values in weights.items()
        }
        for storage in storages:
            EVERY[storage](root / "made" / f"{name}.{storage}", weights)
        if name != "stranger":
            known[name] = made.write(root / "known" / name, weights)
    real = _real(models)
    for name, folder in (known | real).items():
        world.registry.add(name, made.fingerprint(folder, Profile.FAST))
    for folder in sorted((root / "made").iterdir()):
        world.take(folder.name, folder)
    for name, folder in real.items():
        world.take(name, folder)
    return world


def _real(models: Path | None) -> dict[str, Path]:
    """Folders of small real models by a name that no machine gave."""
    if models is None:
        return {}
    found = [
        path
        for path in sorted(models.iterdir())
        if path.is_dir()
        and 0 < sum(it.stat().st_size for it in path.iterdir()) <= _REAL_MAX_BYTES
    ]
    return {f"real/{path.name}": path for path in found}


def run(
    world: World, *, count: int, seconds: float = float("inf"), seed: int = 0
) -> Report:
    """Damage, examine and compare.

    Args:
        world: Models and registry.
        count: Most cases.
        seconds: Most time.
        seed: Same cases for the same seed.
    """
    report, began = Report(), time.monotonic()
    kinds, names = sorted(KINDS), sorted(world.models)
    while report.cases < count and time.monotonic() - began < seconds:
        random = Random(f"{seed}/{report.cases}")
        _one(world, kinds[report.cases % len(kinds)], names, random, report)
        report.cases += 1
    report.seconds = time.monotonic() - began
    return report


def _one(
    world: World, kind: str, names: list[str], random: Random, report: Report
) -> None:
    name, donor = random.choice(names), random.choice(names)
    files = dict(world.models[name])
    KINDS[kind](files, world.models[donor], random)
    folder = world.root / "case"
    _lay_out(folder, files)
    allowed = world.matches[name]
    if kind in FROM_OTHERS:
        allowed |= world.matches[donor]
    case = {"kind": kind, "model": name, "donor": donor, "case": str(report.cases)}
    try:
        found = outcome(folder, world.registry)
    except Exception:
        report.count(kind, "exception")
        if len(report.exceptions) < _EXAMPLES_MAX:
            report.exceptions.append(case | {"trace": traceback.format_exc(limit=-4)})
        return
    if found.matched - allowed:
        report.count(kind, "wrong match")
        if len(report.wrong) < _EXAMPLES_MAX:
            report.wrong.append(case | {"matched": sorted(found.matched - allowed)})
    elif found.refused:
        report.count(kind, "refused")
    elif found.matched == world.matches[name]:
        report.count(kind, "as undamaged")
    else:
        report.count(kind, "fewer matches" if found.matched < allowed else "as taken")


def _lay_out(folder: Path, files: Files) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def main() -> int:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", type=Path, default=None)
    options = parser.parse_args()
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory(prefix="pedigree-mutated-") as folder:
        world = build(Path(folder), list(EVERY), options.models)
        report = run(
            world, count=options.count, seconds=options.seconds, seed=options.seed
        )
    broken = sum(c["exception"] + c["wrong match"] for c in report.outcomes.values())
    document = {
        "machine": machine_facts(),
        "models": len(world.models),
        "matched": sum(1 for found in world.matches.values() if found),
        "cases": report.cases,
        "perSecond": round(report.cases / max(report.seconds, 1e-9), 1),
        "broken": broken,
        "exceptions": report.exceptions,
        "wrongMatches": report.wrong,
        "outcomes": {kind: dict(found) for kind, found in report.outcomes.items()},
    }
    print(json.dumps(document, indent=1))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
