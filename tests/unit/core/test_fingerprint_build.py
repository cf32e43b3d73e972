# SPDX-License-Identifier: Apache-2.0
"""What a fingerprint does and does not depend on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import made_models as made
from pedigree.errors import ArtifactError
from pedigree.fingerprint.build import build_fingerprint
from pedigree.fingerprint.roles import Role, Slot

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
    cast = made.fingerprint(made.write(tmp_path, weights, dtype=dtype))
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
    assert len(once.head) == 0


def test_one_changed_weight_changes_the_digest(tmp_path: Path) -> None:
    weights = made.llama(1)
    before = made.fingerprint(made.write(tmp_path / "a", weights))
    weights["model.layers.1.self_attn.k_proj.weight"][5, 5] += 0.5
    after = made.fingerprint(made.write(tmp_path / "b", weights))
    assert before.digest != after.digest
    different = [
        x.slot
        for x, y in zip(before.tensors, after.tensors, strict=True)
        if x.digest != y.digest
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
    digests = [
        next(r.digest for r in f.tensors if r.slot == slot) for f in (of_gpt2, of_llama)
    ]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", EXAMPLE_NAMES)
def test_the_example_models_are_understood_whole(name: str) -> None:
    found = made.fingerprint(made.EXAMPLES / name)
    assert found.architecture == ("llama" if "llama" in name else "gpt2")
    assert found.unmapped == 0
    assert (found.shape.layers, found.shape.width) == (4, 128)
    assert found.spec == "pedigree.dev/fingerprint/v1"
    assert found.neurons.any(axis=(1, 2, 3)).all()
    assert len(found.encoded) < 100_000


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
