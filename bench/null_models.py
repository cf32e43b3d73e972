# SPDX-License-Identifier: Apache-2.0
"""Pairs of independent models, as the exact tests see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from bench.engine import fingerprint
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage import pni, rownorm
from pedigree.lineage.align import NEURON, RESIDUAL, neuron_blocks, residual_blocks
from pedigree.lineage.axis import Axis, Blocks
from pedigree.lineage.emb import EMB, embedding_blocks
from pedigree.lineage.gamma import GAMMA, norm_blocks
from pedigree.lineage.invariants import scalar_blocks
from pedigree.lineage.results import TestResult
from pedigree.lineage.tsp import TSP, token_blocks

Zoo = Mapping[str, Mapping[str, Any]]
Rows = NDArray[np.float32]
Both = tuple[Blocks, Blocks] | TestResult


def _gamma(a: Fingerprint, b: Fingerprint) -> Both:
    if a.shape.width != b.shape.width:
        return TestResult(name=GAMMA.name)
    return norm_blocks(a, b)


def _scalars(axis: Axis, features: tuple[int, ...]) -> Callable[..., Both]:
    return lambda a, b: scalar_blocks(axis.name, features, a, b)


TESTS: dict[str, tuple[Axis, Callable[[Fingerprint, Fingerprint], Both]]] = {
    "ALIGN-neuron": (NEURON, neuron_blocks),
    "ALIGN-residual": (RESIDUAL, residual_blocks),
    "GAMMA": (GAMMA, _gamma),
    "EMB": (EMB, embedding_blocks),
    "ROWNORM": (rownorm.ROWNORM, _scalars(rownorm.ROWNORM, rownorm.FEATURES)),
    "PNI": (pni.PNI, _scalars(pni.PNI, pni.FEATURES)),
    "TSP": (TSP, token_blocks),
}
"""The tests with a permutation null."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two models that were trained apart, as one test sees them.

    Attributes:
        test: Name of the test.
        kind: Both architectures, as ``gpt2:llama``.
        a: Name of one model.
        b: Name of the other.
        blocks: Both models.
    """

    test: str
    kind: str
    a: str
    b: str
    blocks: tuple[Blocks, Blocks]

    @property
    def rows(self) -> tuple[Rows, Rows]:
        """Shapes (blocks, n, f); features of no block count as one if there is none."""
        first, second = (x.rows if len(x.rows) else x.common[None] for x in self.blocks)
        return first, second


def load(zoo: Zoo) -> dict[str, Fingerprint]:
    """Fingerprints of all models that have weights of their own."""
    found = {}
    for name, facts in sorted(zoo.items()):
        made, _ = fingerprint(facts["folder"])
        if made.architecture:
            found[name] = made
    return found


def group(name: str, zoo: Zoo) -> str:
    """The model whose random numbers a model carries.  A student has its own."""
    facts = zoo[name]
    if not facts["parents"] or facts.get("linked") == "distilled":
        return name
    return group(facts["parents"][0], zoo)


def bases(zoo: Zoo) -> set[str]:
    """One model for each set of random numbers."""
    return {name for name in zoo if group(name, zoo) == name}


def independent(
    models: Mapping[str, Fingerprint], zoo: Zoo, test: str
) -> Iterator[Pair]:
    """Every pair of models of different groups that a test can compare."""
    _, make = TESTS[test]
    for a, b in combinations(sorted(models), 2):
        if group(a, zoo) == group(b, zoo):
            continue
        blocks = make(models[a], models[b])
        if isinstance(blocks, TestResult):
            continue
        kind = ":".join(sorted((models[a].architecture, models[b].architecture)))
        pair = Pair(test, kind, a, b, blocks)
        if min(x.size for x in pair.rows):
            yield pair
