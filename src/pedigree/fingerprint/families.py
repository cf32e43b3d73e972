# SPDX-License-Identifier: Apache-2.0
"""The families of tensor names that are understood.  Data only.

A name that no family here knows is mapped by structure or reported as unknown, never
guessed.  Sources: the files these families are published as, and the modules of
transformers 4.57 and 5; see ``docs/lineage.md``.
"""

from __future__ import annotations

from pedigree.fingerprint.families_encoder import BERT, DISTILBERT, T5
from pedigree.fingerprint.families_fused import (
    BLOOM,
    FALCON,
    GPT2,
    GPT_BIGCODE,
    GPTJ,
    INTERNLM2,
    MPT,
    NEOX,
    OPT,
    QWEN,
)
from pedigree.fingerprint.families_gguf import GGUF, GGUF_GPT_OSS
from pedigree.fingerprint.families_llama import (
    GEMMA2,
    GPT_OSS,
    LLAMA,
    LLAMA4,
    OLMO2,
    PHI,
    PHI3,
)

FAMILIES = (
    LLAMA,
    GPT2,
    NEOX,
    PHI3,
    GEMMA2,
    OLMO2,
    LLAMA4,
    GPT_OSS,
    PHI,
    INTERNLM2,
    FALCON,
    BLOOM,
    GPTJ,
    GPT_BIGCODE,
    QWEN,
    MPT,
    OPT,
    BERT,
    DISTILBERT,
    T5,
    GGUF,
    GGUF_GPT_OSS,
)
"""In the order of trial; of two that know equally much the earlier is taken."""

__all__ = ["FAMILIES", "GPT2", "LLAMA", "NEOX"]
