# SPDX-License-Identifier: Apache-2.0
"""What a configuration means where ``config.json`` is silent.

Model classes have default values, and some have other names for common fields.  A
reader of the file alone does not see them; these are the ones that MFI looks at, for
the commonest model types.  Sizes that every file states are not here.

Source: the configuration classes of transformers 5.23, asked one by one.  Other
versions have other defaults, so values that rest on this table are context only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEADS = object()
"""The number of attention heads."""

NAMES: Mapping[str, Mapping[str, str]] = {
    "gpt2": {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    "gptj": {
        "max_position_embeddings": "n_positions",
        "hidden_size": "n_embd",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    "bloom": {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head"},
    "distilbert": {
        "hidden_size": "dim",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
    },
    "t5": {
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
    },
    "gpt_bigcode": {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
}
"""By model type: common field name, and the name that the class uses."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "llama": {
        "num_key_value_heads": HEADS,
        "intermediate_size": 11008,
        "max_position_embeddings": 2048,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-06,
        "attention_bias": False,
        "rope_parameters": None,
    },
    "mistral": {
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "max_position_embeddings": 131072,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-06,
        "rope_parameters": None,
    },
    "mixtral": {
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "max_position_embeddings": 131072,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-05,
        "rope_parameters": None,
    },
    "qwen2": {
        "num_key_value_heads": 32,
        "intermediate_size": 22016,
        "max_position_embeddings": 32768,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-06,
        "rope_parameters": None,
    },
    "qwen2_moe": {
        "num_key_value_heads": 16,
        "intermediate_size": 5632,
        "max_position_embeddings": 32768,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-06,
        "rope_parameters": None,
    },
    "qwen3": {
        "num_key_value_heads": 32,
        "intermediate_size": 22016,
        "max_position_embeddings": 32768,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-06,
        "attention_bias": False,
        "rope_parameters": None,
    },
    "qwen3_moe": {
        "num_key_value_heads": 4,
        "intermediate_size": 6144,
        "max_position_embeddings": 32768,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-06,
        "attention_bias": False,
        "rope_parameters": None,
    },
    "gemma": {
        "num_key_value_heads": 16,
        "intermediate_size": 24576,
        "max_position_embeddings": 8192,
        "hidden_act": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-06,
        "attention_bias": False,
        "rope_parameters": None,
    },
    "gemma2": {
        "num_key_value_heads": 4,
        "intermediate_size": 9216,
        "max_position_embeddings": 8192,
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-06,
        "attention_bias": False,
        "query_pre_attn_scalar": 256,
        "rope_parameters": None,
    },
    "gemma3_text": {
        "num_key_value_heads": 4,
        "intermediate_size": 9216,
        "max_position_embeddings": 131072,
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-06,
        "attention_bias": False,
        "query_pre_attn_scalar": 256,
        "rope_parameters": None,
    },
    "phi": {
        "num_key_value_heads": HEADS,
        "intermediate_size": 8192,
        "max_position_embeddings": 2048,
        "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-05,
        "qk_layernorm": False,
        "rope_parameters": None,
    },
    "phi3": {
        "num_key_value_heads": HEADS,
        "intermediate_size": 8192,
        "max_position_embeddings": 4096,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-05,
        "rope_parameters": None,
    },
    "gpt2": {
        "max_position_embeddings": 1024,
        "layer_norm_epsilon": 1e-05,
    },
    "gpt_neox": {
        "intermediate_size": 24576,
        "max_position_embeddings": 2048,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-05,
        "attention_bias": True,
        "rope_parameters": None,
    },
    "gptj": {
        "max_position_embeddings": 2048,
        "layer_norm_epsilon": 1e-05,
    },
    "falcon": {
        "max_position_embeddings": 2048,
        "layer_norm_epsilon": 1e-05,
        "bias": False,
        "rope_parameters": None,
    },
    "bloom": {
        "layer_norm_epsilon": 1e-05,
    },
    "opt": {
        "ffn_dim": 3072,
        "max_position_embeddings": 2048,
    },
    "bert": {
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    },
    "roberta": {
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    },
    "xlm-roberta": {
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    },
    "distilbert": {
        "hidden_dim": 3072,
        "max_position_embeddings": 512,
    },
    "t5": {
        "d_ff": 2048,
        "layer_norm_epsilon": 1e-06,
    },
    "olmo2": {
        "num_key_value_heads": HEADS,
        "intermediate_size": 11008,
        "max_position_embeddings": 2048,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-05,
        "attention_bias": False,
        "rope_parameters": None,
    },
    "olmo3": {
        "num_key_value_heads": HEADS,
        "intermediate_size": 11008,
        "max_position_embeddings": 2048,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-05,
        "attention_bias": False,
        "rope_parameters": None,
    },
    "cohere": {
        "num_key_value_heads": HEADS,
        "intermediate_size": 22528,
        "max_position_embeddings": 8192,
        "hidden_act": "silu",
        "layer_norm_eps": 1e-05,
        "attention_bias": False,
        "rope_parameters": None,
    },
    "cohere2": {
        "num_key_value_heads": HEADS,
        "intermediate_size": 22528,
        "max_position_embeddings": 8192,
        "hidden_act": "silu",
        "layer_norm_eps": 1e-05,
        "attention_bias": False,
        "rope_parameters": None,
    },
    "granite": {
        "num_key_value_heads": HEADS,
        "intermediate_size": 11008,
        "max_position_embeddings": 2048,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-06,
        "attention_bias": False,
        "rope_parameters": None,
    },
    "starcoder2": {
        "num_key_value_heads": 2,
        "intermediate_size": 12288,
        "max_position_embeddings": 4096,
        "hidden_act": "gelu_pytorch_tanh",
        "rope_parameters": None,
    },
    "stablelm": {
        "num_key_value_heads": 32,
        "intermediate_size": 6912,
        "max_position_embeddings": 4096,
        "hidden_act": "silu",
        "layer_norm_eps": 1e-05,
        "qk_layernorm": False,
        "rope_parameters": None,
    },
    "gpt_bigcode": {
        "num_key_value_heads": 1,
        "max_position_embeddings": 1024,
        "layer_norm_epsilon": 1e-05,
    },
    "smollm3": {
        "num_key_value_heads": 4,
        "intermediate_size": 11008,
        "max_position_embeddings": 32768,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-06,
        "attention_bias": False,
        "rope_parameters": None,
    },
}
"""By model type: fields that the class has and their values if not stated."""
