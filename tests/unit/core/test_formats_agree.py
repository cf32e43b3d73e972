# SPDX-License-Identifier: Apache-2.0
"""One model is recognised in every storage, from every other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations

import ml_dtypes
import numpy as np
import pytest

import made_models as made
from pedigree.fingerprint.spec import Profile
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.lineage.compare import compare
from pedigree.lineage.findings import Relation
from pedigree.lineage.results import Comparison
from storages import FEW_BITS, PLAIN, QUANTISED

EVERY = {**PLAIN, **QUANTISED, **FEW_BITS}
TRAINING = {Relation.FINE_TUNED, Relation.CONTINUED_PRETRAINING}


@pytest.fixture(scope="module", params=[Profile.DEEP, Profile.FAST])
def compared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Comparison]:
    """Two storages of one model, by name; each pair is compared once."""
    weights = {
        name: values.astype(ml_dtypes.bfloat16).astype(np.float32)
        for name, values in made.llama(
            seed=11, width=256, neurons=512, tokens=320
        ).items()
    }
    folder = tmp_path_factory.mktemp("storages")
    found = {}
    for name, write in EVERY.items():
        write(folder / name, weights)
        found[name] = made.fingerprint(folder / name, profile=request.param)
    return cache(lambda first, second: compare(found[first], found[second]))


@pytest.mark.parametrize("pair", list(combinations(PLAIN, 2)), ids="/".join)
def test_storages_that_keep_every_value_are_identical(
    pair: tuple[str, str], compared: Callable[[str, str], Comparison]
) -> None:
    found = compared(*pair)
    assert found.lineage is LineageClass.IDENTICAL


@pytest.mark.parametrize(
    "pair", [(a, b) for a in PLAIN for b in QUANTISED], ids="/".join
)
def test_a_quantised_storage_is_derived_from_the_model_by_rounding(
    pair: tuple[str, str], compared: Callable[[str, str], Comparison]
) -> None:
    found = compared(*pair)
    assert found.lineage is LineageClass.DERIVED
    assert found.relations[0].kind.value == "Quantised"


SAME_LAYERS = {("gguf-mxfp4", "mxfp4")}
"""Only embeddings differ, and about them no kind of descent is told."""


@pytest.mark.parametrize("pair", list(combinations(QUANTISED, 2)), ids="/".join)
def test_two_quantised_storages_are_derived_and_differ_by_rounding(
    pair: tuple[str, str], compared: Callable[[str, str], Comparison]
) -> None:
    found = compared(*pair)
    assert found.lineage is LineageClass.DERIVED
    kind = "Derived" if pair in SAME_LAYERS else "Quantised"
    assert found.relations[0].kind.value == kind


@pytest.mark.parametrize(
    "pair",
    [pair for pair in combinations(EVERY, 2) if pair[1] in FEW_BITS],
    ids="/".join,
)
def test_few_bits_move_weights_as_far_as_training_and_are_not_taken_for_it(
    pair: tuple[str, str], compared: Callable[[str, str], Comparison]
) -> None:
    found = compared(*pair)
    assert found.lineage is LineageClass.DERIVED
    assert found.relations[0].kind is Relation.QUANTISED
    assert not {relation.kind for relation in found.relations} & TRAINING


@pytest.mark.parametrize(
    "pair", list(combinations([*QUANTISED, *FEW_BITS], 2)), ids="/".join
)
def test_of_two_that_were_rounded_none_is_said_to_come_first(
    pair: tuple[str, str], compared: Callable[[str, str], Comparison]
) -> None:
    found = compared(*pair)
    assert found.direction is Direction.UNDIRECTED


@pytest.mark.parametrize("storage", ["gguf-q4_0", "gptq-2", "gguf-iq1_s"])
def test_what_was_rounded_comes_after_what_was_not(
    storage: str, compared: Callable[[str, str], Comparison]
) -> None:
    found = compared("bf16", storage)
    assert found.direction is Direction.A_TO_B
