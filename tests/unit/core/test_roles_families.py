# SPDX-License-Identifier: Apache-2.0
"""Names of further families, and what is common to all of them."""

from __future__ import annotations

import pytest

from pedigree.fingerprint.families import FAMILIES
from pedigree.fingerprint.hints import Hints
from pedigree.fingerprint.layouts import EXPERTS_MAX
from pedigree.fingerprint.roles import (
    DECODER,
    Family,
    Layout,
    Part,
    Role,
    RoleMap,
    Rows,
    Slot,
    map_roles,
)

Shapes = dict[str, tuple[int, ...]]
D, N, T = 8, 20, 100
WIDE, NARROW, SQUARE = (N, D), (D, N), (D, D)

T5_SHAPES: Shapes = {
    "shared.weight": (T, D),
    "encoder.embed_tokens.weight": (T, D),
    "encoder.final_layer_norm.weight": (D,),
    "decoder.final_layer_norm.weight": (D,),
    "lm_head.weight": (T, D),
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (32, 2),
    **{f"encoder.block.0.layer.0.SelfAttention.{m}.weight": SQUARE for m in "qkvo"},
    "encoder.block.0.layer.0.layer_norm.weight": (D,),
    "encoder.block.0.layer.1.DenseReluDense.wi_0.weight": WIDE,
    "encoder.block.0.layer.1.DenseReluDense.wi_1.weight": WIDE,
    "encoder.block.0.layer.1.DenseReluDense.wo.weight": NARROW,
    "encoder.block.0.layer.1.layer_norm.weight": (D,),
    **{f"decoder.block.0.layer.0.SelfAttention.{m}.weight": SQUARE for m in "qkvo"},
    "decoder.block.0.layer.0.layer_norm.weight": (D,),
    **{f"decoder.block.0.layer.1.EncDecAttention.{m}.weight": SQUARE for m in "qkvo"},
    "decoder.block.0.layer.1.layer_norm.weight": (D,),
    "decoder.block.0.layer.2.DenseReluDense.wi.weight": WIDE,
    "decoder.block.0.layer.2.DenseReluDense.wo.weight": NARROW,
    "decoder.block.0.layer.2.layer_norm.weight": (D,),
}


def _map(shapes: Shapes, hints: Hints | None = None) -> RoleMap:
    return map_roles(shapes, FAMILIES, hints)


def _roles(shapes: Shapes, hints: Hints | None = None) -> dict[str, set[Role]]:
    found: dict[str, set[Role]] = {}
    for piece in _map(shapes, hints).pieces:
        found.setdefault(piece.name, set()).add(piece.slot.role)
    return found


def test_encoder_and_decoder_blocks_of_t5_are_kept_apart() -> None:
    roles = _map(T5_SHAPES)
    slots = {piece.name: piece.slot for piece in roles.pieces}
    assert roles.family == "t5"
    encoder, decoder = "encoder.block.0.layer.", "decoder.block.0.layer."
    for name, slot in {
        "shared.weight": Slot(Role.EMBEDDING),
        "encoder.embed_tokens.weight": Slot(Role.OTHER),
        "encoder.final_layer_norm.weight": Slot(Role.NORM_ENCODER),
        "decoder.final_layer_norm.weight": Slot(Role.NORM_FINAL),
        encoder + "0.SelfAttention.q.weight": Slot(Role.Q, 0),
        encoder + "0.layer_norm.weight": Slot(Role.NORM_ATTENTION, 0),
        encoder + "1.DenseReluDense.wi_0.weight": Slot(Role.GATE, 0),
        encoder + "1.DenseReluDense.wi_1.weight": Slot(Role.UP, 0),
        encoder + "1.DenseReluDense.wo.weight": Slot(Role.DOWN, 0),
        encoder + "1.layer_norm.weight": Slot(Role.NORM_MLP, 0),
        decoder + "0.SelfAttention.o.weight": Slot(Role.O, DECODER),
        decoder + "1.EncDecAttention.q.weight": Slot(Role.CROSS_Q, DECODER),
        decoder + "1.layer_norm.weight": Slot(Role.NORM_CROSS, DECODER),
        decoder + "2.DenseReluDense.wi.weight": Slot(Role.UP, DECODER),
        decoder + "2.DenseReluDense.wo.weight": Slot(Role.DOWN, DECODER),
        decoder + "2.layer_norm.weight": Slot(Role.NORM_MLP, DECODER),
    }.items():
        assert slots[name] == slot, name


def test_roberta_and_the_old_names_of_layer_norms_are_bert() -> None:
    stem = "roberta.encoder.layer.3."
    shapes: Shapes = {
        "roberta.embeddings.word_embeddings.weight": (T, D),
        "roberta.embeddings.position_embeddings.weight": (16, D),
        "roberta.embeddings.token_type_embeddings.weight": (1, D),
        "roberta.embeddings.LayerNorm.gamma": (D,),
        "roberta.embeddings.LayerNorm.beta": (D,),
        stem + "attention.output.LayerNorm.gamma": (D,),
        stem + "intermediate.dense.weight": WIDE,
        stem + "intermediate.dense.bias": (N,),
        stem + "output.dense.weight": NARROW,
        "roberta.pooler.dense.weight": SQUARE,
        "lm_head.dense.weight": SQUARE,
        "lm_head.layer_norm.weight": (D,),
        "lm_head.bias": (T,),
        "roberta.embeddings.position_ids": (1, 16),
    }
    roles = _map(shapes)
    slots = {piece.name: piece.slot for piece in roles.pieces}
    assert roles.family == "bert"
    assert roles.buffers == ("roberta.embeddings.position_ids",)
    assert slots["roberta.embeddings.LayerNorm.gamma"] == Slot(Role.NORM_EMBEDDING)
    beta = Slot(Role.NORM_EMBEDDING, part=Part.BIAS)
    assert slots["roberta.embeddings.LayerNorm.beta"] == beta
    assert slots[stem + "attention.output.LayerNorm.gamma"] == Slot(Role.NORM_MLP, 3)
    assert slots[stem + "intermediate.dense.weight"] == Slot(Role.UP, 3)
    assert slots["lm_head.dense.weight"] == Slot(Role.TRANSFORM)
    assert slots["lm_head.layer_norm.weight"] == Slot(Role.NORM_TRANSFORM)
    assert slots["lm_head.bias"] == Slot(Role.HEAD, part=Part.BIAS)
    assert Role.OTHER not in {slot.role for slot in slots.values()}


def test_the_expert_that_every_token_passes_stands_where_a_dense_block_would() -> None:
    stem = "model.layers.0.mlp."
    shapes: Shapes = {"model.embed_tokens.weight": (T, D)}
    for module in ("experts.0.", "experts.1.", "shared_expert."):
        shapes |= {
            f"{stem}{module}gate_proj.weight": WIDE,
            f"{stem}{module}up_proj.weight": WIDE,
            f"{stem}{module}down_proj.weight": NARROW,
        }
    shapes |= {stem + "gate.weight": (2, D), stem + "shared_expert_gate.weight": (1, D)}
    slots = {piece.name: piece.slot for piece in _map(shapes).pieces}
    assert slots[stem + "experts.1.up_proj.weight"] == Slot(Role.UP, 0, 1)
    assert slots[stem + "shared_expert.up_proj.weight"] == Slot(Role.UP, 0, -1)
    assert slots[stem + "gate.weight"] == Slot(Role.ROUTER, 0)
    assert slots[stem + "shared_expert_gate.weight"] == Slot(Role.ROUTER_SHARED, 0)


@pytest.mark.parametrize(
    ("family", "behind"), [("olmo2", "feedforward"), ("phi3", "mlp")]
)
def test_a_norm_behind_a_half_is_not_folded_into_what_a_matrix_reads(
    family: str, behind: str
) -> None:
    stem = "model.layers.0."
    shapes: Shapes = {
        "model.embed_tokens.weight": (T, D),
        stem + "post_attention_layernorm.weight": (D,),
        f"{stem}post_{behind}_layernorm.weight": (D,),
        stem + "mlp.down_proj.weight": NARROW,
    }
    if family == "phi3":  # GLM-4
        shapes[stem + "mlp.gate_up_proj.weight"] = (2 * N, D)
        shapes[stem + "post_self_attn_layernorm.weight"] = (D,)
    else:
        shapes[stem + "mlp.up_proj.weight"] = WIDE
    found = _roles(shapes)
    assert _map(shapes).family == family
    assert found[f"{stem}post_{behind}_layernorm.weight"] == {Role.NORM_POST_MLP}
    after = Role.NORM_MLP if family == "phi3" else Role.NORM_POST_ATTENTION
    assert found[stem + "post_attention_layernorm.weight"] == {after}


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("phi", "model.layers.0.input_layernorm.weight"),
        ("gptj", "transformer.h.0.ln_1.weight"),
        ("falcon", "transformer.h.0.input_layernorm.weight"),
    ],
)
def test_one_norm_before_both_halves_fills_both_places(name: str, norm: str) -> None:
    family = next(family for family in FAMILIES if family.name == name)
    shapes = _instance(family) | {norm: (D,)}
    shapes.pop("transformer.h.0.ln_attn.weight", None)
    shapes.pop("transformer.h.0.ln_mlp.weight", None)
    assert _roles(shapes)[norm] == {Role.NORM_ATTENTION, Role.NORM_MLP}


def _instance(family: Family) -> Shapes:
    """One block of a family, with every name it knows, in shapes that fit."""
    shapes: Shapes = {}
    for pattern, rule in family.rules.items():
        name = pattern.replace("{l}", "0").replace("{e}", "0")
        name = family.prefixes[0] + name
        if rule.part is None:
            name += ".weight"
        if rule.part is not Part.BIAS:
            shapes[name] = _shape(rule.roles[0], rule.layout)
    return shapes


def _shape(role: Role, layout: Layout) -> tuple[int, ...]:
    if role.is_norm or role is Role.SINKS:
        return (D,)
    plain = {
        Role.EMBEDDING: (T, D),
        Role.HEAD: (T, D),
        Role.GATE: WIDE,
        Role.UP: WIDE,
        Role.DOWN: NARROW,
    }.get(role, SQUARE)
    return {
        Layout.PLAIN: plain,
        Layout.TRANSPOSED: plain[::-1],
        Layout.TRANSPOSED_THIRDS: (D, 3 * D),
        Layout.CONCATENATED_QKV: (3 * D, D),
        Layout.GROUPED_QKV: (3 * D, D),
        Layout.HALVES: (2 * N, D),
        Layout.STACKED: (2, D, N),
        Layout.STACKED_HALVES: (2, 2 * N, D),
        Layout.STACKED_ROWS: (2, *plain),
        Layout.STACKED_PAIRS: (2, 2 * N, D),
    }[layout]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_name_of_a_family_has_a_rule_that_its_own_shapes_fit(
    family: Family,
) -> None:
    shapes = _instance(family)
    roles = map_roles(shapes, [family], Hints(heads=4))
    taken = {piece.slot for piece in roles.pieces if piece.slot.role is not Role.OTHER}
    assert roles.family == family.name
    wanted = {role for rule in family.rules.values() for role in rule.roles}
    assert {slot.role for slot in taken} == wanted


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_all_families_together_know_a_family_s_model_as_well_as_it_does_alone(
    family: Family,
) -> None:
    shapes = _instance(family)
    alone = map_roles(shapes, [family], Hints(heads=4))
    together = _map(shapes, Hints(heads=4))
    mapped = {p.slot for p in together.pieces if p.slot.role is not Role.OTHER}
    assert len(mapped) >= len({p.slot for p in alone.pieces} - {Slot(Role.OTHER)})


def test_starcoder_is_told_from_gpt2_by_its_shapes() -> None:
    shapes: Shapes = {
        "transformer.wte.weight": (T, 24),
        "transformer.h.0.attn.c_attn.weight": (32, 24),
        "transformer.h.0.attn.c_proj.weight": (24, 24),
        "transformer.h.0.mlp.c_fc.weight": (96, 24),
        "transformer.h.0.mlp.c_proj.weight": (24, 96),
    }
    roles = _map(shapes)
    assert roles.family == "gpt-bigcode"
    k = next(piece for piece in roles.pieces if piece.slot.role is Role.K)
    assert k.rows == Rows(24, 4, 4)


def test_a_stack_of_more_experts_than_any_model_has_gets_no_role() -> None:
    stem = "model.layers.0.mlp."
    shapes: Shapes = {
        "model.embed_tokens.weight": (T, 1),
        stem + "up_proj.weight": (N, 1),
        stem + "down_proj.weight": (1, N),
    }
    for count, routed in ((EXPERTS_MAX, True), (EXPERTS_MAX + 1, False)):
        stacks: Shapes = {
            stem + "experts.gate_up_proj": (count, 4, 1),
            stem + "experts.down_proj": (count, 1, 2),
        }
        pieces = _map(shapes | stacks).pieces
        assert any(piece.slot.expert > 0 for piece in pieces) == routed
