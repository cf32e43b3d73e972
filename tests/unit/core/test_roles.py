# SPDX-License-Identifier: Apache-2.0
"""Each family of names comes to the same canonical roles."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pedigree.fingerprint.families import FAMILIES, GPT2, LLAMA, NEOX
from pedigree.fingerprint.roles import Family, Layout, Part, Role, Slot, map_roles

LLAMA_SHAPES = {
    "model.embed_tokens.weight": (100, 8),
    "model.layers.3.input_layernorm.weight": (8,),
    "model.layers.3.self_attn.q_proj.weight": (8, 8),
    "model.layers.3.self_attn.q_proj.bias": (8,),
    "model.layers.3.self_attn.k_proj.weight": (4, 8),
    "model.layers.3.self_attn.v_proj.weight": (4, 8),
    "model.layers.3.self_attn.o_proj.weight": (8, 8),
    "model.layers.3.post_attention_layernorm.weight": (8,),
    "model.layers.3.mlp.gate_proj.weight": (12, 8),
    "model.layers.3.mlp.up_proj.weight": (12, 8),
    "model.layers.3.mlp.down_proj.weight": (8, 12),
    "model.norm.weight": (8,),
    "lm_head.weight": (100, 8),
}
GPT2_SHAPES = {
    "transformer.wte.weight": (100, 8),
    "transformer.wpe.weight": (16, 8),
    "transformer.h.0.ln_1.weight": (8,),
    "transformer.h.0.ln_1.bias": (8,),
    "transformer.h.0.attn.c_attn.weight": (8, 24),
    "transformer.h.0.attn.c_attn.bias": (24,),
    "transformer.h.0.attn.c_proj.weight": (8, 8),
    "transformer.h.0.ln_2.weight": (8,),
    "transformer.h.0.mlp.c_fc.weight": (8, 32),
    "transformer.h.0.mlp.c_proj.weight": (32, 8),
    "transformer.ln_f.weight": (8,),
}
NEOX_SHAPES = {
    "gpt_neox.embed_in.weight": (100, 8),
    "gpt_neox.layers.0.input_layernorm.weight": (8,),
    "gpt_neox.layers.0.attention.query_key_value.weight": (24, 8),
    "gpt_neox.layers.0.attention.query_key_value.bias": (24,),
    "gpt_neox.layers.0.attention.dense.weight": (8, 8),
    "gpt_neox.layers.0.post_attention_layernorm.weight": (8,),
    "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": (32, 8),
    "gpt_neox.layers.0.mlp.dense_4h_to_h.weight": (8, 32),
    "gpt_neox.final_layer_norm.weight": (8,),
    "embed_out.weight": (100, 8),
}


def _slots(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, list[Slot]]:
    found: dict[str, list[Slot]] = {}
    for piece in map_roles(shapes, FAMILIES).pieces:
        found.setdefault(piece.name, []).append(piece.slot)
    return found


def test_llama_names_come_to_their_roles() -> None:
    assert map_roles(LLAMA_SHAPES, FAMILIES).family == "llama"
    slots = _slots(LLAMA_SHAPES)
    stem = "model.layers.3."
    assert slots["model.embed_tokens.weight"] == [Slot(Role.EMBEDDING)]
    assert slots["lm_head.weight"] == [Slot(Role.HEAD)]
    assert slots["model.norm.weight"] == [Slot(Role.NORM_FINAL)]
    for name, role in {
        "input_layernorm": Role.NORM_ATTENTION,
        "post_attention_layernorm": Role.NORM_MLP,
        "self_attn.q_proj": Role.Q,
        "self_attn.k_proj": Role.K,
        "self_attn.v_proj": Role.V,
        "self_attn.o_proj": Role.O,
        "mlp.gate_proj": Role.GATE,
        "mlp.up_proj": Role.UP,
        "mlp.down_proj": Role.DOWN,
    }.items():
        assert slots[f"{stem}{name}.weight"] == [Slot(role, 3)]
    assert slots[stem + "self_attn.q_proj.bias"] == [Slot(Role.Q, 3, -1, Part.BIAS)]


def test_gpt2_names_come_to_their_roles_with_the_fused_matrix_split() -> None:
    roles = map_roles(GPT2_SHAPES, FAMILIES)
    slots = _slots(GPT2_SHAPES)
    assert roles.family == "gpt2"
    assert slots["transformer.wpe.weight"] == [Slot(Role.POSITION)]
    assert slots["transformer.h.0.attn.c_attn.weight"] == [
        Slot(Role.Q, 0),
        Slot(Role.K, 0),
        Slot(Role.V, 0),
    ]
    assert slots["transformer.h.0.attn.c_proj.weight"] == [Slot(Role.O, 0)]
    assert slots["transformer.h.0.mlp.c_fc.weight"] == [Slot(Role.UP, 0)]
    assert slots["transformer.h.0.mlp.c_proj.weight"] == [Slot(Role.DOWN, 0)]
    layouts = {piece.name: piece.layout for piece in roles.pieces}
    assert layouts["transformer.h.0.mlp.c_fc.weight"] is Layout.TRANSPOSED


def test_gpt_neox_names_come_to_their_roles() -> None:
    slots = _slots(NEOX_SHAPES)
    assert map_roles(NEOX_SHAPES, FAMILIES).family == "gpt-neox"
    stem = "gpt_neox.layers.0."
    assert slots[stem + "attention.query_key_value.weight"] == [Slot(Role.QKV, 0)]
    assert slots[stem + "mlp.dense_h_to_4h.weight"] == [Slot(Role.UP, 0)]
    assert slots["embed_out.weight"] == [Slot(Role.HEAD)]


def test_experts_are_told_apart() -> None:
    stem = "model.layers.1.block_sparse_moe."
    shapes = {
        "model.embed_tokens.weight": (100, 8),
        stem + "gate.weight": (2, 8),
        stem + "experts.1.w1.weight": (12, 8),
        stem + "experts.1.w2.weight": (8, 12),
        stem + "experts.1.w3.weight": (12, 8),
    }
    slots = _slots(shapes)
    assert slots[stem + "gate.weight"] == [Slot(Role.ROUTER, 1)]
    assert slots[stem + "experts.1.w1.weight"] == [Slot(Role.GATE, 1, 1)]
    assert slots[stem + "experts.1.w2.weight"] == [Slot(Role.DOWN, 1, 1)]
    assert slots[stem + "experts.1.w3.weight"] == [Slot(Role.UP, 1, 1)]


@pytest.mark.parametrize("family", [LLAMA, GPT2, NEOX], ids=lambda family: family.name)
def test_names_without_the_usual_prefix_are_the_same_model(family: Family) -> None:
    shapes = {LLAMA: LLAMA_SHAPES, GPT2: GPT2_SHAPES, NEOX: NEOX_SHAPES}[family]
    bare = {
        name.removeprefix(family.prefixes[0]): shape for name, shape in shapes.items()
    }
    full, stripped = map_roles(shapes, FAMILIES), map_roles(bare, FAMILIES)
    assert stripped.family == family.name
    assert [p.slot for p in stripped.pieces] == [p.slot for p in full.pieces]


def test_masks_and_rotary_tables_are_not_weights() -> None:
    shapes = GPT2_SHAPES | {"transformer.h.0.attn.bias": (1, 1, 16, 16)}
    roles = map_roles(shapes, FAMILIES)
    assert roles.buffers == ("transformer.h.0.attn.bias",)
    assert all(piece.name not in roles.buffers for piece in roles.pieces)


def test_an_unknown_architecture_says_so_and_keeps_every_tensor() -> None:
    shapes = {"encoder.w": (4, 4), "decoder.w": (4, 4)}
    roles = map_roles(shapes, FAMILIES)
    assert (roles.family, roles.reason) == ("", "UnknownArchitecture")
    assert {piece.name for piece in roles.pieces} == set(shapes)


def test_adapter_weights_say_so() -> None:
    shapes = {"base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": (8, 64)}
    assert map_roles(shapes, FAMILIES).reason == "AdapterWeights"


@pytest.mark.parametrize("shape", [(), (8,), (2, 4, 8), (0, 8)])
def test_a_tensor_whose_shape_does_not_fit_its_name_has_no_role(
    shape: tuple[int, ...],
) -> None:
    name = "model.layers.3.self_attn.q_proj.weight"
    slots = _slots(LLAMA_SHAPES | {name: shape})
    assert slots[name] == [Slot(Role.OTHER)]


def test_two_tensors_cannot_have_one_role() -> None:
    shapes = LLAMA_SHAPES | {"layers.3.mlp.up_proj.weight": (12, 8)}
    slots = _slots(shapes)
    owners = [n for n, s in slots.items() if s == [Slot(Role.UP, 3)]]
    assert len(owners) == 1
    assert [Slot(Role.OTHER)] in slots.values()


def test_a_layer_number_of_a_million_digits_is_not_a_layer() -> None:
    shapes = LLAMA_SHAPES | {f"model.layers.{'9' * 400}.mlp.up_proj.weight": (12, 8)}
    assert max(p.slot.layer for p in map_roles(shapes, FAMILIES).pieces) == 3


def test_role_numbers_are_stored_and_never_change() -> None:
    assert {role.name: int(role) for role in Role} == {
        "OTHER": 0,
        "EMBEDDING": 1,
        "POSITION": 2,
        "HEAD": 3,
        "Q": 4,
        "K": 5,
        "V": 6,
        "O": 7,
        "GATE": 8,
        "UP": 9,
        "DOWN": 10,
        "ROUTER": 11,
        "QKV": 12,
        "TOKEN_TYPE": 13,
        "POOLER": 14,
        "TRANSFORM": 15,
        "NORM_ATTENTION": 16,
        "NORM_MLP": 17,
        "NORM_FINAL": 18,
        "NORM_EMBEDDING": 19,
        "NORM_Q": 20,
        "NORM_K": 21,
        "NORM_POST_ATTENTION": 22,
        "NORM_POST_MLP": 23,
        "NORM_CROSS": 24,
        "NORM_ENCODER": 25,
        "NORM_TRANSFORM": 26,
        "CROSS_Q": 32,
        "CROSS_K": 33,
        "CROSS_V": 34,
        "CROSS_O": 35,
        "RELATIVE_BIAS": 36,
        "ROUTER_SHARED": 37,
        "SINKS": 38,
    }
