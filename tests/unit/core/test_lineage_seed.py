# SPDX-License-Identifier: Apache-2.0
"""A shared initialisation passes deny rules: it must not be had cheaply."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import made_models as made
from pedigree.fingerprint.spec import Profile
from pedigree.lineage.classes import LineageClass
from pedigree.lineage.compare import compare
from pedigree.lineage.nearest import nearest_likeness
from pedigree.lineage.results import TestResult
from pedigree.lineage.seed import read_seed
from pedigree.lineage.spectrum import Spectrum


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


def as_of_one_seed() -> tuple[dict[str, TestResult], Spectrum]:
    """What samples say of two models that share no more than their initialisation."""
    tests = {
        name: TestResult(name=name, effect=0.3, z=20.0, log10_p=-50.0)
        for name in ("ALIGN-neuron", "ALIGN-residual", "TSP")
    }
    return tests, Spectrum(
        cosine=0.4, slope_ab=0.4, slope_ba=0.4, top_ab=0.7, top_ba=0.7
    )


def test_likeness_of_one_seed_is_told_where_no_neuron_has_a_near_copy() -> None:
    a, b = (made.fingerprint(made.EXAMPLES / x) for x in ("llama-a", "llama-b"))
    assert read_seed(*as_of_one_seed(), a, b) is not None


def test_samples_of_one_seed_do_not_outweigh_near_copies_of_whole_blocks() -> None:
    """Their places are public: they can be changed without changing the model."""
    a, b = (made.fingerprint(made.EXAMPLES / x) for x in ("llama-a", "llama-a.sft"))
    assert read_seed(*as_of_one_seed(), a, b) is None


def test_without_whole_blocks_no_shared_initialisation_is_told() -> None:
    a, b = (
        made.fingerprint(made.EXAMPLES / x, profile=Profile.FAST)
        for x in ("llama-a", "llama-b")
    )
    assert read_seed(*as_of_one_seed(), a, b) is None


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
