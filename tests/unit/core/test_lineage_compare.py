# SPDX-License-Identifier: Apache-2.0
"""Who descends from whom, on really trained models and on changed copies of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import made_models as made
from pedigree.errors import ArtifactError
from pedigree.fingerprint.build import build_fingerprint
from pedigree.fingerprint.codec import decode
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.reduced import reduced
from pedigree.fingerprint.spec import FingerprintSpec, Profile
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.lineage.compare import compare
from pedigree.lineage.results import TESTS, Comparison, NotRun, TestResult

RELATED = [("llama-a", "llama-a.sft"), ("gpt2-a", "gpt2-a.sft")]
NAMES = ("llama-a", "llama-a.sft", "llama-b", "gpt2-a", "gpt2-a.sft")
APART = [pair for pair in combinations(NAMES, 2) if pair not in RELATED]


@cache
def example(name: str) -> Fingerprint:
    return made.fingerprint(made.EXAMPLES / name)


@cache
def example_weights(name: str) -> made.Weights:
    return made.read(made.EXAMPLES / name)


def with_llama(folder: Path, weights: made.Weights, dtype: str = "BF16") -> Comparison:
    """Compare llama-a, as A, with changed weights."""
    other = made.fingerprint(made.write(folder, weights, dtype=dtype))
    return compare(example("llama-a"), other, power=False)


def result(found: Comparison, name: str) -> TestResult:
    return next(test for test in found.tests if test.name == name)


@pytest.mark.parametrize(("a", "b"), RELATED)
def test_a_fine_tune_is_derived(a: str, b: str) -> None:
    found = compare(example(a), example(b))
    assert found.lineage is LineageClass.DERIVED
    assert found.log10_p < -100
    assert result(found, "ALIGN-neuron").effect > 0.9


@pytest.mark.parametrize(("a", "b"), APART)
def test_independent_models_give_no_evidence(a: str, b: str) -> None:
    found = compare(example(a), example(b))
    assert found.lineage is LineageClass.NO_EVIDENCE
    assert found.log10_p > -3
    assert found.reason == ""


@pytest.mark.parametrize("pair", RELATED + APART)
def test_the_order_of_the_models_does_not_matter(pair: tuple[str, str]) -> None:
    a, b = (example(name) for name in pair)
    one, other = compare(a, b, power=False), compare(b, a, power=False)
    assert one.lineage == other.lineage
    assert one.log10_p == pytest.approx(other.log10_p, abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_identical_to_itself(name: str) -> None:
    found = compare(example(name), example(name))
    assert found.lineage is LineageClass.IDENTICAL
    assert found.relation == "Copy"
    assert result(found, "HASH").effect == 1


@pytest.mark.parametrize("dtype", ["BF16", "F32", "F16"])
def test_another_storage_type_or_split_is_identical(tmp_path: Path, dtype: str) -> None:
    weights = example_weights("llama-a")
    folder = made.write(tmp_path, weights, dtype=dtype, shards=3)
    found = compare(example("llama-a"), made.fingerprint(folder))
    assert found.lineage is LineageClass.IDENTICAL


CHANGES: dict[str, Callable[[made.Weights], made.Weights]] = {
    "small noise": lambda w: made.noise(w, 0.01, 1),
    "noise as strong as the weights": lambda w: made.noise(w, 1.0, 2),
    "noise twice as strong": lambda w: made.noise(w, 2.0, 3),
    "8 bits": made.int8,
    "half of the weights pruned": lambda w: made.prune(w, 0.5),
    "first layer dropped": lambda w: made.drop_layer(w, 0),
    "inner layer dropped": lambda w: made.drop_layer(w, 2),
    "permuted neurons": lambda w: made.permute_neurons(w, 4),
    "half the size": lambda w: made.changed(w, lambda m: m * np.float32(0.5)),
    "new embedding and head": lambda w: {
        name: np.random.default_rng(5).normal(0, 0.02, m.shape).astype(np.float32)
        if name in ("model.embed_tokens.weight", "lm_head.weight")
        else m
        for name, m in w.items()
    },
    "norms set to one": lambda w: {
        name: np.ones_like(m) if m.ndim == 1 else m for name, m in w.items()
    },
    "merged with an independent model": lambda w: {
        name: 0.6 * m + 0.4 * example_weights("llama-b")[name] for name, m in w.items()
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_derived(tmp_path: Path, change: str) -> None:
    found = with_llama(tmp_path, CHANGES[change](example_weights("llama-a")))
    assert found.lineage is LineageClass.DERIVED
    assert found.log10_p < -12


def test_a_merge_is_derived_from_both_parents(tmp_path: Path) -> None:
    mixed = CHANGES["merged with an independent model"](example_weights("llama-a"))
    merged = made.fingerprint(made.write(tmp_path, mixed))
    for parent in ("llama-a", "llama-b"):
        assert compare(example(parent), merged).lineage is LineageClass.DERIVED
    assert compare(example("gpt2-a"), merged).lineage is LineageClass.NO_EVIDENCE


def test_new_weights_in_the_same_shapes_give_no_evidence(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    fresh = {
        name: random.permutation(m.reshape(-1)).reshape(m.shape)
        for name, m in example_weights("llama-a").items()
    }
    found = with_llama(tmp_path, fresh)
    assert found.lineage is LineageClass.NO_EVIDENCE


def test_dropped_layers_are_read_off(tmp_path: Path) -> None:
    found = with_llama(tmp_path, made.drop_layer(example_weights("llama-a"), 1))
    pairs = [(p.b, p.a) for p in result(found, "ALIGN-neuron").pairs]
    assert pairs == [("0", "0"), ("1", "2"), ("2", "3")]


def test_permuted_neurons_hide_from_the_neuron_axis_only(tmp_path: Path) -> None:
    weights = made.permute_neurons(example_weights("llama-a"), 9)
    found = with_llama(tmp_path, weights)
    assert abs(result(found, "ALIGN-neuron").effect) < 0.1
    assert result(found, "ALIGN-residual").log10_p < -12
    assert result(found, "GAMMA").log10_p < -12


def test_pruning_tells_parent_from_child(tmp_path: Path) -> None:
    pruned = made.fingerprint(
        made.write(tmp_path, made.prune(example_weights("llama-a"), 0.5))
    )
    found = compare(example("llama-a"), pruned)
    assert (found.relation, found.direction) == ("Pruned", Direction.A_TO_B)
    assert "zero" in found.direction_evidence
    assert compare(pruned, example("llama-a")).direction is Direction.B_TO_A


def test_one_frozen_tensor_is_enough_and_is_called_a_partial_copy(
    tmp_path: Path,
) -> None:
    weights = made.llama(8, layers=4, width=128, neurons=352, tokens=2048)
    name = "model.layers.2.self_attn.v_proj.weight"
    weights[name] = example_weights("llama-a")[name]
    found = with_llama(tmp_path, weights)
    assert found.lineage is LineageClass.DERIVED
    assert found.relation == "PartialCopy"
    assert result(found, "HASH").n == 1


def test_layers_in_another_order_are_not_identical(tmp_path: Path) -> None:
    def swapped(name: str) -> str:
        stem = "model.layers."
        for one, other in (("0", "1"), ("1", "0")):
            if name.startswith(f"{stem}{one}."):
                return f"{stem}{other}." + name.split(".", 3)[3]
        return name

    weights = {swapped(n): m for n, m in example_weights("llama-a").items()}
    found = with_llama(tmp_path, weights)
    assert (found.lineage, found.relation) == (LineageClass.DERIVED, "Rearranged")


def test_a_longer_vocabulary_is_derived(tmp_path: Path) -> None:
    weights = dict(example_weights("llama-a"))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        old = weights[name]
        new = np.random.default_rng(1).normal(0, 0.02, (256, old.shape[1]))
        weights[name] = np.concatenate([old, new]).astype(np.float32)
    found = with_llama(tmp_path, weights)
    assert found.lineage is LineageClass.DERIVED
    assert found.relation == "VocabularyChanged"


def test_an_expert_copied_from_a_dense_block_is_found(tmp_path: Path) -> None:
    weights: made.Weights = {}
    random = np.random.default_rng(2)
    for name, values in example_weights("llama-a").items():
        stem, found, part = name.partition("mlp.")
        if not found:
            weights[name] = values
            continue
        short = {"gate": "w1", "down": "w2", "up": "w3"}[part.split("_")[0]]
        for expert in range(2):
            noise = 0.1 * values.std() * random.normal(size=values.shape)
            at = f"{stem}block_sparse_moe.experts.{expert}.{short}.weight"
            weights[at] = (values + noise).astype(np.float32)
    found_ = with_llama(tmp_path, weights)
    pairs = [(p.a, p.b) for p in result(found_, "ALIGN-neuron").pairs]
    assert pairs == [(str(i), f"{i}/{e}") for i in range(4) for e in range(2)]


def test_another_width_leaves_the_tests_that_have_no_basis(tmp_path: Path) -> None:
    found = with_llama(
        tmp_path, made.llama(3, layers=4, width=64, neurons=352, tokens=2048)
    )
    assert not found.lineage.descends
    for name in ("ALIGN-neuron", "ALIGN-residual", "GAMMA", "EMB"):
        assert result(found, name).reason is NotRun.WIDTH_DIFFERS
        assert "64" in result(found, name).detail
    for name in ("HASH", "ROWNORM", "PNI", "TSP"):
        assert result(found, name).ran


def test_another_number_of_neurons_leaves_the_residual_axis(tmp_path: Path) -> None:
    found = with_llama(tmp_path, made.llama(3, layers=4, width=128, neurons=176))
    assert not found.lineage.descends
    for name in ("ALIGN-neuron", "ROWNORM", "PNI", "TSP"):
        assert result(found, name).reason is NotRun.NEURONS_DIFFER
    for name in ("HASH", "ALIGN-residual", "GAMMA", "EMB"):
        assert result(found, name).ran


def test_a_negative_says_what_would_have_been_seen(tmp_path: Path) -> None:
    """A copy with the smallest effect that is promised to be seen is seen."""
    found = compare(example("llama-a"), example("llama-b"))
    promised = result(found, "ALIGN-neuron").smallest_effect
    assert promised is not None
    assert promised < 0.3
    share = np.sqrt(1 / promised**2 - 1)  # cosine of w and w + share * noise
    weights = made.noise(example_weights("llama-a"), float(share), 7)
    seen = with_llama(tmp_path, weights)
    assert seen.lineage is LineageClass.DERIVED


def test_a_negative_says_that_permuted_copies_would_not_have_been_seen() -> None:
    small = compare(reduced(example("llama-a")), reduced(example("llama-b")))
    assert small.lineage is LineageClass.NO_EVIDENCE
    assert "MATCH and QF did not run" in small.statement
    assert "MATCH" not in compare(example("llama-a"), example("llama-b")).statement


def test_every_test_is_reported_once_in_a_fixed_order() -> None:
    found = compare(example("llama-a"), example("gpt2-a"))
    assert tuple(test.name for test in found.tests) == TESTS


def test_more_references_demand_more_evidence() -> None:
    a, b = example("llama-a"), example("llama-a.sft")
    one, many = compare(a, b), compare(a, b, family_size=1000)
    assert many.log10_p == pytest.approx(one.log10_p + 3)


def test_norms_that_were_never_trained_are_no_evidence(tmp_path: Path) -> None:
    ones = CHANGES["norms set to one"](example_weights("llama-a"))
    both = made.fingerprint(made.write(tmp_path, ones))
    found = compare(both, example("llama-b"))
    assert result(found, "GAMMA").reason is NotRun.UNTRAINED_NORMS
    assert found.lineage is LineageClass.NO_EVIDENCE


FILLS: dict[str, Callable[[tuple[int, ...]], made.Weights]] = {
    "zeros": lambda shape: {"w": np.zeros(shape, np.float32)},
    "ones": lambda shape: {"w": np.ones(shape, np.float32)},
    "tiny": lambda shape: {"w": np.full(shape, 1e-40, np.float32)},
    "huge": lambda shape: {"w": np.full(shape, 3e38, np.float32)},
    "two values": lambda shape: {
        "w": np.where(np.arange(np.prod(shape)) % 2, 1.0, -1.0)
        .reshape(shape)
        .astype(np.float32)
    },
}


@pytest.mark.parametrize("fill", FILLS)
def test_constant_weights_never_match_even_themselves(
    tmp_path: Path, fill: str
) -> None:
    weights = {
        name: FILLS[fill](values.shape)["w"] for name, values in made.llama(1).items()
    }
    flat = made.fingerprint(made.write(tmp_path / "a", weights, dtype="F32"))
    for other in (flat, made.fingerprint(made.write(tmp_path / "b", made.llama(2)))):
        found = compare(flat, other)
        assert not found.lineage.descends
        assert all(test.ran or test.reason for test in found.tests)


def test_models_of_one_number_never_match(tmp_path: Path) -> None:
    weights = {
        name: np.ones((1,) * values.ndim, np.float32)
        for name, values in made.llama(1).items()
    }
    single = made.fingerprint(made.write(tmp_path, weights))
    found = compare(single, single)
    assert found.lineage is LineageClass.INCONCLUSIVE
    assert found.reason in set(NotRun)


def test_an_unknown_architecture_is_inconclusive_with_its_reason(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(1)
    odd = {"enc.w1": random.normal(size=(64, 64)).astype(np.float32)}
    found = with_llama(tmp_path, odd)
    assert found.lineage is LineageClass.INCONCLUSIVE
    assert found.reason == "UnknownArchitecture"
    assert "B" in found.statement


def test_an_unknown_architecture_is_still_identical_to_its_copy(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    odd = {
        f"enc.{i}": random.normal(size=(64, 64)).astype(np.float32) for i in range(3)
    }
    renamed = {f"x.{i}": odd[f"enc.{2 - i}"] for i in range(3)}
    a = made.fingerprint(made.write(tmp_path / "a", odd))
    b = made.fingerprint(made.write(tmp_path / "b", renamed, shards=2))
    assert compare(a, b).lineage is LineageClass.IDENTICAL


def test_an_adapter_is_inconclusive(tmp_path: Path) -> None:
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    adapter = {name: np.random.default_rng(1).normal(size=(8, 128)).astype(np.float32)}
    found = with_llama(tmp_path, adapter)
    assert found.reason == "AdapterWeights"


def test_fingerprints_of_other_specs_cannot_be_compared() -> None:
    import dataclasses

    one = example("llama-a")
    other = dataclasses.replace(one, settings=FingerprintSpec(seed=1))
    with pytest.raises(ArtifactError) as refused:
        compare(one, other)
    assert refused.value.reason == "UnsupportedFingerprint"


V1 = Path(__file__).parent.parent / "goldens" / "v1"


def _first_version(name: str) -> Fingerprint:
    return decode((V1 / f"{name}.fingerprint.safetensors").read_bytes())


def test_fingerprints_of_the_first_version_are_compared_with_each_other() -> None:
    a, other = _first_version("llama-a"), _first_version("gpt2-a")
    assert compare(a, a).lineage is LineageClass.IDENTICAL
    own = {test.name: test for test in compare(a, a).tests}
    for name in ("HASH", "ALIGN-neuron", "ALIGN-residual", "GAMMA", "EMB"):
        assert own[name].effect == pytest.approx(1, abs=0.1)
    for name in ("ROWNORM", "PNI", "TSP"):
        assert own[name].reason is NotRun.NOT_KEPT
    apart = compare(a, other)
    assert apart.lineage is LineageClass.NO_EVIDENCE
    assert apart.log10_p > -3


def test_the_first_version_cannot_be_compared_with_the_second() -> None:
    with pytest.raises(ArtifactError, match="fingerprint/v1") as refused:
        compare(_first_version("llama-a"), example("llama-a"))
    assert refused.value.reason == "UnsupportedFingerprint"
    assert "again" in str(refused.value.hint)


@pytest.mark.parametrize("small", [Profile.FAST, Profile.MINIMAL])
@pytest.mark.parametrize(("a", "b"), [*RELATED, ("llama-a", "llama-b")])
def test_a_smaller_profile_is_compared_with_a_deep_one(
    a: str, b: str, small: Profile
) -> None:
    less = build_fingerprint(made.checkpoint(made.EXAMPLES / b), profile=small)
    found = compare(example(a), less)
    assert found.lineage.descends == ((a, b) in RELATED)


def _as_neox(weights: made.Weights) -> made.Weights:
    """Llama-like weights under GPT-NeoX's names: no gate, one fused matrix."""
    names = {
        "model.embed_tokens": "gpt_neox.embed_in",
        "lm_head": "embed_out",
        "model.norm": "gpt_neox.final_layer_norm",
        "self_attn.o_proj": "attention.dense",
        "mlp.up_proj": "mlp.dense_h_to_4h",
        "mlp.down_proj": "mlp.dense_4h_to_h",
        "model.layers": "gpt_neox.layers",
    }
    result: made.Weights = {}
    for name, values in weights.items():
        if any(part in name for part in ("gate_proj", "k_proj", "v_proj")):
            continue
        if "q_proj" in name:
            name = name.replace("self_attn.q_proj", "attention.query_key_value")
            values = np.concatenate([values] * 3)
        for old, new in names.items():
            name = name.replace(old, new)
        result[name] = values
    return result


def test_gpt_neox_models_are_compared_by_the_same_tests(tmp_path: Path) -> None:
    base = _as_neox(made.llama(1))
    others = {"child": made.noise(base, 0.5, 2), "twin": _as_neox(made.llama(2))}
    a = made.fingerprint(made.write(tmp_path / "a", base))
    assert (a.architecture, a.unmapped) == ("gpt-neox", 0)
    verdicts = {
        name: compare(a, made.fingerprint(made.write(tmp_path / name, weights))).lineage
        for name, weights in others.items()
    }
    assert verdicts == {
        "child": LineageClass.DERIVED,
        "twin": LineageClass.NO_EVIDENCE,
    }


def test_fast_fingerprints_of_other_widths_say_what_little_they_would_have_seen(
    tmp_path: Path,
) -> None:
    narrow = made.llama(3, width=64, neurons=96)
    other = made.fingerprint(made.write(tmp_path, narrow), profile=Profile.FAST)
    here = made.fingerprint(made.EXAMPLES / "llama-a", profile=Profile.FAST)
    found = compare(here, other)
    assert found.lineage is LineageClass.NO_EVIDENCE
    assert "only unchanged tensors would have been seen" in found.statement


def test_constant_weights_of_another_width_say_nothing_at_all(tmp_path: Path) -> None:
    flat = {n: np.ones_like(v) for n, v in made.llama(3, width=64).items()}
    other = made.fingerprint(made.write(tmp_path, flat), profile=Profile.FAST)
    here = made.fingerprint(made.EXAMPLES / "llama-a", profile=Profile.FAST)
    assert compare(here, other).lineage is LineageClass.INCONCLUSIVE
