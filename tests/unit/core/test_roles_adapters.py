# SPDX-License-Identifier: Apache-2.0
"""The factors of an adapter come to the matrices they change."""

from __future__ import annotations

import pytest

from pedigree.fingerprint.adapter_names import adapter_modules
from pedigree.fingerprint.families import FAMILIES
from pedigree.fingerprint.roles import Role, map_roles

Shapes = dict[str, tuple[int, ...]]
STEM = "base_model.model."


def _pair(
    module: str,
    out: int,
    inner: int,
    *,
    name: str = "",
    stem: str = STEM,
    rank: int = 4,
) -> Shapes:
    ending = f".{name}.weight" if name else ".weight"
    return {
        f"{stem}{module}.lora_A{ending}": (4, inner),
        f"{stem}{module}.lora_B{ending}": (out, 4),
    }


@pytest.mark.parametrize("name", ["", "default", "my-adapter"])
@pytest.mark.parametrize("stem", [STEM, ""])
def test_factors_are_found_under_each_way_of_writing_names(
    name: str, stem: str
) -> None:
    module = "model.layers.3.mlp.up_proj"
    shapes = _pair(module, 20, 8, name=name, stem=stem)
    found = adapter_modules(shapes, FAMILIES)
    assert found.family == "llama"
    assert dict(found.factors) == {(3, Role.UP): tuple(shapes)}


def test_fused_modules_of_gpt2_have_one_pair() -> None:
    shapes = _pair("transformer.h.0.attn.c_attn", 24, 8)
    shapes |= _pair("transformer.h.0.attn.c_proj", 8, 8)
    found = adapter_modules(shapes, FAMILIES)
    assert set(found.factors) == {(0, Role.QKV), (0, Role.O)}


def test_fused_gate_and_up_have_one_pair() -> None:
    found = adapter_modules(_pair("model.layers.0.mlp.gate_up_proj", 40, 8), FAMILIES)
    assert set(found.factors) == {(0, Role.GATE_UP)}


def test_magnitudes_and_single_experts_are_left_out_with_a_note() -> None:
    shapes = _pair("model.layers.0.self_attn.q_proj", 8, 8)
    shapes |= _pair("model.layers.0.mlp.experts.1.up_proj", 20, 8)
    shapes[STEM + "model.layers.0.self_attn.q_proj.lora_magnitude_vector"] = (8,)
    found = adapter_modules(shapes, FAMILIES)
    assert set(found.factors) == {(0, Role.Q)}
    assert found.notes == ("AdapterExperts", "DoraMagnitude")
    assert map_roles(shapes, FAMILIES).reason == "AdapterWeights"
    assert map_roles(shapes, FAMILIES).notes == ("DoraMagnitude",)


@pytest.mark.parametrize(
    "shapes",
    [
        {STEM + "model.layers.0.mlp.up_proj.lora_A.weight": (4, 8)},
        {
            STEM + "model.layers.0.mlp.up_proj.lora_A.weight": (4, 8),
            STEM + "model.layers.0.mlp.up_proj.lora_B.weight": (20, 5),
        },
        {
            STEM + "model.layers.0.mlp.up_proj.lora_A.weight": (0, 8),
            STEM + "model.layers.0.mlp.up_proj.lora_B.weight": (20, 0),
        },
        {
            STEM + "model.layers.0.mlp.up_proj.lora_A.weight": (4,),
            STEM + "model.layers.0.mlp.up_proj.lora_B.weight": (4,),
        },
        _pair("model.blobs.0.up", 20, 8),
    ],
)
def test_what_is_no_whole_pair_of_a_known_module_is_left_out(shapes: Shapes) -> None:
    assert dict(adapter_modules(shapes, FAMILIES).factors) == {}
