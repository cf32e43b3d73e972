# SPDX-License-Identifier: Apache-2.0
"""The families of tensor names that are understood.  Data only.

A name that no family here knows is reported as such, never guessed.  Sources: the
files these families are published as; see ``docs/lineage.md``.
"""

from __future__ import annotations

from pedigree.fingerprint.roles import Family, Layout, Role, Rule


def _rule(*roles: Role, layout: Layout = Layout.PLAIN) -> Rule:
    return Rule(roles, layout)


_EXPERTS = {
    "layers.{l}.block_sparse_moe.gate": _rule(Role.ROUTER),
    "layers.{l}.block_sparse_moe.experts.{e}.w1": _rule(Role.GATE),
    "layers.{l}.block_sparse_moe.experts.{e}.w2": _rule(Role.DOWN),
    "layers.{l}.block_sparse_moe.experts.{e}.w3": _rule(Role.UP),
    "layers.{l}.mlp.gate": _rule(Role.ROUTER),
    "layers.{l}.mlp.experts.{e}.gate_proj": _rule(Role.GATE),
    "layers.{l}.mlp.experts.{e}.up_proj": _rule(Role.UP),
    "layers.{l}.mlp.experts.{e}.down_proj": _rule(Role.DOWN),
}

LLAMA = Family(
    name="llama",
    prefixes=("model.", "", "language_model.model.", "model.language_model."),
    rules={
        "embed_tokens": _rule(Role.EMBEDDING),
        "lm_head": _rule(Role.HEAD),
        "norm": _rule(Role.NORM_FINAL),
        "layers.{l}.input_layernorm": _rule(Role.NORM_ATTENTION),
        "layers.{l}.post_attention_layernorm": _rule(Role.NORM_MLP),
        "layers.{l}.self_attn.q_proj": _rule(Role.Q),
        "layers.{l}.self_attn.k_proj": _rule(Role.K),
        "layers.{l}.self_attn.v_proj": _rule(Role.V),
        "layers.{l}.self_attn.o_proj": _rule(Role.O),
        "layers.{l}.self_attn.q_norm": _rule(Role.NORM_Q),
        "layers.{l}.self_attn.k_norm": _rule(Role.NORM_K),
        "layers.{l}.mlp.gate_proj": _rule(Role.GATE),
        "layers.{l}.mlp.up_proj": _rule(Role.UP),
        "layers.{l}.mlp.down_proj": _rule(Role.DOWN),
        **_EXPERTS,
    },
    buffers=("layers.{l}.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq"),
)
"""Llama, Mistral, Qwen2, Qwen3, and the per-expert names of Mixtral and Qwen-MoE."""

GPT2 = Family(
    name="gpt2",
    prefixes=("transformer.", ""),
    rules={
        "wte": _rule(Role.EMBEDDING),
        "wpe": _rule(Role.POSITION),
        "lm_head": _rule(Role.HEAD),
        "ln_f": _rule(Role.NORM_FINAL),
        "h.{l}.ln_1": _rule(Role.NORM_ATTENTION),
        "h.{l}.ln_2": _rule(Role.NORM_MLP),
        "h.{l}.attn.c_attn": _rule(
            Role.Q, Role.K, Role.V, layout=Layout.TRANSPOSED_THIRDS
        ),
        "h.{l}.attn.c_proj": _rule(Role.O, layout=Layout.TRANSPOSED),
        "h.{l}.mlp.c_fc": _rule(Role.UP, layout=Layout.TRANSPOSED),
        "h.{l}.mlp.c_proj": _rule(Role.DOWN, layout=Layout.TRANSPOSED),
    },
    buffers=("h.{l}.attn.bias", "h.{l}.attn.masked_bias"),
)
"""GPT-2: Conv1D stores (in, out); the causal mask is stored as ``attn.bias``."""

NEOX = Family(
    name="gpt-neox",
    prefixes=("gpt_neox.", ""),
    rules={
        "embed_in": _rule(Role.EMBEDDING),
        "embed_out": _rule(Role.HEAD),
        "final_layer_norm": _rule(Role.NORM_FINAL),
        "layers.{l}.input_layernorm": _rule(Role.NORM_ATTENTION),
        "layers.{l}.post_attention_layernorm": _rule(Role.NORM_MLP),
        "layers.{l}.attention.query_key_value": _rule(Role.QKV),
        "layers.{l}.attention.dense": _rule(Role.O),
        "layers.{l}.mlp.dense_h_to_4h": _rule(Role.UP),
        "layers.{l}.mlp.dense_4h_to_h": _rule(Role.DOWN),
    },
    buffers=(
        "layers.{l}.attention.rotary_emb.inv_freq",
        "layers.{l}.attention.bias",
        "layers.{l}.attention.masked_bias",
    ),
)
"""GPT-NeoX and Pythia: q, k and v are one tensor, interleaved by head."""

FAMILIES = (LLAMA, GPT2, NEOX)
"""In the order of trial."""
