# SPDX-License-Identifier: Apache-2.0
"""What a fingerprint does and does not depend on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import made_models as made
from pedigree.errors import ArtifactError, ConfigError
from pedigree.fingerprint.build import build_fingerprint
from pedigree.fingerprint.codec import decode
from pedigree.fingerprint.model import NO_DIGEST
from pedigree.fingerprint.roles import Role, Slot
from pedigree.fingerprint.spec import Profile

EXAMPLE_NAMES = ("llama-a", "llama-a.sft", "llama-b", "gpt2-a", "gpt2-a.sft")


def test_names_of_files_and_order_of_shards_do_not_matter(tmp_path: Path) -> None:
    weights = made.llama(1)
    one = made.fingerprint(made.write(tmp_path / "one", weights))
    three = made.fingerprint(made.write(tmp_path / "three", weights, shards=3))
    assert one == three
    assert one.digest == three.digest


@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_casts_that_lose_nothing_do_not_matter(tmp_path: Path, dtype: str) -> None:
    weights = made.read(made.EXAMPLES / "llama-a")
    folder = made.write(tmp_path, weights, dtype=dtype)
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(made.EXAMPLES / "llama-a" / name, folder / name)
    cast = made.fingerprint(folder)
    assert cast.digest == made.fingerprint(made.EXAMPLES / "llama-a").digest


def test_names_without_their_prefix_do_not_matter(tmp_path: Path) -> None:
    weights = made.llama(1)
    bare = {name.removeprefix("model."): values for name, values in weights.items()}
    assert made.fingerprint(made.write(tmp_path / "a", weights)) == made.fingerprint(
        made.write(tmp_path / "b", bare)
    )


def test_a_tied_head_stored_twice_does_not_matter(tmp_path: Path) -> None:
    weights = made.llama(1)
    del weights["lm_head.weight"]
    twice = weights | {"lm_head.weight": weights["model.embed_tokens.weight"]}
    once = made.fingerprint(made.write(tmp_path / "a", weights))
    assert once == made.fingerprint(made.write(tmp_path / "b", twice))
    assert once.part("head.index") is None
    assert once.parameters == sum(values.size for values in weights.values())


def test_one_changed_weight_changes_the_digest(tmp_path: Path) -> None:
    weights = made.llama(1)
    before = made.fingerprint(made.write(tmp_path / "a", weights))
    weights["model.layers.1.self_attn.k_proj.weight"][5, 5] += 0.5
    after = made.fingerprint(made.write(tmp_path / "b", weights))
    assert before.digest != after.digest
    different = [
        x.slot
        for x, y in zip(before.tensors, after.tensors, strict=True)
        if x.full_digest != y.full_digest
    ]
    assert different == [Slot(Role.K, 1)]


def test_gpt2_weights_are_hashed_as_the_matrices_they_are(tmp_path: Path) -> None:
    """The transposed and fused tensor equals the same weights stored one by one."""
    fused = made.read(made.EXAMPLES / "gpt2-a")
    name = "transformer.h.0.attn.c_attn.weight"
    q = np.ascontiguousarray(fused[name][:, :128].T)
    llama = made.llama(1, width=128)
    llama["model.layers.0.self_attn.q_proj.weight"] = q
    of_gpt2 = made.fingerprint(made.EXAMPLES / "gpt2-a")
    of_llama = made.fingerprint(made.write(tmp_path, llama))
    slot = Slot(Role.Q, 0)
    records = [
        next(r for r in f.tensors if r.slot == slot) for f in (of_gpt2, of_llama)
    ]
    assert records[0] == records[1]
    assert records[0].full_digest != NO_DIGEST


@pytest.mark.parametrize("name", EXAMPLE_NAMES)
def test_the_example_models_are_understood_whole(name: str) -> None:
    found = made.fingerprint(made.EXAMPLES / name)
    assert found.architecture == ("llama" if "llama" in name else "gpt2")
    assert found.unmapped == 0
    assert (found.shape.layers, found.shape.width) == (4, 128)
    assert found.spec == "pedigree.dev/fingerprint/v2"
    assert found.profile is Profile.DEEP
    for part in ("neuron.up", "neuron.tsp.up", "channel.o", "channel.down"):
        sketches = found.part(part)
        assert sketches is not None
        assert sketches.any(axis=(1, 2)).all(), part
    assert found.notes == ()


def test_parameters_are_counted_once() -> None:
    assert made.fingerprint(made.EXAMPLES / "llama-a").parameters == 1_262_720
    assert made.fingerprint(made.EXAMPLES / "gpt2-a").parameters == 1_121_024


def test_progress_reaches_every_byte(tmp_path: Path) -> None:
    opened = made.checkpoint(made.write(tmp_path, made.llama(1)))
    seen: list[tuple[int, int]] = []
    build_fingerprint(opened, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] > 0


def test_nan_weights_are_refused_by_name(tmp_path: Path) -> None:
    weights = made.llama(1)
    weights["model.layers.0.mlp.up_proj.weight"][3, 4] = np.nan
    folder = made.write(tmp_path, weights)
    with pytest.raises(ArtifactError, match="up_proj") as refused:
        made.fingerprint(folder)
    assert refused.value.reason == "NonFiniteTensor"


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "name",
    [
        "lm_head.weight",
        "model.norm.weight",
        "model.layers.1.self_attn.v_proj.weight",
        "something.else",
    ],
)
def test_a_single_value_that_is_no_number_is_found_in_deep_mode(
    tmp_path: Path, name: str, value: float, dtype: str
) -> None:
    weights = made.llama(1)
    weights["something.else"] = np.ones((3, 5, 7), np.float32)
    weights[name].reshape(-1)[-1] = value
    folder = tmp_path / "model"
    made.write(folder, weights, dtype="F32" if dtype == "BF16" else dtype)
    with pytest.raises(ArtifactError, match="not finite") as refused:
        made.fingerprint(folder)
    assert refused.value.reason == "NonFiniteTensor"


@pytest.mark.parametrize(
    "fill",
    [0.0, 1.0, -0.0, 1e-45, 1e-38, 3.3e38],
    ids=["zeros", "ones", "negative-zeros", "denormal", "tiny", "huge"],
)
def test_hostile_constants_give_a_fingerprint_without_evidence(
    tmp_path: Path, fill: float
) -> None:
    weights = {
        name: np.full_like(values, fill) for name, values in made.llama(1).items()
    }
    found = made.fingerprint(made.write(tmp_path, weights, dtype="F32"))
    assert not any(record.informative for record in found.tensors)
    assert {record.grid for record in found.tensors} == {0}


def test_a_model_of_one_weight_per_matrix_is_no_trouble(tmp_path: Path) -> None:
    weights = made.llama(1, layers=1, width=2, neurons=1, tokens=1)
    found = made.fingerprint(made.write(tmp_path, weights))
    assert (found.shape.width, found.shape.neurons) == (2, 1)
    assert found.part("raw") is None


def test_names_of_no_family_are_kept_as_records(tmp_path: Path) -> None:
    weights = {
        "a": np.zeros((), np.float32),
        "b": np.arange(70_000, dtype=np.float32),
        "c.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "d.weight": np.zeros((0, 5), np.float32),
        "e.weight": np.zeros((5, 0), np.float32),
    }
    found = made.fingerprint(made.write(tmp_path, weights, dtype="F32"))
    assert found.unmapped == 5
    assert found.parameters == 70_025
    assert {r.shape for r in found.tensors} == {(), (70_000,), (2, 12), (0, 5), (5, 0)}


def test_an_adapter_keeps_what_tells_its_base(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    weights = {
        stem + "A.weight": random.normal(size=(4, 64)).astype(np.float32),
        stem + "B.weight": random.normal(size=(64, 4)).astype(np.float32),
    }
    found = made.fingerprint(made.write(tmp_path, weights))
    assert found.reason == "AdapterWeights"
    assert found.shape.width == 64
    assert found.part("adapt.residual") is not None


def test_a_short_salt_is_refused(tmp_path: Path) -> None:
    folder = made.write(tmp_path, made.llama(1))
    with pytest.raises(ConfigError, match="16") as refused:
        made.fingerprint(folder, salt=b"short")
    assert refused.value.reason == "SaltTooShort"


def test_a_salt_samples_elsewhere_and_is_not_stored(tmp_path: Path) -> None:
    folder = made.write(tmp_path, made.llama(1))
    plain = made.fingerprint(folder)
    salt = b"0123456789abcdef"
    secret, again = (made.fingerprint(folder, salt=salt) for _ in range(2))
    other = made.fingerprint(folder, salt=b"another salt of this length")
    assert secret == again
    assert secret.settings.salted == 1
    assert len({plain.settings.seed, secret.settings.seed, other.settings.seed}) == 3
    up = [f.parts["neuron.up"] for f in (plain, secret, other)]
    assert not np.array_equal(up[0], up[1])
    assert not np.array_equal(up[1], up[2])
    assert salt not in secret.encoded
    assert decode(secret.encoded) == secret


def test_a_thousand_layers_of_one_tensor_are_refused(tmp_path: Path) -> None:
    tiny = np.zeros((1, 4), np.float32)
    weights = {f"model.layers.{i}.mlp.up_proj.weight": tiny for i in range(1000)}
    weights |= {
        "model.embed_tokens.weight": np.zeros((1, 4), np.float32),
        "model.layers.0.mlp.down_proj.weight": np.zeros((4, 1), np.float32),
    }
    with pytest.raises(ArtifactError, match="1000 layers") as refused:
        made.fingerprint(made.write(tmp_path, weights))
    assert refused.value.reason == "LimitExceeded"


@pytest.mark.parametrize(
    "odd",
    [
        {"model.layers.0.mlp.up_proj.weight": (96, 63)},
        {"model.layers.0.mlp.down_proj.weight": (65, 96)},
        {"model.layers.0.self_attn.o_proj.weight": (63, 64)},
        {"model.norm.weight": (7,)},
        {"lm_head.weight": (160, 63)},
        {"model.layers.0.mlp.gate_proj.weight": (1, 1)},
        {"model.layers.7.post_attention_layernorm.weight": (64,)},
        {"model.layers.0.mlp.up_proj.weight": (0, 64)},
        {"model.layers.0.input_layernorm.weight": ()},
    ],
    ids=str,
)
def test_shapes_that_do_not_go_together_do_no_harm(
    tmp_path: Path, odd: dict[str, tuple[int, ...]]
) -> None:
    weights = made.llama(1)
    for name, shape in odd.items():
        weights[name] = np.full(shape, 0.5, np.float32)
    found = made.fingerprint(made.write(tmp_path, weights))
    assert len(found.tensors) == len(weights)


@pytest.mark.parametrize(
    "wide",
    [
        {"model.layers.0.mlp.up_proj.weight": (2**18 + 1, 1)},
        {"model.embed_tokens.weight": (2**22 + 1, 1)},
        {"model.layers.0.self_attn.o_proj.weight": (1, 2**18 + 1)},
    ],
    ids=["neurons", "tokens", "columns"],
)
def test_an_axis_longer_than_any_model_has_is_refused(
    tmp_path: Path, wide: dict[str, tuple[int, ...]]
) -> None:
    weights = made.llama(1)
    for name, shape in wide.items():
        weights[name] = np.zeros(shape, np.float32)
    with pytest.raises(ArtifactError, match="allowed are") as refused:
        made.fingerprint(made.write(tmp_path, weights))
    assert refused.value.reason == "LimitExceeded"
