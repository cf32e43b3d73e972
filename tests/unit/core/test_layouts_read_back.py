# SPDX-License-Identifier: Apache-2.0
"""One canonical model, stored as each architecture stores it, reads back the same.

The canonical tensors are made once; each family's writer lays them out by hand, with
numpy, in the order its reference implementation takes them apart again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import made_models
from pedigree.fingerprint.canonical import CanonicalReader, canonical
from pedigree.fingerprint.families import FAMILIES
from pedigree.fingerprint.hints import NO_HINTS, Hints, hints_of
from pedigree.fingerprint.roles import DECODER, Part, Role, RoleMap, Slot, map_roles
from pedigree.ranges import ModelSource
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source
from pedigree.tensors.checkpoint import Checkpoint

Values = NDArray[np.float32]
Model = dict[Slot, Values]
Weights = dict[str, Values]

WIDTH, HEADS, KV, HEAD, NEURONS, LAYERS, TOKENS, EXPERTS = 24, 6, 2, 4, 40, 2, 100, 3
"""Four rows to a head; the neurons are no multiple of the width."""
_SIZES = {
    Role.Q: (HEADS * HEAD, WIDTH),
    Role.O: (WIDTH, HEADS * HEAD),
    Role.GATE: (NEURONS, WIDTH),
    Role.UP: (NEURONS, WIDTH),
    Role.DOWN: (WIDTH, NEURONS),
    Role.ROUTER: (EXPERTS, WIDTH),
}
_NORMS = (Role.NORM_ATTENTION, Role.NORM_MLP)


def _values(random: np.random.Generator, *shape: int) -> Values:
    return canonical(random.normal(0, 1, shape).astype(np.float32))


def _model(
    roles: tuple[Role, ...],
    *,
    kv: int = KV,
    biases: bool = False,
    experts: bool = False,
    norms: tuple[Role, ...] = _NORMS,
) -> Model:
    """Canonical tensors of a small model; ``roles`` are those of a block."""
    random = np.random.default_rng(11)
    model = {
        Slot(Role.EMBEDDING): _values(random, TOKENS, WIDTH),
        Slot(Role.NORM_FINAL): _values(random, WIDTH),
    }
    sizes = {**_SIZES, Role.K: (kv * HEAD, WIDTH), Role.V: (kv * HEAD, WIDTH)}
    for layer in range(LAYERS):
        for role in roles:
            routed = experts and role in (Role.GATE, Role.UP, Role.DOWN)
            for expert in range(EXPERTS) if routed else (-1,):
                shape = sizes[role]
                model[Slot(role, layer, expert)] = _values(random, *shape)
                if biases:
                    bias = Slot(role, layer, expert, Part.BIAS)
                    model[bias] = _values(random, shape[0])
        for role in norms:
            model[Slot(role, layer)] = _values(random, WIDTH)
    return model


def _pick(model: Model, layer: int, expert: int = -1) -> Callable[..., Values]:
    def get(role: Role, part: Part = Part.WEIGHT) -> Values:
        return model[Slot(role, layer, expert, part)]

    return get


def _heads(rows: Values) -> list[Values]:
    """A projection cut into its heads."""
    return [rows[first : first + HEAD] for first in range(0, len(rows), HEAD)]


def _grouped(q: Values, k: Values, v: Values) -> Values:
    """Query heads of a group, its key head, its value head; for every group."""
    heads, keys, values = _heads(q), _heads(k), _heads(v)
    share = len(heads) // len(keys)
    parts: list[Values] = []
    for group, (key, value) in enumerate(zip(keys, values, strict=True)):
        parts += [*heads[group * share : (group + 1) * share], key, value]
    return np.concatenate(parts)


ATTENTION = (Role.Q, Role.K, Role.V, Role.O)
GATED = (*ATTENTION, Role.GATE, Role.UP, Role.DOWN)
TWO = (*ATTENTION, Role.UP, Role.DOWN)
PARTS = (Part.WEIGHT, Part.BIAS)
ENDINGS = {Part.WEIGHT: ".weight", Part.BIAS: ".bias"}


def _plain(model: Model, names: dict[Role, str]) -> Weights:
    """Tensors stored one by one under ``names``; ``{l}`` and ``{e}`` are filled in."""
    stored = {}
    for slot, values in model.items():
        if slot.role in names:
            name = names[slot.role].replace("{l}", str(slot.layer % DECODER))
            stored[name.replace("{e}", str(slot.expert)) + ENDINGS[slot.part]] = values
    return stored


def _llama_outside() -> dict[Role, str]:
    return {
        Role.EMBEDDING: "model.embed_tokens",
        Role.NORM_FINAL: "model.norm",
        Role.HEAD: "lm_head",
        Role.NORM_ATTENTION: "model.layers.{l}.input_layernorm",
        Role.NORM_MLP: "model.layers.{l}.post_attention_layernorm",
    }


def _llama_attention() -> dict[Role, str]:
    stem = "model.layers.{l}.self_attn."
    return {
        Role.Q: stem + "q_proj",
        Role.K: stem + "k_proj",
        Role.V: stem + "v_proj",
        Role.O: stem + "o_proj",
    }


def _llama_mlp(stem: str = "model.layers.{l}.mlp.") -> dict[Role, str]:
    return {
        Role.GATE: stem + "gate_proj",
        Role.UP: stem + "up_proj",
        Role.DOWN: stem + "down_proj",
    }


def _llama(model: Model) -> Weights:
    return _plain(model, {**_llama_outside(), **_llama_attention(), **_llama_mlp()})


def _gemma(model: Model) -> Weights:
    """Norms as their distance from one."""
    stored = _llama(model)
    return {n: v - 1 if v.ndim == 1 else v for n, v in stored.items()}


def _gemma2(model: Model) -> Weights:
    names = {**_llama_outside(), **_llama_attention(), **_llama_mlp()}
    stem = "model.layers.{l}."
    names |= {
        Role.NORM_POST_ATTENTION: stem + "post_attention_layernorm",
        Role.NORM_MLP: stem + "pre_feedforward_layernorm",
        Role.NORM_POST_MLP: stem + "post_feedforward_layernorm",
    }
    return {n: v - 1 if v.ndim == 1 else v for n, v in _plain(model, names).items()}


def _phi3(model: Model) -> Weights:
    names = {**_llama_outside(), Role.O: "model.layers.{l}.self_attn.o_proj"}
    names[Role.DOWN] = "model.layers.{l}.mlp.down_proj"
    stored = _plain(model, names)
    for layer in range(LAYERS):
        get = _pick(model, layer)
        stem = f"model.layers.{layer}."
        stored[stem + "self_attn.qkv_proj.weight"] = np.concatenate(
            [get(Role.Q), get(Role.K), get(Role.V)]
        )
        stored[stem + "mlp.gate_up_proj.weight"] = np.concatenate(
            [get(Role.GATE), get(Role.UP)]
        )
    return stored


def _gpt2(model: Model) -> Weights:
    names = {
        Role.EMBEDDING: "transformer.wte",
        Role.NORM_FINAL: "transformer.ln_f",
        Role.NORM_ATTENTION: "transformer.h.{l}.ln_1",
        Role.NORM_MLP: "transformer.h.{l}.ln_2",
    }
    turned = {
        Role.O: "transformer.h.{l}.attn.c_proj",
        Role.UP: "transformer.h.{l}.mlp.c_fc",
        Role.DOWN: "transformer.h.{l}.mlp.c_proj",
    }
    stored = _plain(model, names)
    stored |= {name: values.T for name, values in _plain(model, turned).items()}
    for layer in range(LAYERS):
        for part in PARTS:
            get = _pick(model, layer)
            fused = np.concatenate([get(role, part) for role in ATTENTION[:3]])
            stored[f"transformer.h.{layer}.attn.c_attn{ENDINGS[part]}"] = fused.T
    return stored


def _with_grouped(stored: Weights, model: Model, name: str) -> Weights:
    for layer in range(LAYERS):
        for part in PARTS:
            if Slot(Role.Q, layer, -1, part) not in model:
                continue
            get = _pick(model, layer)
            fused = _grouped(*(get(role, part) for role in ATTENTION[:3]))
            stored[name.replace("{l}", str(layer)) + ENDINGS[part]] = fused
    return stored


def _neox(model: Model) -> Weights:
    stem = "gpt_neox.layers.{l}."
    names = {
        Role.EMBEDDING: "gpt_neox.embed_in",
        Role.NORM_FINAL: "gpt_neox.final_layer_norm",
        Role.NORM_ATTENTION: stem + "input_layernorm",
        Role.NORM_MLP: stem + "post_attention_layernorm",
        Role.O: stem + "attention.dense",
        Role.UP: stem + "mlp.dense_h_to_4h",
        Role.DOWN: stem + "mlp.dense_4h_to_h",
    }
    fused = stem + "attention.query_key_value"
    return _with_grouped(_plain(model, names), model, fused)


def _falcon(model: Model) -> Weights:
    stem = "transformer.h.{l}."
    names = {
        Role.EMBEDDING: "transformer.word_embeddings",
        Role.NORM_FINAL: "transformer.ln_f",
        Role.NORM_ATTENTION: stem + "ln_attn",
        Role.NORM_MLP: stem + "ln_mlp",
        Role.O: stem + "self_attention.dense",
        Role.UP: stem + "mlp.dense_h_to_4h",
        Role.DOWN: stem + "mlp.dense_4h_to_h",
    }
    fused = stem + "self_attention.query_key_value"
    return _with_grouped(_plain(model, names), model, fused)


def _bloom(model: Model) -> Weights:
    stored = {
        name.replace("ln_attn", "input_layernorm").replace(
            "ln_mlp", "post_attention_layernorm"
        ): values
        for name, values in _falcon(model).items()
    }
    norm = model[Slot(Role.NORM_EMBEDDING)]
    return stored | {"transformer.word_embeddings_layernorm.weight": norm}


def _bert(model: Model) -> Weights:
    stem = "bert.encoder.layer.{l}."
    return _plain(
        model,
        {
            Role.EMBEDDING: "bert.embeddings.word_embeddings",
            Role.NORM_EMBEDDING: "bert.embeddings.LayerNorm",
            Role.Q: stem + "attention.self.query",
            Role.K: stem + "attention.self.key",
            Role.V: stem + "attention.self.value",
            Role.O: stem + "attention.output.dense",
            Role.NORM_MLP: stem + "attention.output.LayerNorm",
            Role.UP: stem + "intermediate.dense",
            Role.DOWN: stem + "output.dense",
            Role.NORM_POST_MLP: stem + "output.LayerNorm",
        },
    )


def _mixtral(model: Model) -> Weights:
    stem = "model.layers.{l}.block_sparse_moe."
    names = {**_llama_outside(), **_llama_attention(), Role.ROUTER: stem + "gate"}
    names |= {
        Role.GATE: stem + "experts.{e}.w1",
        Role.UP: stem + "experts.{e}.w3",
        Role.DOWN: stem + "experts.{e}.w2",
    }
    return _plain(model, names)


def _stacked(
    model: Model, stem: str, router: str, *, turned: bool, pairs: bool
) -> Weights:
    names = {**_llama_outside(), **_llama_attention(), Role.ROUTER: router}
    stored = _plain(model, names)
    for layer in range(LAYERS):
        for part in PARTS:
            if Slot(Role.UP, layer, 0, part) not in model:
                continue
            both, downs = [], []
            for expert in range(EXPERTS):
                get = _pick(model, layer, expert)
                gate, up = get(Role.GATE, part), get(Role.UP, part)
                fused = np.concatenate([gate, up])
                if pairs:
                    fused[0::2], fused[1::2] = gate, up
                both.append(fused.T if turned else fused)
                downs.append(get(Role.DOWN, part).T if turned else get(Role.DOWN, part))
            ending = "_bias" if part is Part.BIAS else ""
            name = stem.replace("{l}", str(layer))
            stored[name + "gate_up_proj" + ending] = np.stack(both)
            stored[name + "down_proj" + ending] = np.stack(downs)
    return stored


def _llama4(model: Model) -> Weights:
    stem = "model.layers.{l}.feed_forward."
    return _stacked(model, stem + "experts.", stem + "router", turned=True, pairs=False)


def _plain_stacks(model: Model) -> Weights:
    stem = "model.layers.{l}.mlp."
    return _stacked(model, stem + "experts.", stem + "gate", turned=False, pairs=False)


def _gpt_oss(model: Model) -> Weights:
    stem = "model.layers.{l}.mlp."
    stored = _stacked(
        model, stem + "experts.", stem + "router", turned=True, pairs=True
    )
    for layer in range(LAYERS):
        sinks = model[Slot(Role.SINKS, layer)]
        stored[f"model.layers.{layer}.self_attn.sinks"] = sinks
    return stored


def _moe(*, biases: bool = False) -> Model:
    return _model((*GATED, Role.ROUTER), experts=True, biases=biases)


def _with(model: Model, role: Role, *, per_layer: bool, size: int = WIDTH) -> Model:
    random = np.random.default_rng(int(role))
    for layer in range(LAYERS) if per_layer else (-1,):
        model[Slot(role, layer)] = _values(random, size)
    return model


def _near_one(model: Model) -> Model:
    """Norms such that both they and their distance from one are stored exactly."""
    random = np.random.default_rng(3)
    for slot, values in model.items():
        if values.ndim == 1:
            model[slot] = (1 + random.integers(-60, 60, values.shape) / 128).astype(
                np.float32
            )
    return model


FOUR_NORMS = (*_NORMS, Role.NORM_POST_ATTENTION, Role.NORM_POST_MLP)
POST = (Role.NORM_MLP, Role.NORM_POST_MLP)
HEADS_HINT = Hints(heads=HEADS)
OFFSET = hints_of({"model_type": "gemma2"})


def _bert_model() -> Model:
    model = _model(TWO, kv=HEADS, biases=True, norms=POST)
    del model[Slot(Role.NORM_FINAL)]
    return _with(model, Role.NORM_EMBEDDING, per_layer=False)


CASES: dict[str, tuple[str, Model, Callable[[Model], Weights], Hints]] = {
    "llama": ("llama", _model(GATED, biases=True), _llama, NO_HINTS),
    "gemma": ("llama", _near_one(_model(GATED)), _gemma, OFFSET),
    "gemma2": ("gemma2", _near_one(_model(GATED, norms=FOUR_NORMS)), _gemma2, OFFSET),
    "phi3": ("phi3", _model(GATED), _phi3, NO_HINTS),
    "gpt2": ("gpt2", _model(TWO, kv=HEADS, biases=True), _gpt2, NO_HINTS),
    "neox": ("gpt-neox", _model(TWO, kv=HEADS, biases=True), _neox, HEADS_HINT),
    "falcon-multi-query": ("falcon", _model(TWO, kv=1), _falcon, HEADS_HINT),
    "falcon-grouped": ("falcon", _model(TWO), _falcon, HEADS_HINT),
    "bloom": (
        "bloom",
        _with(_model(TWO, kv=HEADS, biases=True), Role.NORM_EMBEDDING, per_layer=False),
        _bloom,
        HEADS_HINT,
    ),
    "bert": ("bert", _bert_model(), _bert, NO_HINTS),
    "mixtral": ("llama", _moe(), _mixtral, NO_HINTS),
    "stacked": ("llama", _moe(), _plain_stacks, NO_HINTS),
    "llama4": ("llama4", _moe(), _llama4, NO_HINTS),
    "gpt-oss": (
        "gpt-oss",
        _with(_moe(biases=True), Role.SINKS, per_layer=True, size=HEADS),
        _gpt_oss,
        NO_HINTS,
    ),
}


def _opened(folder: Path, weights: Weights) -> Checkpoint:
    contiguous = {name: np.ascontiguousarray(v) for name, v in weights.items()}
    return made_models.checkpoint(made_models.write(folder, contiguous))


def _source(folder: Path) -> ModelSource:
    return open_source(parse(f"file://{folder}"), SourceSettings())


def _mapped(opened: Checkpoint, hints: Hints) -> RoleMap:
    shapes = {name: info.shape for name, info in opened.tensors.items()}
    return map_roles(shapes, FAMILIES, hints)


@pytest.mark.parametrize("case", CASES)
def test_a_model_reads_back_the_same_from_each_storage(
    case: str, tmp_path: Path
) -> None:
    family, model, stored, hints = CASES[case]
    opened = _opened(tmp_path / "m", stored(model))
    roles = _mapped(opened, hints)
    assert roles.family == family
    assert {piece.slot for piece in roles.pieces} == set(model)
    reader = CanonicalReader(opened)
    for piece in roles.pieces:
        expected = model[piece.slot]
        assert reader.shape(piece) == expected.shape
        blocks = list(reader.blocks(piece))
        assert np.array_equal(np.concatenate(blocks), expected), piece
        if expected.ndim == 1:
            assert np.array_equal(reader.vector(piece), expected), piece
        else:
            order = np.array([5, 1, 2, 3, -1, 0, 1]) % len(expected)
            assert np.array_equal(reader.rows(piece, order), expected[order]), piece


@pytest.mark.parametrize("case", ["neox", "falcon-grouped", "bloom"])
@pytest.mark.parametrize("heads", [0, 5, 7, 1_000_000])
def test_fused_heads_stay_together_when_their_number_is_unknown_or_wrong(
    case: str, heads: int, tmp_path: Path
) -> None:
    _, model, stored, _ = CASES[case]
    roles = _mapped(_opened(tmp_path / "m", stored(model)), Hints(heads=heads))
    found = {piece.slot.role for piece in roles.pieces}
    assert Role.QKV in found
    assert not found & {Role.Q, Role.K, Role.V}
    assert "FusedHeads" in roles.notes
    assert ("HintIgnored" in roles.notes) == (heads > 0)


def test_only_the_asked_rows_of_plain_storage_are_read(tmp_path: Path) -> None:
    _, model, stored, hints = CASES["neox"]
    big = {
        name: np.tile(v, (400, 1)) if "embed_in" in name else v
        for name, v in stored(model).items()
    }
    folder = made_models.write(tmp_path / "m", big)
    source = _source(folder)
    opened = Checkpoint.open(source)
    piece = next(
        p for p in _mapped(opened, hints).pieces if p.slot.role is Role.EMBEDDING
    )
    before = source.bytes_read
    CanonicalReader(opened).rows(piece, np.arange(500, 516))
    assert source.bytes_read - before == 16 * WIDTH * 2


def test_a_fused_transposed_tensor_is_read_once_for_all_its_pieces(
    tmp_path: Path,
) -> None:
    _, model, stored, hints = CASES["gpt2"]
    folder = made_models.write(tmp_path / "m", stored(model))
    source = _source(folder)
    opened = Checkpoint.open(source)
    pieces = [
        p
        for p in _mapped(opened, hints).pieces
        if p.name == "transformer.h.0.attn.c_attn.weight"
    ]
    reader = CanonicalReader(opened)
    before = source.bytes_read
    for piece in pieces:
        assert not reader.is_row_major(piece)
        reader.rows(piece, np.arange(3))
    assert source.bytes_read - before == 3 * WIDTH * WIDTH * 2


@pytest.mark.parametrize("row", [-1, 24])
def test_a_row_outside_of_a_piece_is_refused(row: int, tmp_path: Path) -> None:
    _, model, stored, hints = CASES["neox"]
    opened = _opened(tmp_path / "m", stored(model))
    piece = next(p for p in _mapped(opened, hints).pieces if p.slot.role is Role.Q)
    with pytest.raises(IndexError, match="24 rows"):
        CanonicalReader(opened).rows(piece, np.array([row]))


def test_a_square_stack_is_told_by_its_partner(tmp_path: Path) -> None:
    model = _moe()
    stack = np.zeros((EXPERTS, WIDTH, WIDTH), np.float32)  # gate and up: 2 * 12 rows
    half = np.zeros((EXPERTS, WIDTH // 2, WIDTH), np.float32)
    for down, turned in ((half, True), (half.transpose(0, 2, 1), False)):
        weights = _plain_stacks(model)
        for layer in range(LAYERS):
            stem = f"model.layers.{layer}.mlp.experts."
            weights[stem + "gate_up_proj"] = stack
            weights[stem + "down_proj"] = down
        roles = _mapped(_opened(tmp_path / str(turned), weights), NO_HINTS)
        layouts = {p.layout.value for p in roles.pieces if p.slot.role is Role.UP}
        assert layouts == {"transposed" if turned else "plain"}


def test_stacks_that_fit_no_way_round_have_no_role(tmp_path: Path) -> None:
    weights = _mixtral(_moe())
    weights["model.layers.0.mlp.experts.gate_up_proj"] = np.zeros((3, 7, 9), np.float32)
    weights["model.layers.0.mlp.experts.down_proj"] = np.zeros((3, 9, 7), np.float32)
    roles = _mapped(_opened(tmp_path / "m", weights), NO_HINTS)
    others = {p.name for p in roles.pieces if p.slot.role is Role.OTHER}
    assert others == {
        "model.layers.0.mlp.experts.gate_up_proj",
        "model.layers.0.mlp.experts.down_proj",
    }
