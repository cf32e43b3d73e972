# SPDX-License-Identifier: Apache-2.0
"""A shared initialisation passes deny rules: it must not be had cheaply."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import made_models as made
from pedigree.lineage.classes import LineageClass
from pedigree.lineage.compare import compare
from pedigree.lineage.nearest import nearest_likeness


def test_fine_tunes_have_near_copies_of_most_neurons() -> None:
    a, b = (made.fingerprint(made.EXAMPLES / x) for x in ("llama-a", "llama-a.sft"))
    near = nearest_likeness(a, b)
    assert near is not None
    assert near > 0.95


def test_independent_twins_have_none() -> None:
    a, b = (made.fingerprint(made.EXAMPLES / x) for x in ("llama-a", "llama-b"))
    near = nearest_likeness(a, b)
    assert near is not None
    assert near < 0.9


def test_half_a_model_permuted_is_still_derived(tmp_path: Path) -> None:
    weights = made.read(made.EXAMPLES / "llama-a")
    random = np.random.default_rng(5)
    for name in [n for n in weights if n.endswith("gate_proj.weight")]:
        n = len(weights[name])
        order = np.arange(n)
        moved = random.permutation(n)[: int(0.6 * n)]
        order[moved] = random.permutation(moved)
        up = name.replace("gate_proj", "up_proj")
        down = name.replace("gate_proj", "down_proj")
        weights[name], weights[up] = weights[name][order], weights[up][order]
        weights[down] = weights[down][:, order]
    copy = made.fingerprint(made.write(tmp_path, weights))
    found = compare(made.fingerprint(made.EXAMPLES / "llama-a"), copy, power=False)
    assert found.lineage is LineageClass.DERIVED
