# SPDX-License-Identifier: Apache-2.0
"""Families as converters to GGUF name them.  Data only.

Whatever a model's tensors were called, GGUF has one set of names.  Source: the table of
tensor names in ``gguf-py`` of llama.cpp.
"""

from __future__ import annotations

from pedigree.fingerprint.roles import Family, Layout, Role, Rule

_OUTSIDE = {
    "token_embd": Rule((Role.EMBEDDING,)),
    "position_embd": Rule((Role.POSITION,)),
    "token_types": Rule((Role.TOKEN_TYPE,)),
    "token_embd_norm": Rule((Role.NORM_EMBEDDING,)),
    "output": Rule((Role.HEAD,)),
    "output_norm": Rule((Role.NORM_FINAL,)),
}
_ATTENTION = {
    "blk.{l}.attn_norm": Rule((Role.NORM_ATTENTION,)),
    "blk.{l}.attn_q": Rule((Role.Q,)),
    "blk.{l}.attn_k": Rule((Role.K,)),
    "blk.{l}.attn_v": Rule((Role.V,)),
    "blk.{l}.attn_qkv": Rule((Role.Q, Role.K, Role.V), Layout.CONCATENATED_QKV),
    "blk.{l}.attn_output": Rule((Role.O,)),
    "blk.{l}.attn_q_norm": Rule((Role.NORM_Q,)),
    "blk.{l}.attn_k_norm": Rule((Role.NORM_K,)),
}
_MLP = {
    "blk.{l}.ffn_norm": Rule((Role.NORM_MLP,)),
    "blk.{l}.post_attention_norm": Rule((Role.NORM_POST_ATTENTION,)),
    "blk.{l}.post_ffw_norm": Rule((Role.NORM_POST_MLP,)),
    "blk.{l}.ffn_gate": Rule((Role.GATE,)),
    "blk.{l}.ffn_up": Rule((Role.UP,)),
    "blk.{l}.ffn_down": Rule((Role.DOWN,)),
}
_EXPERTS = {
    "blk.{l}.ffn_gate_inp": Rule((Role.ROUTER,)),
    "blk.{l}.ffn_gate_inp_shexp": Rule((Role.ROUTER_SHARED,)),
    "blk.{l}.ffn_gate.{e}": Rule((Role.GATE,)),
    "blk.{l}.ffn_up.{e}": Rule((Role.UP,)),
    "blk.{l}.ffn_down.{e}": Rule((Role.DOWN,)),
    "blk.{l}.ffn_gate_exps": Rule((Role.GATE,), Layout.STACKED_ROWS),
    "blk.{l}.ffn_up_exps": Rule((Role.UP,), Layout.STACKED_ROWS),
    "blk.{l}.ffn_gate_up_exps": Rule((Role.GATE, Role.UP), Layout.STACKED_ROWS),
    "blk.{l}.ffn_down_exps": Rule((Role.DOWN,), Layout.STACKED_ROWS),
    "blk.{l}.ffn_gate_shexp": Rule((Role.GATE,)),
    "blk.{l}.ffn_up_shexp": Rule((Role.UP,)),
    "blk.{l}.ffn_down_shexp": Rule((Role.DOWN,)),
}
"""The third to fifth are those of early files of Mixtral."""
_BUFFERS = (
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
    "blk.{l}.attn_rot_embd.weight",
)
_RULES = {**_OUTSIDE, **_ATTENTION, **_MLP, **_EXPERTS}

GGUF = Family("gguf", ("",), _RULES, _BUFFERS)
"""Decoders of all kinds."""

GGUF_GPT_OSS = Family(
    "gguf-gpt-oss",
    ("",),
    {
        **_RULES,
        "blk.{l}.post_attention_norm": Rule((Role.NORM_MLP,)),
        "blk.{l}.attn_sinks": Rule((Role.SINKS,)),
    },
    _BUFFERS,
    (Role.EMBEDDING, Role.UP, Role.DOWN, Role.SINKS),
)
"""GPT-OSS: the norm that others have behind attention stands before the experts."""
