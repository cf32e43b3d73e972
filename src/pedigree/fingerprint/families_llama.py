# SPDX-License-Identifier: Apache-2.0
"""Families that name their blocks ``layers.N`` as Llama does.  Data only."""

from __future__ import annotations

from pedigree.fingerprint.roles import Family, Layout, Part, Role, Rule

_PREFIXES = (
    "model.",
    "",
    "language_model.model.",
    "model.language_model.",
    "language_model.",
    "model.text_model.",
)
"""The last four are those of models that also see or hear."""

_OUTSIDE = {
    "embed_tokens": Rule((Role.EMBEDDING,)),
    "lm_head": Rule((Role.HEAD,)),
    "norm": Rule((Role.NORM_FINAL,)),
}
_ATTENTION = {
    "layers.{l}.self_attn.q_proj": Rule((Role.Q,)),
    "layers.{l}.self_attn.k_proj": Rule((Role.K,)),
    "layers.{l}.self_attn.v_proj": Rule((Role.V,)),
    "layers.{l}.self_attn.o_proj": Rule((Role.O,)),
    "layers.{l}.self_attn.q_norm": Rule((Role.NORM_Q,)),
    "layers.{l}.self_attn.k_norm": Rule((Role.NORM_K,)),
}
_FUSED = {
    "layers.{l}.self_attn.qkv_proj": Rule(
        (Role.Q, Role.K, Role.V), Layout.CONCATENATED_QKV
    ),
    "layers.{l}.self_attn.W_pack": Rule(
        (Role.Q, Role.K, Role.V), Layout.CONCATENATED_QKV
    ),
    "layers.{l}.mlp.gate_up_proj": Rule((Role.GATE, Role.UP), Layout.HALVES),
}
"""Phi-3 and GLM-4; ``W_pack`` is Baichuan's."""
_MLP = {
    "layers.{l}.mlp.gate_proj": Rule((Role.GATE,)),
    "layers.{l}.mlp.up_proj": Rule((Role.UP,)),
    "layers.{l}.mlp.down_proj": Rule((Role.DOWN,)),
}
_NORMS = {
    "layers.{l}.input_layernorm": Rule((Role.NORM_ATTENTION,)),
    "layers.{l}.post_attention_layernorm": Rule((Role.NORM_MLP,)),
    "layers.{l}.post_self_attn_layernorm": Rule((Role.NORM_POST_ATTENTION,)),
    "layers.{l}.post_mlp_layernorm": Rule((Role.NORM_POST_MLP,)),
}
"""The last two are GLM-4's."""


def _stacks(stem: str, gate_up: Layout = Layout.STACKED_HALVES) -> dict[str, Rule]:
    """Experts in two tensors whose names have no ending."""
    pair, down = (Role.GATE, Role.UP), (Role.DOWN,)
    return {
        stem + "gate_up_proj": Rule(pair, gate_up, Part.WEIGHT),
        stem + "gate_up_proj_bias": Rule(pair, gate_up, Part.BIAS),
        stem + "down_proj": Rule(down, Layout.STACKED, Part.WEIGHT),
        stem + "down_proj_bias": Rule(down, Layout.STACKED, Part.BIAS),
    }


def _shared(stem: str) -> dict[str, Rule]:
    """The expert that every token passes stands where a dense block would."""
    return {
        stem + "gate_proj": Rule((Role.GATE,)),
        stem + "up_proj": Rule((Role.UP,)),
        stem + "down_proj": Rule((Role.DOWN,)),
    }


_EXPERTS = {
    "layers.{l}.block_sparse_moe.gate": Rule((Role.ROUTER,)),
    "layers.{l}.block_sparse_moe.experts.{e}.w1": Rule((Role.GATE,)),
    "layers.{l}.block_sparse_moe.experts.{e}.w2": Rule((Role.DOWN,)),
    "layers.{l}.block_sparse_moe.experts.{e}.w3": Rule((Role.UP,)),
    "layers.{l}.block_sparse_moe.router.layer": Rule((Role.ROUTER,)),
    "layers.{l}.block_sparse_moe.input_linear": Rule(
        (Role.GATE, Role.UP), Layout.STACKED_HALVES
    ),
    "layers.{l}.block_sparse_moe.output_linear": Rule((Role.DOWN,), Layout.STACKED),
    "layers.{l}.mlp.gate": Rule((Role.ROUTER,)),
    "layers.{l}.mlp.experts.{e}.gate_proj": Rule((Role.GATE,)),
    "layers.{l}.mlp.experts.{e}.up_proj": Rule((Role.UP,)),
    "layers.{l}.mlp.experts.{e}.down_proj": Rule((Role.DOWN,)),
    "layers.{l}.mlp.shared_expert_gate": Rule((Role.ROUTER_SHARED,)),
    **_shared("layers.{l}.mlp.shared_expert."),
    **_shared("layers.{l}.mlp.shared_experts."),
    **_stacks("layers.{l}.mlp.experts."),
}
"""Mixtral, Granite, Qwen and DeepSeek; stacks as transformers 5 holds them."""

_BUFFERS = ("layers.{l}.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq")
_RULES = {**_OUTSIDE, **_NORMS, **_ATTENTION, **_MLP, **_EXPERTS}

LLAMA = Family("llama", _PREFIXES, _RULES, _BUFFERS)
"""Llama, Mistral, Qwen2, Qwen3, Gemma 1, and the experts of Mixtral and Qwen."""

PHI3 = Family("phi3", _PREFIXES, {**_RULES, **_FUSED}, _BUFFERS)
"""Phi-3, GLM-4 and Baichuan: as Llama with fused matrices."""

GEMMA2 = Family(
    "gemma2",
    _PREFIXES,
    {
        **_RULES,
        "layers.{l}.post_attention_layernorm": Rule((Role.NORM_POST_ATTENTION,)),
        "layers.{l}.pre_feedforward_layernorm": Rule((Role.NORM_MLP,)),
        "layers.{l}.post_feedforward_layernorm": Rule((Role.NORM_POST_MLP,)),
    },
    _BUFFERS,
    (Role.EMBEDDING, Role.UP, Role.DOWN, Role.NORM_MLP, Role.NORM_POST_MLP),
)
"""Gemma 2 and 3: a norm before and one behind each half of a block."""

OLMO2 = Family(
    "olmo2",
    _PREFIXES,
    {
        **_RULES,
        "layers.{l}.post_attention_layernorm": Rule((Role.NORM_POST_ATTENTION,)),
        "layers.{l}.post_feedforward_layernorm": Rule((Role.NORM_POST_MLP,)),
    },
    _BUFFERS,
    (Role.EMBEDDING, Role.UP, Role.DOWN, Role.NORM_POST_MLP),
)
"""OLMo 2: norms behind each half only, so nothing scales what matrices read."""

LLAMA4 = Family(
    "llama4",
    _PREFIXES,
    {
        **_OUTSIDE,
        **_NORMS,
        **_ATTENTION,
        "layers.{l}.feed_forward.gate_proj": Rule((Role.GATE,)),
        "layers.{l}.feed_forward.up_proj": Rule((Role.UP,)),
        "layers.{l}.feed_forward.down_proj": Rule((Role.DOWN,)),
        "layers.{l}.feed_forward.router": Rule((Role.ROUTER,)),
        **_shared("layers.{l}.feed_forward.shared_expert."),
        **_stacks("layers.{l}.feed_forward.experts."),
    },
    _BUFFERS,
)
"""Llama 4: stacks of shape (experts, in, out), gate and up in halves."""

GPT_OSS = Family(
    "gpt-oss",
    _PREFIXES,
    {
        **_OUTSIDE,
        **_NORMS,
        **_ATTENTION,
        "layers.{l}.self_attn.sinks": Rule((Role.SINKS,), Layout.PLAIN, Part.WEIGHT),
        "layers.{l}.mlp.router": Rule((Role.ROUTER,)),
        **_stacks("layers.{l}.mlp.experts.", Layout.STACKED_PAIRS),
    },
    _BUFFERS,
    (Role.EMBEDDING, Role.UP, Role.DOWN, Role.SINKS),
)
"""GPT-OSS: stacks of shape (experts, in, out), gate and up in turn."""

PHI = Family(
    "phi",
    _PREFIXES,
    {
        "embed_tokens": Rule((Role.EMBEDDING,)),
        "lm_head": Rule((Role.HEAD,)),
        "final_layernorm": Rule((Role.NORM_FINAL,)),
        "layers.{l}.input_layernorm": Rule((Role.NORM_ATTENTION, Role.NORM_MLP)),
        "layers.{l}.self_attn.dense": Rule((Role.O,)),
        "layers.{l}.mlp.fc1": Rule((Role.UP,)),
        "layers.{l}.mlp.fc2": Rule((Role.DOWN,)),
        **_ATTENTION,
    },
    _BUFFERS,
)
"""Phi-1 and Phi-2: one norm before attention and feed-forward side by side."""
