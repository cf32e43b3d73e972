# SPDX-License-Identifier: Apache-2.0
"""Whose adapter is it?  Factors that turned towards a base, and others."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pedigree.fingerprint.adapters import adapter_parts, base_parts, kept_layers
from pedigree.fingerprint.model import Fingerprint, Shape
from pedigree.fingerprint.roles import Role
from pedigree.fingerprint.spec import V2, Profile
from pedigree.lineage import adapt
from pedigree.lineage.results import NotRun

WIDTH, NEURONS, LAYERS, RANK = 128, 160, 4, 8
Weights = dict[tuple[Role, int], NDArray[np.float64]]


def base_weights(seed: int) -> Weights:
    """Matrices with a few strong directions, as training makes them."""
    random = np.random.default_rng(seed)
    shapes = {
        Role.Q: (WIDTH, WIDTH),
        Role.O: (WIDTH, WIDTH),
        Role.GATE: (NEURONS, WIDTH),
        Role.UP: (NEURONS, WIDTH),
        Role.DOWN: (WIDTH, NEURONS),
    }
    weights: Weights = {}
    for layer in range(LAYERS):
        for role, (out, width) in shapes.items():
            strong = random.normal(size=(out, 6)) @ random.normal(size=(6, width))
            weights[role, layer] = strong / 3 + random.normal(size=(out, width))
    return weights


def base(weights: Weights) -> Fingerprint:
    parts = base_parts(
        lambda role, layer: weights.get((role, layer)),
        layers=range(LAYERS),
        width=WIDTH,
        neurons=NEURONS,
        spec=V2,
    )
    return Fingerprint(
        V2, Profile.DEEP, "llama", "", Shape(LAYERS, WIDTH, NEURONS, 99), (), (), (),
        parts,
    )  # fmt: skip


def adapter(weights: Weights, seed: int, towards: float) -> Fingerprint:
    """Factors that point along the weights to a degree, for the rest anywhere."""
    from pedigree.fingerprint.adapters import Module

    random = np.random.default_rng(seed)
    stored: dict[str, NDArray[np.float64]] = {}
    modules = []
    for (role, layer), w in weights.items():
        name = f"{role.name}.{layer}"
        u, _, v = np.linalg.svd(w, full_matrices=False)
        a = random.normal(size=(RANK, w.shape[1])) / np.sqrt(w.shape[1])
        b = random.normal(size=(w.shape[0], RANK)) / np.sqrt(w.shape[0])
        stored[name + ".A"] = a + towards * v[:RANK]
        stored[name + ".B"] = b + towards * u[:, :RANK]
        modules.append(Module(role, layer, name + ".A", name + ".B"))
    parts = adapter_parts(
        stored.__getitem__, modules, width=WIDTH, neurons=NEURONS, spec=V2
    )
    return Fingerprint(
        V2, Profile.DEEP, "", "AdapterWeights", Shape(LAYERS, WIDTH, NEURONS, 0),
        (), (), (), parts,
    )  # fmt: skip


OWN, OTHER = base_weights(1), base_weights(2)


def test_an_adapter_is_given_to_its_base_and_to_no_other() -> None:
    made = adapter(OWN, 5, 1.0)
    own = adapt.run(base(OWN), made, alpha_log10=None)
    other = adapt.run(base(OTHER), made, alpha_log10=None)
    assert own.log10_p < -20
    assert other.log10_p > -3


def test_a_noisy_copy_of_the_base_is_a_base_too() -> None:
    random = np.random.default_rng(9)
    copy = {k: w + random.normal(size=w.shape) for k, w in OWN.items()}
    assert adapt.run(base(copy), adapter(OWN, 5, 1.0), alpha_log10=None).log10_p < -8


@pytest.mark.parametrize("seed", range(10))
def test_factors_that_were_not_trained_belong_to_nobody(seed: int) -> None:
    found = adapt.run(base(OWN), adapter(OWN, 100 + seed, 0.0), alpha_log10=None)
    assert found.ran
    assert found.log10_p > -3


def test_the_order_of_the_two_does_not_matter() -> None:
    made = adapter(OWN, 5, 1.0)
    forth = adapt.run(base(OWN), made, alpha_log10=None)
    back = adapt.run(made, base(OWN), alpha_log10=None)
    assert forth.log10_p == pytest.approx(back.log10_p, rel=0.05)


def test_what_cannot_be_compared_says_why() -> None:
    made = adapter(OWN, 5, 1.0)
    assert adapt.run(base(OWN), base(OTHER), alpha_log10=None).reason is (
        NotRun.NOT_AN_ADAPTER
    )
    assert adapt.run(made, made, alpha_log10=None).reason is NotRun.ADAPTER_WEIGHTS


def test_factors_of_zeros_prove_nothing() -> None:
    empty = {key: np.zeros_like(value) for key, value in OWN.items()}
    found = adapt.run(base(empty), adapter(OWN, 5, 1.0), alpha_log10=None)
    assert not found.ran


def test_kept_layers_of_a_part_are_those_that_the_whole_keeps() -> None:
    whole = kept_layers(range(80))
    part = kept_layers(range(40, 80))
    assert len(whole) == len(part) == 16
    assert {layer for layer in whole if layer >= 40} <= set(part)
