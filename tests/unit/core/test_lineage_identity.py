# SPDX-License-Identifier: Apache-2.0
"""Matrices that started from an identity are alike between models that never met."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import made_models as made
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.spec import Profile
from pedigree.lineage.compare import compare, run_test
from pedigree.lineage.identity import shared_identity
from pedigree.lineage.results import NotRun

FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
NEURONS = ("neuron.gate", "neuron.up", "neuron.down")


def near_identity(seed: int, *roles: str) -> made.Weights:
    """A model whose matrices of these roles are an identity and small noise."""
    return {
        name: (np.eye(*w.shape) + 0.1 * w).astype(np.float32)
        if any(role in name for role in roles)
        else w
        for name, w in made.llama(seed).items()
    }


def fingerprint(
    folder: Path, weights: made.Weights, profile: Profile = Profile.DEEP
) -> Fingerprint:
    return made.fingerprint(made.write(folder, weights), profile)


@pytest.mark.parametrize("profile", [Profile.DEEP, Profile.FAST])
@pytest.mark.parametrize("roles", [FEED_FORWARD, ("o_proj",), ("proj",)])
def test_identities_in_models_that_never_met_are_no_evidence(
    tmp_path: Path, roles: tuple[str, ...], profile: Profile
) -> None:
    a, b = (
        fingerprint(tmp_path / str(seed), near_identity(seed, *roles), profile)
        for seed in (1, 2)
    )
    assert str(compare(a, b).lineage) == "NoEvidence"


def test_the_reason_names_the_matrices(tmp_path: Path) -> None:
    a, b = (
        fingerprint(tmp_path / str(seed), near_identity(seed, *FEED_FORWARD))
        for seed in (1, 2)
    )
    found = run_test("ALIGN-neuron", a, b, alpha_log10=None)
    assert found.reason is NotRun.ORDERED_ROWS
    assert "neuron.gate" in found.detail


def test_a_relative_is_found_by_its_other_matrices(tmp_path: Path) -> None:
    weights = near_identity(1, "up_proj")
    a = fingerprint(tmp_path / "a", weights)
    b = fingerprint(tmp_path / "b", made.noise(weights, 0.2, 2))
    assert "neuron.up" in shared_identity(a, b, NEURONS)
    assert run_test("ALIGN-neuron", a, b, alpha_log10=None).log10_p < -30


def test_usual_weights_do_not_follow_their_index(tmp_path: Path) -> None:
    a = fingerprint(tmp_path / "a", made.llama(1))
    parts = (*NEURONS, "channel.o", "channel.down", "channel.up")
    assert shared_identity(a, a, parts) == []
