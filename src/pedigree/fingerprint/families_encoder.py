# SPDX-License-Identifier: Apache-2.0
"""Families with an encoder.  Data only."""

from __future__ import annotations

from pedigree.fingerprint.roles import DECODER, Family, Role, Rule

_BERT_BODY = {
    "embeddings.word_embeddings": Rule((Role.EMBEDDING,)),
    "embeddings.position_embeddings": Rule((Role.POSITION,)),
    "embeddings.token_type_embeddings": Rule((Role.TOKEN_TYPE,)),
    "embeddings.LayerNorm": Rule((Role.NORM_EMBEDDING,)),
    "encoder.layer.{l}.attention.self.query": Rule((Role.Q,)),
    "encoder.layer.{l}.attention.self.key": Rule((Role.K,)),
    "encoder.layer.{l}.attention.self.value": Rule((Role.V,)),
    "encoder.layer.{l}.attention.output.dense": Rule((Role.O,)),
    "encoder.layer.{l}.attention.output.LayerNorm": Rule((Role.NORM_MLP,)),
    "encoder.layer.{l}.crossattention.self.query": Rule((Role.CROSS_Q,)),
    "encoder.layer.{l}.crossattention.self.key": Rule((Role.CROSS_K,)),
    "encoder.layer.{l}.crossattention.self.value": Rule((Role.CROSS_V,)),
    "encoder.layer.{l}.crossattention.output.dense": Rule((Role.CROSS_O,)),
    "encoder.layer.{l}.crossattention.output.LayerNorm": Rule((Role.NORM_CROSS,)),
    "encoder.layer.{l}.intermediate.dense": Rule((Role.UP,)),
    "encoder.layer.{l}.output.dense": Rule((Role.DOWN,)),
    "encoder.layer.{l}.output.LayerNorm": Rule((Role.NORM_POST_MLP,)),
    "pooler.dense": Rule((Role.POOLER,)),
}
_BERT_HEAD = {
    "cls.predictions.decoder": Rule((Role.HEAD,)),
    "cls.predictions": Rule((Role.HEAD,)),
    "cls.predictions.transform.dense": Rule((Role.TRANSFORM,)),
    "cls.predictions.transform.LayerNorm": Rule((Role.NORM_TRANSFORM,)),
    "lm_head.decoder": Rule((Role.HEAD,)),
    "lm_head": Rule((Role.HEAD,)),
    "lm_head.dense": Rule((Role.TRANSFORM,)),
    "lm_head.layer_norm": Rule((Role.NORM_TRANSFORM,)),
}

BERT = Family(
    name="bert",
    prefixes=("bert.", "roberta.", "electra.", ""),
    rules={**_BERT_BODY, **_BERT_HEAD},
    buffers=("embeddings.position_ids", "embeddings.token_type_ids"),
)
"""BERT, RoBERTa and ELECTRA.

Norms stand behind the residual sum: that of attention's output scales what the
feed-forward block reads, that of the block's output what the next block reads.
"""

DISTILBERT = Family(
    name="distilbert",
    prefixes=("distilbert.", ""),
    rules={
        "embeddings.word_embeddings": Rule((Role.EMBEDDING,)),
        "embeddings.position_embeddings": Rule((Role.POSITION,)),
        "embeddings.LayerNorm": Rule((Role.NORM_EMBEDDING,)),
        "transformer.layer.{l}.attention.q_lin": Rule((Role.Q,)),
        "transformer.layer.{l}.attention.k_lin": Rule((Role.K,)),
        "transformer.layer.{l}.attention.v_lin": Rule((Role.V,)),
        "transformer.layer.{l}.attention.out_lin": Rule((Role.O,)),
        "transformer.layer.{l}.sa_layer_norm": Rule((Role.NORM_MLP,)),
        "transformer.layer.{l}.ffn.lin1": Rule((Role.UP,)),
        "transformer.layer.{l}.ffn.lin2": Rule((Role.DOWN,)),
        "transformer.layer.{l}.output_layer_norm": Rule((Role.NORM_POST_MLP,)),
        "vocab_projector": Rule((Role.HEAD,)),
        "vocab_transform": Rule((Role.TRANSFORM,)),
        "vocab_layer_norm": Rule((Role.NORM_TRANSFORM,)),
    },
)
"""DistilBERT."""


def _t5_block(stem: str, base: int, feed_forward: int) -> dict[str, Rule]:
    """Self-attention and feed-forward of one tower; the latter is part N of a block."""
    attention = stem + "layer.0.SelfAttention."
    dense = f"{stem}layer.{feed_forward}.DenseReluDense."
    return {
        attention + "q": Rule((Role.Q,), base=base),
        attention + "k": Rule((Role.K,), base=base),
        attention + "v": Rule((Role.V,), base=base),
        attention + "o": Rule((Role.O,), base=base),
        attention + "relative_attention_bias": Rule((Role.RELATIVE_BIAS,), base=base),
        stem + "layer.0.layer_norm": Rule((Role.NORM_ATTENTION,), base=base),
        dense + "wi": Rule((Role.UP,), base=base),
        dense + "wi_0": Rule((Role.GATE,), base=base),
        dense + "wi_1": Rule((Role.UP,), base=base),
        dense + "wo": Rule((Role.DOWN,), base=base),
        f"{stem}layer.{feed_forward}.layer_norm": Rule((Role.NORM_MLP,), base=base),
    }


_CROSS = "decoder.block.{l}.layer.1."

T5 = Family(
    name="t5",
    prefixes=("", "transformer.", "model."),
    rules={
        "shared": Rule((Role.EMBEDDING,)),
        "encoder.embed_tokens": Rule((Role.EMBEDDING,)),
        "decoder.embed_tokens": Rule((Role.EMBEDDING,)),
        "lm_head": Rule((Role.HEAD,)),
        "encoder.final_layer_norm": Rule((Role.NORM_ENCODER,)),
        "decoder.final_layer_norm": Rule((Role.NORM_FINAL,)),
        **_t5_block("encoder.block.{l}.", 0, 1),
        **_t5_block("decoder.block.{l}.", DECODER, 2),
        _CROSS + "EncDecAttention.q": Rule((Role.CROSS_Q,), base=DECODER),
        _CROSS + "EncDecAttention.k": Rule((Role.CROSS_K,), base=DECODER),
        _CROSS + "EncDecAttention.v": Rule((Role.CROSS_V,), base=DECODER),
        _CROSS + "EncDecAttention.o": Rule((Role.CROSS_O,), base=DECODER),
        _CROSS + "layer_norm": Rule((Role.NORM_CROSS,), base=DECODER),
    },
)
"""T5, mT5, UMT5 and Flan-T5; decoder blocks count from :data:`DECODER`."""
