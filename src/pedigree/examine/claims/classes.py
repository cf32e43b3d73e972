# SPDX-License-Identifier: Apache-2.0
"""What one architecture is called by configurations, by GGUF, and by our role maps.

Only architectures with one meaning in all three are here; of others nothing is
compared.  Sources: classes of transformers 5, architectures of llama.cpp's converter,
:mod:`pedigree.fingerprint.families`.
"""

from __future__ import annotations

CLASSES = {
    "BertForMaskedLM": ("bert", "bert"),
    "BertModel": ("bert", "bert"),
    "BloomForCausalLM": ("bloom", "bloom"),
    "FalconForCausalLM": ("falcon", "falcon"),
    "GPT2LMHeadModel": ("gpt2", "gpt2"),
    "GPTBigCodeForCausalLM": ("gpt-bigcode", "starcoder"),
    "GPTJForCausalLM": ("gptj", "gptj"),
    "GPTNeoXForCausalLM": ("gpt-neox", "gptneox"),
    "Gemma2ForCausalLM": ("gemma2", "gemma2"),
    "Gemma3ForCausalLM": ("gemma2", "gemma3"),
    "GemmaForCausalLM": ("llama", "gemma"),
    "GptOssForCausalLM": ("gpt-oss", "gpt-oss"),
    "InternLM2ForCausalLM": ("internlm2", "internlm2"),
    "LlamaForCausalLM": ("llama", "llama"),
    "MPTForCausalLM": ("mpt", "mpt"),
    "MistralForCausalLM": ("llama", "llama"),
    "MixtralForCausalLM": ("llama", "llama"),
    "OPTForCausalLM": ("opt", ""),
    "Olmo2ForCausalLM": ("olmo2", "olmo2"),
    "Phi3ForCausalLM": ("phi3", "phi3"),
    "PhiForCausalLM": ("phi", "phi2"),
    "Qwen2ForCausalLM": ("llama", "qwen2"),
    "Qwen2MoeForCausalLM": ("llama", "qwen2moe"),
    "Qwen3ForCausalLM": ("llama", "qwen3"),
    "Qwen3MoeForCausalLM": ("llama", "qwen3moe"),
    "T5ForConditionalGeneration": ("t5", "t5"),
}
"""Class of a configuration: family of the role map, architecture of GGUF or empty."""
FAMILIES = frozenset(family for family, _ in CLASSES.values())
GGUF_NAMES = frozenset(name for _, name in CLASSES.values() if name)


def family_of(name: str) -> str:
    """Family in which tensors of a class are named, or empty if not known."""
    return CLASSES[name][0] if name in CLASSES else ""


def gguf_of(name: str) -> str:
    """What GGUF calls models of a class, or empty if not known."""
    return CLASSES[name][1] if name in CLASSES else ""
