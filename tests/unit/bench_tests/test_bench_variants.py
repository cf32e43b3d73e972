# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
from bench.forward import agreement, logits, reading
from bench.variants.catalogue import STEPS, keeps_function, make, parse
from bench.variants.files import Model, read_model, read_tensors, write_model
from bench.variants.network import network_of, tensors_of
from bench.variants.rounding import decode_e4m3, encode_e4m3, fp8, integers

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"

BASES = ("llama-a", "gpt2-a")
LLAMA_ONLY = ("upcycle", "pad-heads", "pad-channels")
KEEPING = [
    (base, name)
    for base in BASES
    for name, step in STEPS.items()
    if step.keeps and not (base == "gpt2-a" and name in LLAMA_ONLY)
]


@pytest.fixture(scope="module")
def bases() -> dict[str, Model]:
    found = {name: read_model(EXAMPLES / name) for name in BASES}
    for model in found.values():
        model.dtype = "F32"
    return found


@pytest.mark.parametrize("base", BASES)
def test_names_and_shapes_survive_the_one_form(base: str) -> None:
    tensors, _ = read_tensors(EXAMPLES / base)
    model = read_model(EXAMPLES / base)
    again = tensors_of(network_of(tensors, model.config))
    assert {n: t.shape for n, t in again.items()} == {
        n: t.shape for n, t in tensors.items()
    }
    assert all(np.array_equal(again[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize(("base", "variant"), KEEPING)
def test_a_function_preserving_variant_predicts_the_same(
    base: str, variant: str, bases: dict[str, Model], tmp_path: Path
) -> None:
    parent = bases[base]
    made = read_model(
        write_model(tmp_path / "made", make(parent, f"f32+{variant}", seed=3))
    )
    tokens = reading(parent, sequences=2, length=64)
    assert agreement(parent, made, tokens) >= 0.999


@pytest.mark.parametrize(
    ("base", "variant"),
    [
        ("llama-a", "pad-channels+pad-heads+split-neurons+insert-layers+launder"),
        ("llama-a", "upcycle+launder+vocabulary"),
        ("gpt2-a", "split-neurons+pad-neurons+insert-layers+launder+vocabulary"),
    ],
)
def test_preserving_steps_may_be_joined(
    base: str, variant: str, bases: dict[str, Model]
) -> None:
    made = make(bases[base], variant, seed=2)
    tokens = reading(bases[base], sequences=2, length=64)
    assert agreement(bases[base], made, tokens) >= 0.99


@pytest.mark.parametrize("base", BASES)
def test_laundering_leaves_no_matrix_as_it_was(
    base: str, bases: dict[str, Model]
) -> None:
    before = tensors_of(bases[base].network)
    after = tensors_of(make(bases[base], "launder", seed=1).network)
    for name, values in before.items():
        if values.ndim == 2:
            cosine = np.vdot(values, after[name]) / (
                np.linalg.norm(values) * np.linalg.norm(after[name])
            )
            assert abs(cosine) < 0.3, name


def test_a_half_turned_rotation_lies_between(bases: dict[str, Model]) -> None:
    parent = bases["llama-a"].network.embedding
    half = make(bases["llama-a"], "rotation=0.5", seed=1).network.embedding
    full = make(bases["llama-a"], "rotation=1", seed=1).network.embedding
    assert np.vdot(parent, half) > np.vdot(parent, full) + 0.2 * np.vdot(parent, parent)


def test_damage_grows_with_strength(bases: dict[str, Model]) -> None:
    parent = bases["llama-a"]
    tokens = reading(parent, sequences=2, length=64)
    kept = [
        agreement(parent, make(parent, f"noise={share}", seed=1), tokens)
        for share in (0.02, 0.3, 3)
    ]
    assert kept[0] > 0.9
    assert kept[0] > kept[1] > kept[2]


def test_a_model_of_the_same_recipe_does_not_predict_the_same(
    bases: dict[str, Model],
) -> None:
    other = read_model(EXAMPLES / "llama-b")
    tokens = reading(bases["llama-a"], sequences=2, length=64)
    assert agreement(bases["llama-a"], other, tokens) < 0.9


def test_every_seed_makes_its_own_variant(bases: dict[str, Model]) -> None:
    one, same, two = (make(bases["llama-a"], "launder", seed=s) for s in (1, 1, 2))
    assert np.array_equal(one.network.embedding, same.network.embedding)
    assert not np.allclose(one.network.embedding, two.network.embedding)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F8_E4M3"])
def test_storage_types_are_read_back_near_what_was_written(
    dtype: str, bases: dict[str, Model], tmp_path: Path
) -> None:
    model = bases["llama-a"].copy()
    model.dtype = dtype
    model.shards = 2
    again = read_model(write_model(tmp_path / "made", model))
    before, after = tensors_of(model.network), tensors_of(again.network)
    for name, values in before.items():
        error = np.abs(values - after[name]).max() / np.abs(values).max()
        assert error < 0.04, name
    assert (again.dtype, again.shards) == (dtype, 2)


def test_integers_lie_on_a_lattice_of_each_group() -> None:
    values = np.random.default_rng(1).normal(size=(3, 70)).astype(np.float32)
    rounded = integers(values, 4, 32)
    for begin in (0, 32, 64):
        for row in rounded[:, begin : begin + 32]:
            assert len(np.unique(row)) <= 15
    assert np.abs(rounded - values).max() <= np.abs(values).max() / 14 + 1e-6


def test_fp8_codes_and_values_are_each_others_inverse() -> None:
    codes = np.array([c for c in range(256) if c & 127 != 127], np.uint8)
    assert np.array_equal(encode_e4m3(decode_e4m3(codes)), codes)
    assert decode_e4m3(np.array([126, 1, 56], np.uint8)).tolist() == [448, 2**-9, 1]
    assert fp8(np.zeros((2, 2), np.float32)).tolist() == [[0, 0], [0, 0]]


def test_merges_lie_where_their_shares_say(bases: dict[str, Model]) -> None:
    base, other = bases["llama-a"], read_model(EXAMPLES / "llama-a.sft")
    parent, child = base.network.embedding, other.network.embedding
    for variant in ("linear=0.25", "slerp=0.25"):
        made = make(base, variant, seed=1, others=[other]).network.embedding
        share = np.vdot(made - parent, child - parent) / np.vdot(
            child - parent, child - parent
        )
        assert share == pytest.approx(0.25, abs=0.01)


def test_dare_and_ties_keep_some_of_the_base_exactly(bases: dict[str, Model]) -> None:
    base, other = bases["llama-a"], read_model(EXAMPLES / "llama-a.sft")
    for variant in ("ties", "dare"):
        made = make(base, variant, seed=1, others=[other, other]).network
        same = (made.embedding == base.network.embedding).mean()
        assert 0.2 < same < 0.9, variant


def test_dropped_and_duplicated_layers_change_the_config(
    bases: dict[str, Model], tmp_path: Path
) -> None:
    for variant, layers in (("drop=1", 3), ("duplicate=2", 6)):
        for base, name in (("llama-a", "num_hidden_layers"), ("gpt2-a", "n_layer")):
            made = make(bases[base], variant, seed=1)
            again = read_model(write_model(tmp_path / variant / base, made))
            assert again.config[name] == len(again.network.blocks) == layers


def test_an_unknown_step_is_named() -> None:
    with pytest.raises(ValueError, match="no step 'melt'"):
        parse("launder+melt")
    assert keeps_function("launder+heads")
    assert not keeps_function("launder+int4")


def test_logits_do_not_look_ahead(bases: dict[str, Model]) -> None:
    for model in bases.values():
        tokens = reading(model, sequences=1, length=24)[0]
        changed = tokens.copy()
        changed[12:] = 7
        first, second = (logits(model.network, t) for t in (tokens, changed))
        assert np.allclose(first[:12], second[:12], atol=1e-4)
        assert not np.allclose(first[12:], second[12:], atol=1e-2)
