# SPDX-License-Identifier: Apache-2.0
"""Memory is bounded whatever the size of a model's tensors."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

import made_models
from pedigree.errors import ArtifactError
from pedigree.fingerprint.grams import MATRIX_MAX_VALUES, affordable
from pedigree.fingerprint.slots import Role, Slot
from pedigree.fingerprint.source import fingerprint_source
from pedigree.fingerprint.spec import V2, Profile
from pedigree.limits import Limits
from pedigree.tensors.checkpoint import Checkpoint

BOUND = 60_000
"""Bytes: of the tensors below only vectors are smaller."""


def _sparse(folder: Path, tokens: int, width: int) -> Path:
    """A model of zeros with one large tensor."""
    shapes = {"model.embed_tokens.weight": (tokens, width)}
    shapes |= {
        f"model.layers.0.{name}.weight": (width, width)
        for name in ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    }
    return made_models.write_zeros(folder, shapes)


@pytest.mark.parametrize("profile", [Profile.FAST, Profile.DEEP])
def test_tensors_beyond_the_bound_are_read_in_pieces(
    tmp_path: Path, profile: Profile
) -> None:
    folder = made_models.write(tmp_path / "m", made_models.llama(5, tokens=4000))
    source = made_models.source(folder)
    wide = fingerprint_source(source, profile=profile)
    limits = Limits(read_max_bytes=600_000)  # of 4000 x 64 x 4 bytes
    assert fingerprint_source(source, profile=profile, limits=limits) == wide


def test_a_tensor_beyond_the_bound_is_not_read_whole(tmp_path: Path) -> None:
    folder = made_models.write(tmp_path / "m", made_models.llama(5, tokens=4000))
    checkpoint = Checkpoint.open(
        made_models.source(folder), Limits(read_max_bytes=BOUND)
    )
    with pytest.raises(ArtifactError, match="allowed at once are 60000") as caught:
        checkpoint.read("model.embed_tokens.weight")
    assert caught.value.reason == "LimitExceeded"
    assert "blocks of rows" in str(caught.value)


@pytest.mark.parametrize("profile", [Profile.FAST, Profile.DEEP])
def test_a_large_tensor_takes_a_fraction_of_its_size(
    tmp_path: Path, profile: Profile
) -> None:
    tokens, width = 1_000_000, 64
    source = made_models.source(_sparse(tmp_path / "m", tokens, width))
    tracemalloc.start()
    try:
        made = fingerprint_source(source, profile=profile)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made.shape.vocabulary == tokens
    assert peak < 2 * tokens * width // 2


def test_few_but_huge_matrices_are_not_held_in_float64() -> None:
    slot = Slot(Role.UP, 0)
    assert affordable({slot: (MATRIX_MAX_VALUES // 64, 64)}, 1, V2)
    assert not affordable({slot: (MATRIX_MAX_VALUES // 64 + 1, 64)}, 1, V2)
