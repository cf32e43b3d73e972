# SPDX-License-Identifier: Apache-2.0
"""Experts of GPT-OSS's shape are recognised in sixteen bits and in MXFP4."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import made_fp4
import made_gguf
import made_models as made
from artifact_world.weights import file_of
from made_models import Weights
from made_packed_float import Stored, stored
from made_quants import NUMBERS, quantise
from pedigree.fingerprint.families import FAMILIES
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.roles import map_roles
from pedigree.fingerprint.spec import Profile
from pedigree.lineage.classes import LineageClass
from pedigree.lineage.compare import compare
from pedigree.lineage.results import Comparison

WIDTH, LAYERS, EXPERTS, TOKENS = 128, 2, 4, 320
STACKS = ("gate_up_proj", "down_proj")


def _gpt_oss(seed: int) -> Weights:
    """Stacks (experts, in, out) in bfloat16, with matrices of down as wide as high."""
    random = np.random.default_rng(seed)

    def near(*shape: int, middle: float = 0.0) -> np.ndarray:
        values = (middle + random.normal(0, 0.02, shape)).astype(ml_dtypes.bfloat16)
        return values.astype(np.float32)

    weights: Weights = {
        "model.embed_tokens.weight": near(TOKENS, WIDTH),
        "model.norm.weight": near(WIDTH, middle=1),
        "lm_head.weight": near(TOKENS, WIDTH),
    }
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}."
        weights |= {
            f"{stem}{name}.weight": near(WIDTH, middle=1)
            for name in ("input_layernorm", "post_attention_layernorm")
        }
        for name, rows in (("q", WIDTH), ("k", 64), ("v", 64), ("o", WIDTH)):
            weights[f"{stem}self_attn.{name}_proj.weight"] = near(rows, WIDTH)
            weights[f"{stem}self_attn.{name}_proj.bias"] = near(rows)
        weights[f"{stem}self_attn.sinks"] = near(4)
        weights[f"{stem}mlp.router.weight"] = near(EXPERTS, WIDTH)
        weights[f"{stem}mlp.router.bias"] = near(EXPERTS)
        experts = f"{stem}mlp.experts."
        weights[f"{experts}gate_up_proj"] = near(EXPERTS, WIDTH, 2 * WIDTH)
        weights[f"{experts}gate_up_proj_bias"] = near(EXPERTS, 2 * WIDTH)
        weights[f"{experts}down_proj"] = near(EXPERTS, WIDTH, WIDTH)
        weights[f"{experts}down_proj_bias"] = near(EXPERTS, WIDTH)
    return weights


def _plain(folder: Path, weights: Weights) -> None:
    made.write(folder, weights)


def _mxfp4(folder: Path, weights: Weights) -> None:
    """Stacks are stored (experts, out, in / 32, 16), with gate and up in turn."""
    parts: Stored = {}
    for name, values in weights.items():
        if not name.endswith(STACKS):
            parts[name] = stored(values.astype(ml_dtypes.bfloat16))
            continue
        codes, powers = made_fp4.mx(np.ascontiguousarray(values.swapaxes(1, 2)))
        parts[f"{name}_blocks"] = stored(made_fp4.neighbours(codes))
        parts[f"{name}_scales"] = stored(powers)
    header, data = {}, b""
    for name, (dtype, shape, raw) in parts.items():
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": place}
        data += raw
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(file_of(header, data))
    config = {"quantization_config": {"quant_method": "mxfp4"}}
    (folder / "config.json").write_text(json.dumps(config))


def _converted(weights: Weights) -> Weights:
    """As llama.cpp names them: gate and up apart, matrices (experts, out, in)."""
    names = {
        **made_gguf.NAMES,
        "self_attn.sinks": "attn_sinks.weight",
        "post_attention_layernorm": "post_attention_norm",
        "mlp.router": "ffn_gate_inp",
    }
    found: Weights = {}
    for name, values in weights.items():
        if not name.startswith("model.layers."):
            stem, _, part = name.rpartition(".")
            found[f"{names[stem]}.{part}"] = values
            continue
        layer, _, inner = name.removeprefix("model.layers.").partition(".")
        stem = f"blk.{layer}."
        if not inner.startswith("mlp.experts."):
            named = names.get(inner)
            if named is None:
                left, _, part = inner.rpartition(".")
                named = f"{names[left]}.{part}"
            found[stem + named] = values
            continue
        part = "bias" if inner.endswith("_bias") else "weight"
        turned = values if part == "bias" else values.swapaxes(1, 2)
        if "down" in inner:
            found[f"{stem}ffn_down_exps.{part}"] = turned
        else:
            found[f"{stem}ffn_gate_exps.{part}"] = turned[:, 0::2]
            found[f"{stem}ffn_up_exps.{part}"] = turned[:, 1::2]
    return found


def _gguf(folder: Path, weights: Weights) -> None:
    entries, data = [], b""
    for name, values in _converted(weights).items():
        if values.ndim == 3:
            number = NUMBERS["MXFP4"]
            raw = quantise(values.reshape(-1, values.shape[-1]), "MXFP4")
        elif values.ndim == 2 and name.endswith("weight"):
            number, raw = 30, values.astype(ml_dtypes.bfloat16).tobytes()
        else:
            number, raw = 0, values.astype("<f4").tobytes()
        dims = list(values.shape[::-1])
        entries.append(made_gguf.entry(name, dims, number, len(data)))
        data += raw + bytes(-len(raw) % 32)
    keys = {
        "general.architecture": "gpt-oss",
        "gpt-oss.attention.head_count": 4,
        "gpt-oss.attention.head_count_kv": 2,
        "gpt-oss.block_count": LAYERS,
        "gpt-oss.expert_count": EXPERTS,
        "tokenizer.ggml.tokens": ["a", "b", "c"],
    }
    pairs = [made_gguf.pair(*item) for item in keys.items()]
    folder.mkdir(parents=True)
    whole = made_gguf.file_of(pairs, entries, data)
    (folder / "model-mxfp4.gguf").write_bytes(whole)


STORAGES: dict[str, Callable[[Path, Weights], None]] = {
    "bf16": _plain,
    "mxfp4": _mxfp4,
    "gguf": _gguf,
}


@pytest.fixture(scope="module", params=[Profile.DEEP, Profile.FAST])
def fingerprints(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], Fingerprint]:
    folder = tmp_path_factory.mktemp("experts")
    found = {}
    for seed in (1, 2):
        for name, write in STORAGES.items():
            write(folder / f"{name}{seed}", _gpt_oss(seed))
            found[name, seed] = made.fingerprint(
                folder / f"{name}{seed}", profile=request.param
            )
    return found


def _compared(
    fingerprints: dict[tuple[str, int], Fingerprint], first: str, second: str
) -> Comparison:
    return compare(fingerprints[first, 1], fingerprints[second, 1])


@pytest.mark.parametrize("packed", ["mxfp4", "gguf"])
def test_packed_experts_are_quantised_from_plain_ones(
    packed: str, fingerprints: dict[tuple[str, int], Fingerprint]
) -> None:
    found = _compared(fingerprints, "bf16", packed)
    assert found.lineage is LineageClass.DERIVED
    assert found.relations[0].kind.value == "Quantised"


def test_the_same_packed_experts_are_identical_in_gguf(
    fingerprints: dict[tuple[str, int], Fingerprint],
) -> None:
    found = _compared(fingerprints, "mxfp4", "gguf")
    assert found.lineage is LineageClass.IDENTICAL


@pytest.mark.parametrize("pair", [*combinations(STORAGES, 2), ("mxfp4", "mxfp4")])
def test_packed_experts_of_another_model_are_unrelated(
    pair: tuple[str, str], fingerprints: dict[tuple[str, int], Fingerprint]
) -> None:
    first, second = pair
    found = compare(fingerprints[first, 1], fingerprints[second, 2])
    assert found.lineage is LineageClass.NO_EVIDENCE


def _roles(
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, list[tuple[str, int, int]]]:
    """By name: role, expert and first row of each piece."""
    outside = {"token_embd.weight": (TOKENS, WIDTH), "output_norm.weight": (WIDTH,)}
    pieces = map_roles({**outside, **shapes}, FAMILIES).pieces
    found: dict[str, list[tuple[str, int, int]]] = {}
    for piece in pieces:
        begin = -1 if piece.rows is None else piece.rows.begin
        row = (piece.slot.role.name, piece.slot.expert, begin)
        found.setdefault(piece.name, []).append(row)
    return found


def test_gate_and_up_of_one_gguf_stack_are_its_halves() -> None:
    name = "blk.0.ffn_gate_up_exps.weight"
    shapes = {name: (2, 64, WIDTH), "blk.0.ffn_down_exps.weight": (2, WIDTH, 32)}
    found = _roles(shapes)
    assert sorted(found[name]) == [
        ("GATE", 0, 0),
        ("GATE", 1, 0),
        ("UP", 0, 32),
        ("UP", 1, 32),
    ]
    assert found["blk.0.ffn_down_exps.weight"] == [("DOWN", 0, -1), ("DOWN", 1, -1)]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("ffn_gate_exps", (2, WIDTH, 32)),
        ("ffn_up_exps", (2, WIDTH, 32)),
        ("ffn_down_exps", (2, 32, WIDTH)),
        ("ffn_gate_up_exps", (2, 33, WIDTH)),
        ("ffn_down_exps", (4097, WIDTH, 1)),
        ("ffn_down_exps", (32, WIDTH)),
    ],
)
def test_gguf_stacks_of_another_shape_have_no_role(
    name: str, shape: tuple[int, ...]
) -> None:
    dense = {
        "blk.0.ffn_up.weight": (32, WIDTH),
        "blk.0.ffn_down.weight": (WIDTH, 32),
    }
    found = _roles({**dense, f"blk.1.{name}.weight": shape})
    assert found["blk.0.ffn_down.weight"] == [("DOWN", -1, -1)]
    assert found[f"blk.1.{name}.weight"] == [("OTHER", -1, -1)]
