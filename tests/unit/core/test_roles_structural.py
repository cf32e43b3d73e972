# SPDX-License-Identifier: Apache-2.0
"""Names that no family knows: roles from shapes and words, or none at all."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pedigree.fingerprint.families import FAMILIES
from pedigree.fingerprint.roles import Layout, Role, RoleMap, Slot, map_roles

Shapes = Mapping[str, tuple[int, ...]]


def _model(
    up: str = "ffn.up",
    gate: str = "ffn.gate",
    down: str = "ffn.down",
    *,
    turned: bool = False,
) -> Shapes:
    shapes: dict[str, tuple[int, ...]] = {
        "net.tokens.weight": (100, 8),
        "net.unembed_head.weight": (100, 8),
        "net.last_norm.weight": (8,),
    }
    for layer in range(2):
        stem = f"net.stage.{layer}."
        wide, narrow = ((8, 20), (20, 8)) if turned else ((20, 8), (8, 20))
        shapes |= {
            f"{stem}{up}.weight": wide,
            f"{stem}{down}.weight": narrow,
            stem + "attention.wq.weight": (8, 8),
            stem + "attention.wk.weight": (8, 4) if turned else (4, 8),
            stem + "attention.wv.weight": (8, 4) if turned else (4, 8),
            stem + "attention.wo.weight": (8, 8),
            stem + "attn_norm.weight": (8,),
            stem + "ffn_norm.weight": (8,),
        }
        if gate:
            shapes[f"{stem}{gate}.weight"] = wide
    return shapes


def _map(shapes: Shapes) -> RoleMap:
    return map_roles(shapes, FAMILIES)


def _slots(roles: RoleMap) -> dict[str, Slot]:
    return {piece.name: piece.slot for piece in roles.pieces}


def test_unknown_names_are_told_by_shape_and_words_and_the_map_says_so() -> None:
    roles = _map(_model())
    slots = _slots(roles)
    assert (roles.family, roles.reason) == ("structural", "")
    assert roles.notes == ("StructuralMap",)
    assert slots["net.tokens.weight"] == Slot(Role.EMBEDDING)
    assert slots["net.unembed_head.weight"] == Slot(Role.HEAD)
    assert slots["net.last_norm.weight"] == Slot(Role.NORM_FINAL)
    stem = "net.stage.1."
    assert slots[stem + "ffn.gate.weight"] == Slot(Role.GATE, 1)
    assert slots[stem + "ffn.up.weight"] == Slot(Role.UP, 1)
    assert slots[stem + "ffn.down.weight"] == Slot(Role.DOWN, 1)
    assert slots[stem + "attention.wq.weight"] == Slot(Role.Q, 1)
    assert slots[stem + "attention.wk.weight"] == Slot(Role.K, 1)
    assert slots[stem + "attention.wv.weight"] == Slot(Role.V, 1)
    assert slots[stem + "attention.wo.weight"] == Slot(Role.O, 1)
    assert slots[stem + "attn_norm.weight"] == Slot(Role.NORM_ATTENTION, 1)
    assert slots[stem + "ffn_norm.weight"] == Slot(Role.NORM_MLP, 1)


@pytest.mark.parametrize(
    ("up", "gate", "down"),
    [
        ("mlp.w3", "mlp.w1", "mlp.w2"),
        ("mlp.w1", "", "mlp.w2"),
        ("mlp.fc1", "", "mlp.fc2"),
        ("feedForward.linear1", "", "feedForward.linear2"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_words_say_what_a_matrix_is_and_shapes_how_it_is_stored(
    up: str, gate: str, down: str, turned: bool
) -> None:
    roles = _map(_model(up, gate, down, turned=turned))
    slots = _slots(roles)
    assert slots[f"net.stage.0.{up}.weight"] == Slot(Role.UP, 0)
    assert slots[f"net.stage.0.{down}.weight"] == Slot(Role.DOWN, 0)
    if gate:
        assert slots[f"net.stage.0.{gate}.weight"] == Slot(Role.GATE, 0)
    wanted = Layout.TRANSPOSED if turned else Layout.PLAIN
    layouts = {p.layout for p in roles.pieces if p.slot.role in (Role.UP, Role.K)}
    assert layouts == {wanted}


def _without_words(shapes: Shapes) -> Shapes:
    return {
        name.replace("ffn.up", "a").replace("ffn.gate", "b").replace("ffn.down", "c"): s
        for name, s in shapes.items()
    }


def _two_towers(shapes: Shapes) -> Shapes:
    return {**shapes} | {n.replace("stage", "other"): s for n, s in shapes.items()}


def _more_blocks_elsewhere(shapes: Shapes) -> Shapes:
    stem = "net.vision.7.ffn."
    return {**shapes} | {stem + "up.weight": (20, 8), stem + "down.weight": (8, 20)}


def _two_embeddings(shapes: Shapes) -> Shapes:
    return {**shapes} | {"net.more.weight": (100, 8)}


def _square(shapes: Shapes) -> Shapes:
    return {n: (8, 8) if "ffn." in n else s for n, s in shapes.items()}


def _both_ways(shapes: Shapes) -> Shapes:
    return {**shapes} | {"net.stage.1.ffn.up.weight": (8, 20)}


@pytest.mark.parametrize(
    "change",
    [
        _without_words,
        _two_towers,
        _more_blocks_elsewhere,
        _two_embeddings,
        _square,
        _both_ways,
    ],
)
def test_what_could_be_read_in_two_ways_is_not_mapped(change: object) -> None:
    assert callable(change)
    shapes = change(_model())
    roles = _map(shapes)
    assert (roles.family, roles.reason) == ("", "UnknownArchitecture")
    assert {piece.name for piece in roles.pieces} == set(shapes)
    assert roles.notes == ()


def test_two_tensors_that_claim_one_place_both_lose_it() -> None:
    shapes = {**_model()} | {"net.stage.0.attention.query.weight": (8, 8)}
    slots = _slots(_map(shapes))
    assert slots["net.stage.0.attention.query.weight"].role is Role.OTHER
    assert slots["net.stage.0.attention.wq.weight"].role is Role.OTHER
    assert slots["net.stage.1.attention.wq.weight"].role is Role.Q


def test_a_known_family_is_never_mapped_by_structure() -> None:
    shapes = {
        "model.embed_tokens.weight": (100, 8),
        "model.layers.0.mlp.up_proj.weight": (20, 8),
        "model.layers.0.mlp.down_proj.weight": (8, 20),
    }
    roles = _map(shapes)
    assert (roles.family, roles.notes) == ("llama", ())


@pytest.mark.parametrize("word", ["wpe", "sinusoid", "timing_signal", "rotary_table"])
def test_a_tall_table_of_positions_is_no_embedding(word: str) -> None:
    roles = _map({**_model(), f"net.{word}": (1000, 8)})
    slots = _slots(roles)
    assert slots[f"net.{word}"] == Slot(Role.POSITION)
    assert slots["net.tokens.weight"] == Slot(Role.EMBEDDING)
