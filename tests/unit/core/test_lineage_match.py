# SPDX-License-Identifier: Apache-2.0
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from made_laundering import add_decoys, launder
from made_models import (
    EXAMPLES,
    Weights,
    drop_layer,
    fingerprint,
    gpt2,
    int8,
    llama,
    noise,
    permute_neurons,
    read,
    write,
)
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.spec import Profile
from pedigree.lineage import match, qf
from pedigree.lineage.classes import LineageClass
from pedigree.lineage.compare import compare
from pedigree.lineage.mutual import Block, cells, prepare
from pedigree.lineage.results import NotRun, TestResult

ALPHA = -7.0


def run(a: Fingerprint, b: Fingerprint) -> TestResult:
    return match.run(a, b, alpha_log10=ALPHA)


def made(folder: Path, weights: Weights, like: str) -> Fingerprint:
    write(folder, weights)
    shutil.copy(EXAMPLES / like / "tokenizer.json", folder)
    return fingerprint(folder)


def int4(weights: Weights) -> Weights:
    rounded = {}
    for name, values in weights.items():
        scale = np.abs(values).max(axis=-1, keepdims=True) / 7
        rounded[name] = np.rint(values / scale) * scale if values.ndim == 2 else values
    return rounded


@pytest.fixture(scope="module")
def models() -> dict[str, Fingerprint]:
    names = ("llama-a", "llama-a.sft", "llama-b", "gpt2-a", "gpt2-a.sft")
    return {name: fingerprint(EXAMPLES / name) for name in names}


def test_a_laundered_and_rounded_fine_tune_is_found(
    models: dict[str, Fingerprint], tmp_path: Path
) -> None:
    hidden = int8(launder(read(EXAMPLES / "llama-a.sft"), 3))
    result = run(models["llama-a"], made(tmp_path, hidden, "llama-a.sft"))
    assert result.log10_p < -20
    assert result.effect > 0.95
    assert [(pair.a, pair.b) for pair in result.pairs] == [(x, x) for x in "0123"]


def test_noise_as_large_as_the_weights_does_not_hide_a_laundered_model(
    models: dict[str, Fingerprint], tmp_path: Path
) -> None:
    hidden = launder(noise(read(EXAMPLES / "llama-a"), 1.0, 5), 6)
    assert run(models["llama-a"], made(tmp_path, hidden, "llama-a")).log10_p < -15


def test_layers_are_told_after_one_was_dropped_and_the_rest_laundered(
    models: dict[str, Fingerprint], tmp_path: Path
) -> None:
    hidden = launder(drop_layer(read(EXAMPLES / "llama-a"), 1), 7)
    result = run(models["llama-a"], made(tmp_path, hidden, "llama-a"))
    assert [(pair.a, pair.b) for pair in result.pairs] == [
        ("0", "0"),
        ("2", "1"),
        ("3", "2"),
    ]


def test_half_of_the_neurons_are_enough(
    models: dict[str, Fingerprint], tmp_path: Path
) -> None:
    weights = read(EXAMPLES / "llama-a")
    for name, values in weights.items():
        if "gate_proj" in name or "up_proj" in name:
            weights[name] = values[::2].copy()
        elif "down_proj" in name:
            weights[name] = values[:, ::2].copy()
    result = run(models["llama-a"], made(tmp_path, weights, "llama-a"))
    assert result.log10_p < -20


def test_blocks_without_gate_are_matched_by_what_they_read_and_write(
    models: dict[str, Fingerprint], tmp_path: Path
) -> None:
    weights = read(EXAMPLES / "gpt2-a.sft")
    random = np.random.default_rng(1)
    for layer in range(4):
        stem = next(x for x in weights if x.endswith(f"h.{layer}.mlp.c_fc.weight"))
        order = random.permutation(weights[stem].shape[1])
        weights[stem] = weights[stem][:, order].copy()
        bias = stem.replace("weight", "bias")
        weights[bias] = weights[bias][order]
        down = stem.replace("c_fc", "c_proj")
        weights[down] = weights[down][order].copy()
    result = run(models["gpt2-a"], made(tmp_path, weights, "gpt2-a.sft"))
    assert result.log10_p < -20
    assert result.effect > 0.95


def test_what_layer_norm_takes_off_hides_nothing(
    models: dict[str, Fingerprint], tmp_path: Path
) -> None:
    weights = read(EXAMPLES / "gpt2-a")
    random = np.random.default_rng(2)
    for name in [name for name in weights if name.endswith("mlp.c_fc.weight")]:
        norm = weights[name.replace("mlp.c_fc", "ln_2")][:, None]
        shift = random.normal(0, 0.3, (1, weights[name].shape[1]))
        weights[name] = (weights[name] + shift / norm).astype(np.float32)
    result = run(models["gpt2-a"], made(tmp_path, weights, "gpt2-a"))
    assert result.log10_p < -20


def test_models_of_one_recipe_that_never_met_are_not_matched(
    models: dict[str, Fingerprint],
) -> None:
    result = run(models["llama-a"], models["llama-b"])
    assert result.ran
    assert result.log10_p > -2
    assert result.effect < 0.2
    assert result.pairs == ()
    assert result.smallest_effect is not None
    assert 0.2 < result.smallest_effect < 1


def test_decoys_that_cancel_do_not_hide_a_laundered_model(
    models: dict[str, Fingerprint], tmp_path: Path
) -> None:
    hidden = launder(add_decoys(read(EXAMPLES / "llama-a"), 8), 9)
    b = made(tmp_path, hidden, "llama-a")
    result = run(models["llama-a"], b)
    assert result.log10_p < -40
    assert result.effect > 0.95
    assert qf.run(models["llama-a"], b, alpha_log10=ALPHA).log10_p < -20
    verdict = compare(models["llama-a"], b, power=False).lineage
    assert verdict is LineageClass.DERIVED


def test_decoys_that_were_rounded_do_not_hide_a_laundered_model(
    models: dict[str, Fingerprint], tmp_path: Path
) -> None:
    hidden = int4(launder(add_decoys(read(EXAMPLES / "llama-a.sft"), 8), 9))
    result = run(models["llama-a"], made(tmp_path, hidden, "llama-a"))
    assert result.log10_p < -40
    assert result.effect > 0.95


def test_decoys_in_blocks_without_gate_do_not_hide_a_model(
    models: dict[str, Fingerprint], tmp_path: Path
) -> None:
    weights = add_decoys(read(EXAMPLES / "gpt2-a"), 10, gated=False)
    result = run(models["gpt2-a"], made(tmp_path, weights, "gpt2-a"))
    assert result.log10_p < -40
    assert result.effect > 0.95


def test_decoys_do_not_match_models_that_never_met(
    models: dict[str, Fingerprint], tmp_path: Path
) -> None:
    other = add_decoys(read(EXAMPLES / "llama-b"), 8)
    b = made(tmp_path, launder(other, 9), "llama-b")
    for test in (match, qf):
        result = test.run(models["llama-a"], b, alpha_log10=ALPHA)
        assert result.ran
        assert result.log10_p > -1
        assert result.effect < 0.2


def test_rows_with_many_equals_agree_no_oftener_than_the_null_bank_allows() -> None:
    random = np.random.default_rng(6)
    size, equals = 1024, 32

    def view(like: np.ndarray) -> np.ndarray:
        blurred = like + 0.1 * random.normal(size=like.shape)
        return np.rint(100 * blurred).astype(np.float32)

    # Every row is near to 32 of the other model, in both views: and in neither for
    # the reason that the models are related.
    kinds = [random.normal(size=(size // equals, 48)) for _ in range(2)]
    agreed = matched = 0
    for _ in range(6):
        a, b = (
            Block(
                "0",
                True,
                *(view(k[random.permutation(size) % len(k)]) for k in kinds),
            )
            for _ in range(2)
        )
        (cell,), _ = cells(*prepare([a], [b]), signed=True)
        agreed, matched = agreed + cell.agreed, matched + cell.matched
    assert matched > 1000
    assert agreed / matched < 0.04


def test_swapping_the_models_changes_nothing_but_the_labels(
    models: dict[str, Fingerprint],
) -> None:
    for one, other in (("llama-a", "llama-b"), ("gpt2-a", "gpt2-a.sft")):
        there, back = (
            run(models[one], models[other]),
            run(models[other], models[one]),
        )
        assert there.log10_p == back.log10_p
        assert there.effect == back.effect
        assert there.n == back.n


def test_a_fast_fingerprint_is_compared_with_a_deep_one(
    models: dict[str, Fingerprint],
) -> None:
    fast = fingerprint(EXAMPLES / "llama-a.sft", Profile.FAST)
    assert run(models["llama-a"], fast).log10_p < -10
    assert run(fast, models["llama-a"]).log10_p < -10
    assert run(models["llama-b"], fast).log10_p > -2


def test_two_fast_fingerprints_say_that_a_deep_one_is_needed() -> None:
    fast = fingerprint(EXAMPLES / "llama-a", Profile.FAST)
    assert run(fast, fast).reason is NotRun.NEEDS_DEEP


def test_blocks_with_and_without_gate_have_no_two_views_in_common(
    models: dict[str, Fingerprint],
) -> None:
    result = run(models["llama-a"], models["gpt2-a"])
    assert result.reason is NotRun.NOTHING_SHARED


def test_an_unknown_architecture_is_a_reason(models: dict[str, Fingerprint]) -> None:
    unknown = replace(models["llama-a"], architecture="", reason="UnknownArchitecture")
    assert run(models["llama-a"], unknown).reason is NotRun.UNKNOWN_ARCHITECTURE


def test_models_without_a_tokenizer_are_matched_by_rows_of_the_embedding(
    tmp_path: Path,
) -> None:
    weights = llama(1, neurons=256)
    first = fingerprint(write(tmp_path / "a", weights))
    second = fingerprint(write(tmp_path / "b", permute_neurons(weights, 2)))
    other = fingerprint(write(tmp_path / "c", llama(3, neurons=256)))
    assert run(first, second).log10_p < -20
    assert run(first, other).log10_p > -2


def test_equal_neurons_are_one_neuron(tmp_path: Path) -> None:
    weights = llama(1)
    for name in weights:
        if "gate_proj" in name or "up_proj" in name:
            weights[name][:] = weights[name][:1]
    same = fingerprint(write(tmp_path, weights))
    assert run(same, same).reason is NotRun.NOTHING_INFORMATIVE


def test_rows_of_zeros_are_no_evidence(tmp_path: Path) -> None:
    weights = llama(1)
    for name in weights:
        if "up_proj" in name:
            weights[name][:] = 0
    empty = fingerprint(write(tmp_path, weights))
    assert not run(empty, empty).ran


def test_models_whose_gate_and_up_are_equal_never_match(tmp_path: Path) -> None:
    found = []
    for seed in (1, 2):
        weights = llama(seed, neurons=256)
        for layer in range(2):
            stem = f"model.layers.{layer}.mlp."
            weights[f"{stem}up_proj.weight"] = weights[f"{stem}gate_proj.weight"]
        found.append(fingerprint(write(tmp_path / str(seed), weights)))
    assert run(*found).reason is NotRun.NOTHING_INFORMATIVE


def test_up_rows_that_follow_the_gate_do_not_match_by_that() -> None:
    random = np.random.default_rng(4)

    def block() -> Block:
        gate = random.normal(size=(300, 32))
        up = 0.6 * gate + 0.8 * random.normal(size=gate.shape)
        whole = [np.rint(40 * x).astype(np.float32) for x in (gate, up)]
        return Block("0", True, whole[0], whole[1])

    counts = []
    for _ in range(20):
        (cell,), _ = cells(*prepare([block()], [block()]), signed=True)
        counts.append((cell.agreed, cell.matched))
    agreed, matched = np.sum(counts, axis=0)
    # Unrelated matches agree once in 300; without projection about ten times as often.
    assert matched > 500
    assert agreed <= 12


def test_only_promising_pairs_of_many_blocks_are_matched() -> None:
    random = np.random.default_rng(5)

    def view() -> np.ndarray:
        return np.rint(40 * random.normal(size=(64, 32))).astype(np.float32)

    a = [Block(str(i), True, view(), view()) for i in range(8)]
    b = [replace(block, label=f"{i}b") for i, block in enumerate(a)]
    found, tried = cells(*prepare(a, b), signed=False)
    assert tried == 64
    assert len(found) == 16
    assert {(cell.a, cell.b) for cell in found} >= {(i, i) for i in range(8)}
    assert all(cell.agreed == cell.matched == 64 for cell in found if cell.a == cell.b)


def test_p_values_of_random_models_are_not_small(tmp_path: Path) -> None:
    prints = [
        fingerprint(write(tmp_path / str(seed), gpt2(seed, tokens=160)))
        for seed in range(6)
    ]
    results = [run(a, b) for i, a in enumerate(prints) for b in prints[:i]]
    assert all(result.ran for result in results)
    assert min(result.log10_p for result in results) > math.log10(0.05)
