# SPDX-License-Identifier: Apache-2.0
"""Families of decoders with other names than Llama's, most with fused q, k, v.

Data only.
"""

from __future__ import annotations

from pedigree.fingerprint.roles import Family, Layout, Role, Rule

_QKV = (Role.Q, Role.K, Role.V)

GPT2 = Family(
    name="gpt2",
    prefixes=("transformer.", ""),
    rules={
        "wte": Rule((Role.EMBEDDING,)),
        "wpe": Rule((Role.POSITION,)),
        "lm_head": Rule((Role.HEAD,)),
        "ln_f": Rule((Role.NORM_FINAL,)),
        "h.{l}.ln_1": Rule((Role.NORM_ATTENTION,)),
        "h.{l}.ln_2": Rule((Role.NORM_MLP,)),
        "h.{l}.attn.c_attn": Rule(_QKV, Layout.TRANSPOSED_THIRDS),
        "h.{l}.attn.c_proj": Rule((Role.O,), Layout.TRANSPOSED),
        "h.{l}.mlp.c_fc": Rule((Role.UP,), Layout.TRANSPOSED),
        "h.{l}.mlp.c_proj": Rule((Role.DOWN,), Layout.TRANSPOSED),
    },
    buffers=("h.{l}.attn.bias", "h.{l}.attn.masked_bias"),
)
"""GPT-2: Conv1D stores (in, out); the causal mask is stored as ``attn.bias``."""

GPT_BIGCODE = Family(
    name="gpt-bigcode",
    prefixes=("transformer.", ""),
    rules={
        "wte": Rule((Role.EMBEDDING,)),
        "wpe": Rule((Role.POSITION,)),
        "lm_head": Rule((Role.HEAD,)),
        "ln_f": Rule((Role.NORM_FINAL,)),
        "h.{l}.ln_1": Rule((Role.NORM_ATTENTION,)),
        "h.{l}.ln_2": Rule((Role.NORM_MLP,)),
        "h.{l}.attn.c_attn": Rule(_QKV, Layout.CONCATENATED_QKV),
        "h.{l}.attn.c_proj": Rule((Role.O,)),
        "h.{l}.mlp.c_fc": Rule((Role.UP,)),
        "h.{l}.mlp.c_proj": Rule((Role.DOWN,)),
    },
    buffers=GPT2.buffers,
)
"""SantaCoder and StarCoder: GPT-2's names, plain storage, one key head.

GPT-2 is tried first and fits every name, so shapes decide between the two.
"""

NEOX = Family(
    name="gpt-neox",
    prefixes=("gpt_neox.", ""),
    rules={
        "embed_in": Rule((Role.EMBEDDING,)),
        "embed_out": Rule((Role.HEAD,)),
        "final_layer_norm": Rule((Role.NORM_FINAL,)),
        "layers.{l}.input_layernorm": Rule((Role.NORM_ATTENTION,)),
        "layers.{l}.post_attention_layernorm": Rule((Role.NORM_MLP,)),
        "layers.{l}.attention.query_key_value": Rule(_QKV, Layout.GROUPED_QKV),
        "layers.{l}.attention.dense": Rule((Role.O,)),
        "layers.{l}.mlp.dense_h_to_4h": Rule((Role.UP,)),
        "layers.{l}.mlp.dense_4h_to_h": Rule((Role.DOWN,)),
    },
    buffers=(
        "layers.{l}.attention.rotary_emb.inv_freq",
        "layers.{l}.attention.bias",
        "layers.{l}.attention.masked_bias",
    ),
)
"""GPT-NeoX and Pythia: q, k and v are one tensor, interleaved by head."""

_FALCON_RULES = {
    "word_embeddings": Rule((Role.EMBEDDING,)),
    "lm_head": Rule((Role.HEAD,)),
    "ln_f": Rule((Role.NORM_FINAL,)),
    "h.{l}.self_attention.query_key_value": Rule(_QKV, Layout.GROUPED_QKV),
    "h.{l}.self_attention.dense": Rule((Role.O,)),
    "h.{l}.mlp.dense_h_to_4h": Rule((Role.UP,)),
    "h.{l}.mlp.dense_4h_to_h": Rule((Role.DOWN,)),
}

FALCON = Family(
    name="falcon",
    prefixes=("transformer.", ""),
    rules={
        **_FALCON_RULES,
        "h.{l}.ln_mlp": Rule((Role.NORM_MLP,)),
        "h.{l}.ln_attn": Rule((Role.NORM_ATTENTION,)),
        "h.{l}.input_layernorm": Rule((Role.NORM_ATTENTION, Role.NORM_MLP)),
    },
)
"""Falcon: attention and feed-forward side by side, behind one norm or one for each."""

BLOOM = Family(
    name="bloom",
    prefixes=("transformer.", ""),
    rules={
        **_FALCON_RULES,
        "word_embeddings_layernorm": Rule((Role.NORM_EMBEDDING,)),
        "h.{l}.input_layernorm": Rule((Role.NORM_ATTENTION,)),
        "h.{l}.post_attention_layernorm": Rule((Role.NORM_MLP,)),
    },
)
"""Bloom, and Falcon-RW: q, k and v interleaved by head."""

INTERNLM2 = Family(
    name="internlm2",
    prefixes=("model.", "", "language_model.model.", "language_model."),
    rules={
        "tok_embeddings": Rule((Role.EMBEDDING,)),
        "output": Rule((Role.HEAD,)),
        "norm": Rule((Role.NORM_FINAL,)),
        "layers.{l}.attention_norm": Rule((Role.NORM_ATTENTION,)),
        "layers.{l}.ffn_norm": Rule((Role.NORM_MLP,)),
        "layers.{l}.attention.wqkv": Rule(_QKV, Layout.GROUPED_QKV),
        "layers.{l}.attention.wq": Rule((Role.Q,)),
        "layers.{l}.attention.wk": Rule((Role.K,)),
        "layers.{l}.attention.wv": Rule((Role.V,)),
        "layers.{l}.attention.wo": Rule((Role.O,)),
        "layers.{l}.feed_forward.w1": Rule((Role.GATE,)),
        "layers.{l}.feed_forward.w2": Rule((Role.DOWN,)),
        "layers.{l}.feed_forward.w3": Rule((Role.UP,)),
    },
    buffers=("rope.freqs",),
)
"""InternLM2, and the names under which Llama itself was first published."""

GPTJ = Family(
    name="gptj",
    prefixes=("transformer.", ""),
    rules={
        "wte": Rule((Role.EMBEDDING,)),
        "lm_head": Rule((Role.HEAD,)),
        "ln_f": Rule((Role.NORM_FINAL,)),
        "h.{l}.ln_1": Rule((Role.NORM_ATTENTION, Role.NORM_MLP)),
        "h.{l}.attn.q_proj": Rule((Role.Q,)),
        "h.{l}.attn.k_proj": Rule((Role.K,)),
        "h.{l}.attn.v_proj": Rule((Role.V,)),
        "h.{l}.attn.out_proj": Rule((Role.O,)),
        "h.{l}.mlp.fc_in": Rule((Role.UP,)),
        "h.{l}.mlp.fc_out": Rule((Role.DOWN,)),
    },
    buffers=GPT2.buffers,
)
"""GPT-J: one norm before attention and feed-forward side by side."""

QWEN = Family(
    name="qwen",
    prefixes=("transformer.", ""),
    rules={
        "wte": Rule((Role.EMBEDDING,)),
        "lm_head": Rule((Role.HEAD,)),
        "ln_f": Rule((Role.NORM_FINAL,)),
        "h.{l}.ln_1": Rule((Role.NORM_ATTENTION,)),
        "h.{l}.ln_2": Rule((Role.NORM_MLP,)),
        "h.{l}.attn.c_attn": Rule(_QKV, Layout.CONCATENATED_QKV),
        "h.{l}.attn.c_proj": Rule((Role.O,)),
        "h.{l}.mlp.w1": Rule((Role.UP,)),
        "h.{l}.mlp.w2": Rule((Role.GATE,)),
        "h.{l}.mlp.c_proj": Rule((Role.DOWN,)),
    },
    buffers=("rotary_emb.inv_freq",),
)
"""The first Qwen: its ``w2`` is what passes the activation."""

MPT = Family(
    name="mpt",
    prefixes=("transformer.", ""),
    rules={
        "wte": Rule((Role.EMBEDDING,)),
        "lm_head": Rule((Role.HEAD,)),
        "norm_f": Rule((Role.NORM_FINAL,)),
        "blocks.{l}.norm_1": Rule((Role.NORM_ATTENTION,)),
        "blocks.{l}.norm_2": Rule((Role.NORM_MLP,)),
        "blocks.{l}.attn.Wqkv": Rule(_QKV, Layout.CONCATENATED_QKV),
        "blocks.{l}.attn.out_proj": Rule((Role.O,)),
        "blocks.{l}.ffn.up_proj": Rule((Role.UP,)),
        "blocks.{l}.ffn.down_proj": Rule((Role.DOWN,)),
    },
)
"""MPT: no biases, q, k and v behind each other."""

OPT = Family(
    name="opt",
    prefixes=("model.decoder.", "decoder.", "", "model."),
    rules={
        "embed_tokens": Rule((Role.EMBEDDING,)),
        "embed_positions": Rule((Role.POSITION,)),
        "lm_head": Rule((Role.HEAD,)),
        "final_layer_norm": Rule((Role.NORM_FINAL,)),
        "layers.{l}.self_attn_layer_norm": Rule((Role.NORM_ATTENTION,)),
        "layers.{l}.final_layer_norm": Rule((Role.NORM_MLP,)),
        "layers.{l}.self_attn.q_proj": Rule((Role.Q,)),
        "layers.{l}.self_attn.k_proj": Rule((Role.K,)),
        "layers.{l}.self_attn.v_proj": Rule((Role.V,)),
        "layers.{l}.self_attn.out_proj": Rule((Role.O,)),
        "layers.{l}.fc1": Rule((Role.UP,)),
        "layers.{l}.fc2": Rule((Role.DOWN,)),
    },
)
"""OPT and XGLM."""
