# SPDX-License-Identifier: Apache-2.0
"""What ``config.json`` says about how tensors are laid out.

Hints decide how a fused tensor is split and whether norms count from one; they are
never evidence.  A hint that does not fit the shapes is ignored, so a false one costs
some tests and can make no match.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pedigree.errors import ArtifactError
from pedigree.limits import DEFAULT, Limits
from pedigree.ranges import ModelSource
from pedigree.tensors.documents import (
    CONFIG,
    CONFIG_MAX_BYTES,
    json_map,
    nested_maps,
)

_NUMBER_MAX = 1_000_000
"""Arbitrary, far above any number of heads, layers or experts."""
_TYPE_MAX_CHARS = 64
_OFFSET_TYPES = frozenset(
    {
        "gemma",
        "gemma2",
        "gemma3",
        "gemma3_text",
        "nemotron",
        "paligemma",
        "qwen3_next",
        "recurrent_gemma",
    }
)
"""Model types whose norms multiply by 1 + the stored value.  Source: the norm classes
of these models in transformers 4.57; Gemma 3n went back to the plain form."""
_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_groups")
_HEAD_DIM = ("head_dim", "d_kv", "kv_channels")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True, slots=True)
class Hints:
    """Numbers for the layout; 0 and empty mean that nothing usable was said.

    Attributes:
        model_type: Lower case.
        heads: Query heads of a block.
        kv_heads: Key heads of a block.
        head_dim: Rows of one head.
        layers: Blocks.
        experts: Routed experts of a block.
        norm_offset: What is added to stored norms.
        notes: Keys of :data:`~pedigree.fingerprint.slots.NOTES`.
    """

    model_type: str = ""
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    layers: int = 0
    experts: int = 0
    norm_offset: float = 0.0
    notes: tuple[str, ...] = ()


NO_HINTS = Hints()


def read_hints(source: ModelSource, limits: Limits = DEFAULT) -> Hints:
    """Read the hints of a model.

    Args:
        source: The model.
        limits: Bounds.

    Returns:
        :data:`NO_HINTS` when there is no configuration, or none that can be read;
        what is wrong with it is remarked on with the declarations.

    Raises:
        SourceError: The bytes could not be had.
    """
    sizes = {entry.path: entry.size for entry in source.files()}
    size = sizes.get(CONFIG, 0)
    if not 0 < size <= min(CONFIG_MAX_BYTES, limits.json_max_bytes):
        return NO_HINTS
    text = source.open(CONFIG).read(0, size)
    try:
        return hints_of(json_map(text, CONFIG))
    except ArtifactError:
        # Remarked on by pedigree.examine.claims, which reads the same file.
        return NO_HINTS


def hints_of(config: Mapping[str, Any]) -> Hints:
    """Hints of a parsed configuration; anything of another type is not a hint."""
    nested: Mapping[str, Any] = next(iter(nested_maps(config)), {})
    outer = _model_type(config)
    model_type = _model_type(nested) or outer
    merged = {**config, **nested}
    return Hints(
        model_type=model_type,
        heads=_number(merged, _HEADS),
        kv_heads=_number(merged, _KV_HEADS),
        head_dim=_number(merged, _HEAD_DIM),
        layers=_number(merged, _LAYERS),
        experts=_number(merged, _EXPERTS),
        norm_offset=1.0 if {model_type, outer} & _OFFSET_TYPES else 0.0,
    )


def _model_type(config: Mapping[str, Any]) -> str:
    value = config.get("model_type")
    if isinstance(value, str) and len(value) <= _TYPE_MAX_CHARS:
        return value.lower()
    return ""


def _number(config: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    for key in keys:
        value = config.get(key)
        if type(value) is int and 0 < value <= _NUMBER_MAX:
            return value
    return 0
