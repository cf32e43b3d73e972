# SPDX-License-Identifier: Apache-2.0
"""The one place where the accuracy benchmarks call what they measure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedigree.fingerprint.build import build_fingerprint
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.vocabulary import read_vocabulary
from pedigree.lineage.compare import compare
from pedigree.lineage.merges import explain_merge
from pedigree.lineage.results import Comparison
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source
from pedigree.tensors.checkpoint import Checkpoint

RELATED = ("Identical", "Derived", "CommonAncestor")
"""Classes that say: common weights."""


def fingerprint(folder: Path) -> tuple[Fingerprint, dict[str, Any]]:
    """Fingerprint of a model folder, and what it took.

    Raises:
        PedigreeError: The model cannot be read.
    """
    started = time.perf_counter()
    source = open_source(parse(f"file://{folder.resolve()}"), SourceSettings())
    made = build_fingerprint(
        Checkpoint.open(source), vocabulary=read_vocabulary(source)
    )
    return made, {
        "architecture": made.architecture,
        "parameters": made.parameters,
        "profile": str(made.profile),
        "fingerprintBytes": len(made.encoded),
        "bytesRead": source.bytes_read,
        "seconds": round(time.perf_counter() - started, 4),
    }


@dataclass(frozen=True)
class Verdict:
    """What the engine says of a pair.

    Attributes:
        lineage: The class.
        log10_p: Family-wise.
        seconds: Taken by the comparison.
        said: The whole comparison.
    """

    lineage: str
    log10_p: float
    seconds: float
    said: Comparison

    @property
    def related(self) -> bool:
        """Whether the class says that weights are in common."""
        return self.lineage in RELATED

    def document(self) -> dict[str, Any]:
        """For JSON: the class, its reasons, and every test in short."""
        return {
            "verdict": self.lineage,
            "relation": self.said.relation,
            "relations": [str(found.kind) for found in self.said.relations],
            "direction": str(self.said.direction),
            "reason": self.said.reason,
            "log10P": round(self.log10_p, 2),
            "seconds": round(self.seconds, 4),
            "tests": {
                test.name: (
                    str(test.reason)
                    if test.reason
                    else [
                        round(test.effect, 4),
                        round(test.z, 2),
                        round(test.log10_p, 2),
                    ]
                )
                for test in self.said.tests
            },
        }


def verdict(a: Fingerprint, b: Fingerprint, *, family_size: int = 1) -> Verdict:
    """Compare two models; the rate of 1e-6 holds over ``family_size`` references."""
    started = time.perf_counter()
    said = compare(a, b, family_size=family_size, power=False)
    seconds = time.perf_counter() - started
    return Verdict(str(said.lineage), said.log10_p, seconds, said)


def origins(
    model: Fingerprint, references: Mapping[str, Fingerprint]
) -> dict[int, tuple[str, int]]:
    """For each layer of a model, the reference and the layer of it that it comes from.

    From single weights where the engine finds a combination of the references; else
    the reference and layer with the best score in the layer maps.
    """
    found = explain_merge(model, references)
    if found is not None and found.layers:
        return {x.layer: (x.shares[0][0], x.origin) for x in found.layers if x.shares}
    best: dict[int, tuple[float, str, int]] = {}
    for name, reference in references.items():
        for own, theirs, score in layer_scores(reference, model):
            if own not in best or score > best[own][0]:
                best[own] = (score, name, theirs)
    return {own: (name, theirs) for own, (_, name, theirs) in best.items()}


def layer_scores(a: Fingerprint, b: Fingerprint) -> list[tuple[int, int, float]]:
    """(layer of B, layer of A, score) of the layer map of a comparison."""
    found = compare(a, b, power=False).layer_map
    if found is None:
        return []
    return [
        (_layer(own), _layer(theirs), found.scores[row][column])
        for row, theirs in enumerate(found.labels_a)
        for column, own in enumerate(found.labels_b)
    ]


def _layer(label: str) -> int:
    return int(label.partition("/")[0])


def merge_shares(
    model: Fingerprint, references: Mapping[str, Fingerprint]
) -> dict[str, float] | None:
    """Share of each reference in a merge; None if the engine does not call it one."""
    found = explain_merge(model, references)
    return None if found is None else {x.name: x.share for x in found.shares}
