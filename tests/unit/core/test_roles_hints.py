# SPDX-License-Identifier: Apache-2.0
"""Hints come from config.json, and whatever is wrong with it is no hint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pedigree.fingerprint.families import FAMILIES
from pedigree.fingerprint.hints import NO_HINTS, Hints, hints_of, read_hints
from pedigree.fingerprint.roles import Part, Role, map_roles
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"


def _read(folder: Path) -> Hints:
    return read_hints(open_source(parse(f"file://{folder}"), SourceSettings()))


def test_examples_give_their_hints() -> None:
    found = _read(EXAMPLES / "llama-a")
    assert (found.model_type, found.heads, found.kv_heads) == ("llama", 4, 2)
    assert (found.layers, found.head_dim, found.norm_offset) == (4, 32, 0.0)


@pytest.mark.parametrize(
    ("config", "heads"),
    [
        ({"num_attention_heads": 8}, 8),
        ({"n_head": 8}, 8),
        ({"text_config": {"num_attention_heads": 8}, "num_attention_heads": 3}, 8),
        ({"num_attention_heads": "8"}, 0),
        ({"num_attention_heads": True}, 0),
        ({"num_attention_heads": 8.0}, 0),
        ({"num_attention_heads": -8}, 0),
        ({"num_attention_heads": 10**30}, 0),
        ({"num_attention_heads": [8]}, 0),
        ({"text_config": [1], "n_head": 8}, 8),
    ],
)
def test_only_a_plain_number_is_a_number_of_heads(
    config: dict[str, Any], heads: int
) -> None:
    assert hints_of(config).heads == heads


@pytest.mark.parametrize(
    ("model_type", "offset"),
    [("gemma", 1), ("gemma3_text", 1), ("Gemma2", 1), ("llama", 0), (3, 0)],
)
def test_norms_count_from_one_for_the_model_types_that_do(
    model_type: object, offset: int
) -> None:
    assert hints_of({"model_type": model_type}).norm_offset == offset
    nested = {"model_type": "outer", "text_config": {"model_type": model_type}}
    assert hints_of(nested).norm_offset == offset


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"n_head": 8, "n_head": 4}',
        '{"a": ' + "[" * 200 + "]" * 200 + "}",
        " " * (5 << 20),
    ],
)
def test_a_configuration_that_cannot_be_read_gives_no_hints(
    text: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(text)
    assert _read(tmp_path) == NO_HINTS


def test_no_configuration_gives_no_hints(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"n_head": 8}))
    assert _read(tmp_path) == NO_HINTS


def test_only_weights_of_norms_get_the_offset() -> None:
    shapes = {
        "model.embed_tokens.weight": (100, 8),
        "model.layers.0.input_layernorm.weight": (8,),
        "model.layers.0.input_layernorm.bias": (8,),
        "model.layers.0.mlp.up_proj.weight": (20, 8),
        "model.layers.0.mlp.down_proj.weight": (8, 20),
    }
    roles = map_roles(shapes, FAMILIES, hints_of({"model_type": "gemma"}))
    moved = {(p.slot.role, p.slot.part) for p in roles.pieces if p.offset}
    assert moved == {(Role.NORM_ATTENTION, Part.WEIGHT)}
    assert roles.notes == ("NormOffset",)
