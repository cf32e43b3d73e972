# SPDX-License-Identifier: Apache-2.0
"""MFI: how alike are two configurations?

Definition
    1.0 if nine fields of ``config.json`` are equal (tier 1).  0.9 if type, attention
    style, activation, norm, tokenizer and rotary settings are equal, and width and
    depth too (tier 2).  Else a weighted share of eleven features that agree (tier 3).
What it misses
    Everything: no weight is read.  Two models trained apart by one recipe have 1.0;
    a copied ``config.json`` frames any model, and one changed number clears it.  The
    kit's own decision for tiers 1 and 2 is "Confirmed Match".
Unstated values
    Fields that ``config.json`` omits are filled from
    :mod:`pedigree.lineage.context.defaults`.  For other model types two fields that
    both omit are equal; one against a stated value cannot be told, and is a reason.
Source
    The kit's ``metadata.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pedigree.lineage.context.defaults import DEFAULTS, HEADS, NAMES
from pedigree.lineage.context.model import (
    Absent,
    ContextSignal,
    NotShown,
    missing,
    shown,
)
from pedigree.lineage.context.tokens import TokenFeatures, unstated_specials

_MISSING = object()
"""A field that neither the file nor the class has."""
_UNSTATED = object()
"""A field that the file omits, of a class that is not in the table."""
_TIER_1 = (
    "model_type",
    "architectures",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)
_TIER_2 = (
    "model_type",
    "attention_style",
    "hidden_act",
    "norm_type",
    "rope_theta",
    "rope_type",
)
_TIER_3: Mapping[str, float] = {
    "special ids": 2.0,
    "hidden_size": 1.8,
    "qk_norm": 1.5,
    "num_hidden_layers": 1.5,
    "vocab_size": 1.5,
    "attention_style": 1.5,
    "rope_theta": 1.2,
    "norm_type": 0.5,
    "position": 0.4,
    "attention_bias": 0.4,
    "model_type": 0.1,
}
"""Source: the kit's ``_tier3_soft_score``."""
_NEAR = 0.9
"""Ratio of two sizes from which they count as equal."""
_NUMBER_MAX = 2.0**63
"""No size or base of a rotation is larger; what is may be no number that can be
reckoned with."""
_INTERMEDIATE = (
    "intermediate_size",
    "d_ff",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
    "ffn_dim",
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What MFI looks at of one model.

    Attributes:
        fields: By the names in :data:`_TIER_1`, :data:`_TIER_2` and :data:`_TIER_3`.
        tokens: Its tokenizer.
    """

    fields: Mapping[str, Any]
    tokens: TokenFeatures


class _Config:
    """Fields of a configuration, as the library's object of it would have them."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.kind = str(document.get("model_type", ""))
        self.names = NAMES.get(self.kind, {})
        self.defaults = DEFAULTS.get(self.kind)

    def get(self, name: str, absent: Any) -> Any:
        """A field; ``absent`` if the object would not have it."""
        found = self.find(name)
        return absent if found is _MISSING else found

    def find(self, name: str) -> Any:
        for key in (self.names.get(name, name), name):
            if key in self.document:
                stated = self.document[key]
                return self.heads(stated) if name == "num_key_value_heads" else stated
        if self.defaults is None:
            return _UNSTATED
        return self.heads(self.defaults.get(self.names.get(name, name), _MISSING))

    def heads(self, value: Any) -> Any:
        """Key-value heads; as many as attention heads if the class says so."""
        fills = self.defaults is not None and "num_key_value_heads" in self.defaults
        if value is HEADS or (value is None and fills):
            return self.find("num_attention_heads")
        return value

    @property
    def rope_theta(self) -> Any:
        """None where the library moves it among the rotary parameters."""
        stated = self.document if self.defaults is None else self.defaults
        moved = self.document.get("rope_scaling") and self.document.get("rope_theta")
        if moved or "rope_parameters" in stated:
            return None
        return self.get("rope_theta", None)

    @property
    def rope_type(self) -> str:
        for name in ("rope_parameters", "rope_scaling"):
            scaling = self.document.get(name)
            if isinstance(scaling, dict) and scaling:
                return str(scaling.get("type", "none"))
        return "none"


def read_metadata(
    document: Mapping[str, Any], tokens: TokenFeatures
) -> Metadata | Absent:
    """Fields of a configuration.

    Args:
        document: ``config.json``.
        tokens: Of the model.
    """
    whole = _Config(document)
    part = _text_part(whole)
    fields: dict[str, Any] = {
        "model_type": document.get("model_type", "unknown"),
        "architectures": document.get("architectures"),
        **{
            name: part.get(name, 0)
            for name in (
                "hidden_size",
                "num_hidden_layers",
                "num_attention_heads",
                "vocab_size",
                "max_position_embeddings",
            )
        },
        "num_key_value_heads": part.get("num_key_value_heads", None),
        "intermediate_size": _intermediate(part),
        "hidden_act": part.get("hidden_act", part.get("hidden_activation", None)),
        "rope_theta": part.rope_theta,
        "rope_type": part.rope_type,
        "norm_type": _norm_type(part),
        "attention_bias": part.get("attention_bias", part.get("bias", None)),
        "qk_norm": _qk_norm(part),
    }
    fields["attention_style"] = _attention_style(fields)
    fields["position"] = _position(part, fields["rope_theta"])
    return _odd(fields) or Metadata(fields, tokens)


def recorded_fields(recorded: Mapping[str, Any]) -> dict[str, Any] | Absent:
    """Fields as the kit wrote them into a record of its database.

    Args:
        recorded: Its ``mfi`` part.
    """
    scaling = recorded.get("rope_scaling")
    kind = scaling.get("type", "none") if isinstance(scaling, dict) else "none"
    names = {*_TIER_1, *_TIER_2, *_TIER_3} - {"special ids", "rope_type", "position"}
    fields = {name: recorded.get(name) for name in sorted(names)}
    fields |= {"rope_type": kind, "position": recorded.get("pos_encoding")}
    return _odd(fields) or fields


def _odd(fields: Mapping[str, Any]) -> Absent | None:
    for name, value in fields.items():
        if not isinstance(value, str | int | float | list | None) and (
            value is not _UNSTATED
        ):
            return Absent(NotShown.UNREADABLE, f"the configuration has an odd {name}")
    sizes = ("hidden_size", "num_hidden_layers", "vocab_size", "rope_theta")
    for name in sizes:  # arithmetic is done on these
        value = fields[name]
        if value is _UNSTATED or value is None:
            continue
        if not isinstance(value, int | float) or not abs(value) <= _NUMBER_MAX:
            return Absent(NotShown.UNREADABLE, f"the configuration has an odd {name}")
    return None


def mfi(a: Metadata, b: Metadata) -> ContextSignal:
    """Compare two configurations."""
    if all(a.fields[name] == b.fields[name] for name in _TIER_1):
        return shown("MFI", 1.0, "tier 1: the configurations are equal")
    absent = unstated_specials(a.tokens, b.tokens, ("bos", "eos")) or _unstated(a, b)
    if absent:
        return missing("MFI", absent)
    family = all(a.fields[name] == b.fields[name] for name in _TIER_2)
    size = all(a.fields[n] == b.fields[n] for n in ("hidden_size", "num_hidden_layers"))
    if family and size and a.tokens.digest == b.tokens.digest:
        return shown(
            "MFI", 0.9, "tier 2: the configurations are of one family and size"
        )
    return shown("MFI", _soft(a, b), "tier 3: weighted share of features that agree")


def _text_part(whole: _Config) -> _Config:
    """The language model's part of a configuration for several kinds of input."""
    if not isinstance(whole.find("hidden_size"), int):
        for name in ("text_config", "decoder"):
            part = whole.document.get(name)
            if isinstance(part, dict) and part.get("hidden_size"):
                return _Config(part)
    return whole


def _unstated(a: Metadata, b: Metadata) -> Absent | None:
    for name in {*_TIER_2, *_TIER_3} & set(a.fields):
        left, right = a.fields[name], b.fields[name]
        same_class = a.fields["model_type"] == b.fields["model_type"]
        if _UNSTATED in (left, right) and not (left is right and same_class):
            kinds = sorted({str(x.fields["model_type"]) for x in (a, b)})
            return Absent(
                NotShown.UNSTATED,
                f"config.json does not state {name}, and what {' and '.join(kinds)} "
                "mean by that is not known here",
            )
    return None


def _intermediate(part: _Config) -> Any:
    found = [part.find(name) for name in _INTERMEDIATE]
    stated = [size for size in found if isinstance(size, int) and size > 0]
    if stated:
        return stated[0]
    hidden = part.find("hidden_dim")
    if isinstance(hidden, int) and 0 < hidden != part.find("hidden_size"):
        return hidden
    return _UNSTATED if part.defaults is None else 0


def _attention_style(fields: Mapping[str, Any]) -> Any:
    heads, groups = fields["num_attention_heads"], fields["num_key_value_heads"]
    if groups is _UNSTATED or groups is None:
        return _UNSTATED if groups is _UNSTATED else "MHA"
    if groups == (heads or 1):
        return "MHA"
    return "MQA" if groups == 1 else "GQA"


def _norm_type(part: _Config) -> Any:
    for name, keys in (
        ("RMSNorm", ("rms_norm_eps", "rms_norm_epsilon")),
        ("LayerNorm", ("layer_norm_eps", "layer_norm_epsilon")),
    ):
        if any(part.find(key) not in (_MISSING, _UNSTATED) for key in keys):
            return name
    return _UNSTATED if part.defaults is None else "unknown"


def _qk_norm(part: _Config) -> bool:
    stated = [part.get(name, None) for name in ("qk_layernorm", "qk_norm")]
    scalar = part.get("query_pre_attn_scalar", None)
    return any(value not in (None, False, _UNSTATED) for value in (*stated, scalar))


def _position(part: _Config, rope_theta: Any) -> Any:
    if rope_theta is _UNSTATED:
        return _UNSTATED
    if rope_theta is not None:
        return "RoPE"
    stated = part.document.get("position_embedding_type")
    return stated if isinstance(stated, str) else "absolute"


def _soft(a: Metadata, b: Metadata) -> float:
    score = total = 0.0
    for name, weight in _TIER_3.items():
        agreement = _agreement(name, a, b)
        if agreement is not None:
            total += weight
            score += weight * agreement
    return score / total


def _agreement(name: str, a: Metadata, b: Metadata) -> float | None:
    """Share of one feature that agrees; None if it does not count."""
    if name == "special ids":
        pairs = [(a.tokens.specials[k], b.tokens.specials[k]) for k in ("bos", "eos")]
        return sum(left == right for left, right in pairs) / 2
    left, right = a.fields[name], b.fields[name]
    if name in ("hidden_size", "num_hidden_layers", "vocab_size"):
        if not left or not right or _UNSTATED in (left, right):
            return None
        alike = 1 - abs(left - right) / max(left, right)
        return alike if name == "vocab_size" else float(alike >= _NEAR)
    if name == "rope_theta" and left and right:
        return float(1 - abs(left - right) / max(left, right))
    return float(left == right)
