# SPDX-License-Identifier: Apache-2.0
"""What kind of descent, which way, and what comes from where, on changed copies."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import made_models as made
from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.lineage.compare import compare
from pedigree.lineage.findings import Relation
from pedigree.lineage.results import Comparison


@cache
def example(name: str) -> Fingerprint:
    return made.fingerprint(made.EXAMPLES / name)


@cache
def weights(name: str) -> made.Weights:
    return made.read(made.EXAMPLES / name)


def against_llama(folder: Path, changed: made.Weights) -> Comparison:
    other = made.fingerprint(made.write(folder, changed, dtype="BF16"))
    return compare(example("llama-a"), other, power=False)


def kinds(found: Comparison) -> set[Relation]:
    return {finding.kind for finding in found.relations}


def low_rank(base: made.Weights, rank: int) -> made.Weights:
    random = np.random.default_rng(3)

    def updated(name: str, value: NDArray[np.float32]) -> NDArray[np.float32]:
        if "proj" not in name:
            return value
        out, width = value.shape
        b, a = random.normal(size=(out, rank)), random.normal(size=(rank, width))
        delta = b @ a
        changed: NDArray[np.float32] = value + delta * (0.3 * value.std() / delta.std())
        return changed.astype(np.float32)

    return {name: updated(name, value) for name, value in base.items()}


def four_bits(base: made.Weights) -> made.Weights:
    def rounded(name: str, value: NDArray[np.float32]) -> NDArray[np.float32]:
        if "proj" not in name:
            return value
        groups = value.reshape(value.shape[0], -1, 32)
        step = np.abs(groups).max(axis=2, keepdims=True) / 7
        step[step == 0] = 1
        result: NDArray[np.float32] = (np.rint(groups / step) * step).astype(np.float32)
        return result.reshape(value.shape)

    return {name: rounded(name, value) for name, value in base.items()}


def test_a_fine_tune_is_called_one_and_told_how_far_it_moved() -> None:
    found = compare(example("llama-a"), example("llama-a.sft"), power=False)
    assert (found.lineage, found.relation) == (LineageClass.DERIVED, "FineTuned")
    assert found.change is not None
    assert 0.03 < found.change < 0.2
    assert "one descends from the other or both" in found.statement
    assert found.direction is Direction.UNDIRECTED


def test_the_first_relation_is_the_one_that_is_named() -> None:
    found = compare(example("gpt2-a"), example("gpt2-a.sft"), power=False)
    assert found.relation == str(found.relations[0].kind)


def test_a_merged_adapter_is_told_by_the_rank_of_its_change(tmp_path: Path) -> None:
    found = against_llama(tmp_path, low_rank(weights("llama-a"), 4))
    assert found.relation == "LoraMerged"
    assert dict(found.relations[0].numbers)["rank"] == 4
    assert Relation.PARTIAL_COPY in kinds(found)


def test_a_change_of_full_rank_is_no_merged_adapter(tmp_path: Path) -> None:
    found = against_llama(tmp_path, low_rank(weights("llama-a"), 64))
    assert Relation.LORA_MERGED not in kinds(found)


def test_a_rounded_copy_is_quantised_and_the_later_one(tmp_path: Path) -> None:
    found = against_llama(tmp_path, four_bits(weights("llama-a")))
    assert found.relation == "Quantised"
    assert found.direction is Direction.A_TO_B
    # The test of multiples cannot tell four bits from fewer, and says so.
    assert "a 4-bit or coarser lattice" in found.direction_evidence


def test_swapping_the_models_swaps_the_direction(tmp_path: Path) -> None:
    other = made.fingerprint(
        made.write(tmp_path, four_bits(weights("llama-a")), dtype="BF16")
    )
    found = compare(other, example("llama-a"), power=False)
    assert (found.relation, found.direction) == ("Quantised", Direction.B_TO_A)


def test_marks_on_both_sides_are_told_and_never_take_descent_away(
    tmp_path: Path,
) -> None:
    pruned = made.write(tmp_path / "p", made.prune(weights("llama-a"), 0.5))
    rounded = made.write(tmp_path / "q", four_bits(weights("llama-a")), dtype="BF16")
    found = compare(made.fingerprint(pruned), made.fingerprint(rounded), power=False)
    assert found.lineage is LineageClass.DERIVED
    assert found.direction is Direction.UNDIRECTED
    assert "or both from a common ancestor" in found.statement
    assert {Relation.PRUNED, Relation.QUANTISED} <= kinds(found)


def test_a_missing_layer_is_read_off(tmp_path: Path) -> None:
    found = against_llama(tmp_path, made.drop_layer(weights("llama-a"), 1))
    assert found.relation == "LayersDropped"
    assert found.direction is Direction.A_TO_B
    assert found.layer_map is not None
    assert [(o.b, o.a) for o in found.layer_map.origins] == [
        ("0", "0"),
        ("1", "2"),
        ("2", "3"),
    ]
    assert found.layer_map.remarks == ("layer 1 of A has no likeness in B",)


def repeat_layer(base: made.Weights, layer: int) -> made.Weights:
    result = {}
    for name, value in base.items():
        stem = "model.layers."
        if not name.startswith(stem):
            result[name] = value
            continue
        at, _, rest = name[len(stem) :].partition(".")
        for new in {int(at) + (int(at) > layer)} | (
            {layer + 1} if int(at) == layer else set()
        ):
            result[f"{stem}{new}.{rest}"] = value
    return result


def test_a_repeated_layer_is_read_off(tmp_path: Path) -> None:
    changed = made.noise(repeat_layer(weights("llama-a"), 2), 0.1, 5)
    found = against_llama(tmp_path, changed)
    assert found.relation == "DepthUpscaled"
    assert found.direction is Direction.A_TO_B
    assert found.layer_map is not None
    assert [o.a for o in found.layer_map.origins] == ["0", "1", "2", "2", "3"]


def test_permuted_neurons_are_called_laundered(tmp_path: Path) -> None:
    found = against_llama(tmp_path, made.permute_neurons(weights("llama-a"), 3))
    assert found.lineage is LineageClass.DERIVED
    assert Relation.LAUNDERED in kinds(found)


def test_heavy_noise_is_descent_and_no_shared_start(tmp_path: Path) -> None:
    found = against_llama(tmp_path, made.noise(weights("llama-a"), 1.0, 2))
    assert found.lineage is LineageClass.DERIVED


def shared_start(folder: Path, kept: float) -> Comparison:
    """Two models of which the same random part is left, and what else was trained."""
    random = np.random.default_rng(11)
    start = {
        name: random.normal(size=value.shape) * value.std()
        for name, value in weights("llama-a").items()
        if value.ndim == 2
    }

    def trained(name: str) -> made.Weights:
        own = weights(name)
        return {
            k: (kept * start[k] + v * np.sqrt(1 - kept**2)).astype(np.float32)
            if k in start
            else v
            for k, v in own.items()
        }

    first, second = (
        made.fingerprint(made.write(folder / n, trained(n), dtype="BF16"))
        for n in ("llama-a", "llama-b")
    )
    return compare(first, second, power=False)


@pytest.mark.parametrize("kept", [0.5, 0.7])
def test_a_shared_random_start_is_no_descent(tmp_path: Path, kept: float) -> None:
    found = shared_start(tmp_path, kept)
    assert found.lineage is LineageClass.SHARED_INIT
    assert found.relation == ""
    assert "initialisation" in found.statement


def test_nothing_is_typed_between_independent_models() -> None:
    found = compare(example("llama-a"), example("llama-b"), power=False)
    assert (found.relations, found.layer_map, found.change) == ((), None, None)
