# SPDX-License-Identifier: Apache-2.0
"""Targets: configurations, model cards, tokenizers, references."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from bench.fuzzing.memory import held
from bench.fuzzing.target import JSON, Target

from pedigree.errors import PedigreeError
from pedigree.examine.claims.card import card_declarations
from pedigree.examine.claims.reading import read_declarations
from pedigree.fingerprint.adapters import adapter_modules
from pedigree.fingerprint.hints import read_hints
from pedigree.fingerprint.token_bytes import tokenizer_tokens, vocabulary_tokens
from pedigree.fingerprint.vocabulary import vocabulary_of
from pedigree.limits import DEFAULT
from pedigree.lineage.context.anchors import anchor_ids
from pedigree.lineage.context.documents import read_document
from pedigree.lineage.context.encoding import UnknownPart
from pedigree.lineage.context.metadata import Metadata, mfi, read_metadata
from pedigree.lineage.context.model import Absent
from pedigree.lineage.context.records import record_features
from pedigree.lineage.context.tokens import token_features
from pedigree.lineage.context.vocabulary import read_vocabulary
from pedigree.refs import parse
from pedigree.tensors.quantisation import read_quantisation

_CONFIG_WORDS = tuple(
    word.encode()
    for word in (
        "model_type", "architectures", "auto_map", "trust_remote_code", "text_config",
        "quantization_config", "hidden_size", "num_attention_heads", "head_dim",
        "num_key_value_heads", "num_hidden_layers", "vocab_size", "rope_theta",
        "rope_scaling", "rope_parameters", "intermediate_size", "hidden_act", "llama",
        "gpt2", "base_model_name_or_path", "custom_pipelines", "quant_method",
        "tie_word_embeddings", "attention_bias", "layer_types", "num_experts",
    )
)  # fmt: skip
_TOKENIZER_WORDS = tuple(
    word.encode()
    for word in (
        "model", "vocab", "merges", "type", "BPE", "Unigram", "WordPiece", "WordLevel",
        "added_tokens", "content", "id", "normalizer", "pre_tokenizer", "decoder",
        "ByteLevel", "Metaspace", "Sequence", "pretokenizers", "normalizers", "Split",
        "pattern", "Regex", "String", "Replace", "Prepend", "NFC", "Digits", "behavior",
        "Isolated", "Removed", "byte_fallback", "unk_token", "unk_id", "special",
        "Ġ", "▁", "<0x41>", "##a", "BertNormalizer", "BertPreTokenizer", "Punctuation",
        "invert", "add_prefix_space", "replacement", "prepend_scheme", "use_regex",
    )
)  # fmt: skip
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "vocab_size": 160,
    "rope_theta": 10000.0,
    "rope_scaling": {"type": "linear", "factor": 2.0},
    "auto_map": {"AutoModel": "x.Y"},
    "quantization_config": {"quant_method": "gptq", "bits": 4},
}


def _config(data: bytes) -> None:
    source = held({"config.json": data})
    sizes = {"config.json": len(data)}
    read_declarations(source, DEFAULT)
    read_hints(source, DEFAULT)
    read_quantisation(source, sizes, DEFAULT)


def _known() -> Metadata:
    known = record_features(CONFIG, {}, {}, whole_norms=False).metadata
    assert not isinstance(known, Absent)
    return known


def _context(data: bytes) -> None:
    """What the context signals take of a configuration."""
    tokenizer = _tokenizer_seeds()[0]
    source = held({"config.json": data, "tokenizer.json": tokenizer})
    document = read_document(source, "config.json") or {}
    vocabulary = read_vocabulary(source)
    assert not isinstance(vocabulary, Absent)  # the tokenizer is a right one
    found = read_metadata(document, token_features(vocabulary))
    if not isinstance(found, Absent):
        mfi(_known(), found)


def _record(data: bytes) -> None:
    """What they take of a record, which may hold integers of any length."""
    try:
        recorded = json.loads(data)
    except (ValueError, RecursionError):  # its readers refuse it
        return
    if isinstance(recorded, dict):
        found = record_features(recorded, {}, {}, whole_norms=False).metadata
        if not isinstance(found, Absent):
            mfi(_known(), found)


def _config_seeds() -> list[bytes]:
    vision = {"model_type": "llava", "text_config": CONFIG, "vision_config": {}}
    return [json.dumps(CONFIG).encode(), json.dumps(vision).encode(), b"{}"]


def _adapter(data: bytes) -> None:
    """The configuration of an adapter, and names of its tensors taken from it."""
    source = held({"adapter_config.json": data})
    read_declarations(source, DEFAULT)
    names = data.decode("utf-8", "replace").split('"')
    adapter_modules(dict.fromkeys(names, (2, 4)))


def _adapter_seeds() -> list[bytes]:
    names = [f"base_model.model.model.layers.0.self_attn.q_proj.lora_{factor}.weight"
             for factor in "AB"]  # fmt: skip
    config = {"base_model_name_or_path": "org/base", "target_modules": names}
    return [json.dumps(config | {"peft_type": "LORA", "r": 8}).encode()]


def _card(data: bytes) -> None:
    card_declarations(data)


def _card_seeds() -> list[bytes]:
    return [
        b"---\nbase_model: org/base\nbase_model_relation: merge\nlicense: mit\n---\n",
        b"---\nbase_model:\n- a/b\n- &x c/d\ntags: *x\n---\n# Title\n",
        b"---\nlicense: [mit, {a: !!python/object:os.system x}]\n---\n",
    ]


def _tokenizer(data: bytes) -> None:
    vocabulary_of(tokenizer_tokens(data))


def _tokenizer_context(data: bytes) -> None:
    vocabulary = read_vocabulary(held({"tokenizer.json": data}))
    if not isinstance(vocabulary, Absent):
        token_features(vocabulary)
        with suppress(UnknownPart):  # as it says; the signal is absent then
            anchor_ids(vocabulary, 100)


def _tokenizer_config(data: bytes) -> None:
    files = {"tokenizer.json": _tokenizer_seeds()[0]}
    for name in ("tokenizer_config.json", "special_tokens_map.json", "config.json"):
        read_vocabulary(held(files | {name: data}))


def _tokenizer_seeds() -> list[bytes]:
    added = [{"id": 4, "content": "<s>", "special": True}]
    bpe = {
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġa": 3},
                  "merges": ["a b", ["Ġ", "a"]]},
    }  # fmt: skip
    split = {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s+"},
             "behavior": "Isolated", "invert": False}  # fmt: skip
    sequence = bpe | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        split, {"type": "Digits", "individual_digits": True}]}}  # fmt: skip
    unigram = {
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁"},
        "model": {"type": "Unigram", "unk_id": 0,
                  "vocab": [["<unk>", 0.0], ["▁a", -1.5], ["b", -2.0]]},
    }  # fmt: skip
    piece = {
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]",
                  "continuing_subword_prefix": "##",
                  "vocab": {"[UNK]": 0, "a": 1, "##b": 2}},
    }  # fmt: skip
    return [json.dumps(item).encode() for item in (bpe, sequence, unigram, piece)]


def _tokenizer_config_seeds() -> list[bytes]:
    config = {
        "tokenizer_class": "LlamaTokenizerFast",
        "added_tokens_decoder": {"5": {"content": "</s>", "special": True}},
        "bos_token": "<s>",
        "eos_token": {"content": "</s>"},
        "model_type": "gemma",
        "pad_token": None,
    }
    return [json.dumps(config).encode()]


def _vocab(data: bytes) -> None:
    vocabulary_of(vocabulary_tokens(data))


def _vocab_seeds() -> list[bytes]:
    return [b'{"a":0,"\\u0120b":1,"<0x41>":2}', b'{"##a":0,"[UNK]":7,"\\u2581x":3}']


def _refs(data: bytes) -> None:
    ref = parse(data.decode("utf-8", "replace"))
    try:
        again = parse(str(ref))
    except PedigreeError as error:  # what was read cannot be written: not a refusal
        raise AssertionError(str(ref)) from error
    assert again == ref, (ref, again)


def _refs_seeds() -> list[bytes]:
    return [
        b"file:///models/a", b"hf://org/repo@main#sub/a.gguf", b"s3://bucket/key@v1",
        b"oci://host:5000/a/b:tag#x", b"https://host/a/model.gguf@sha256:" + b"0" * 64,
        b"pvc://claim/path", b"gs://bucket", b"az://bucket/a/b",
        b"oci://host/a:tag@sha256:" + b"0" * 64,
    ]  # fmt: skip


TARGETS = (
    Target("config", _config, _config_seeds, _CONFIG_WORDS, JSON),
    Target("config-context", _context, _config_seeds, _CONFIG_WORDS, JSON),
    Target("kit-record", _record, _config_seeds, _CONFIG_WORDS, JSON),
    Target("adapter-config", _adapter, _adapter_seeds, _CONFIG_WORDS, JSON),
    Target("model-card", _card, _card_seeds,
           (b"---\n", b"base_model:", b"license:", b"- ", b"&a", b"*a", b"{", b"[",
            b"!!", b"? ", b": ", b"|\n", b"%YAML 1.1\n", b"\t"), bytes_max=2048),
    Target("tokenizer", _tokenizer, _tokenizer_seeds, _TOKENIZER_WORDS, JSON),
    Target("tokenizer-context", _tokenizer_context, _tokenizer_seeds,
           _TOKENIZER_WORDS, JSON),
    Target("tokenizer-config", _tokenizer_config, _tokenizer_config_seeds,
           _TOKENIZER_WORDS, JSON),
    Target("vocabulary", _vocab, _vocab_seeds, _TOKENIZER_WORDS, JSON),
    Target("references", _refs, _refs_seeds,
           (b"file://", b"hf://", b"s3://", b"oci://", b"https://", b"pvc://", b"@",
            b"#", b":", b"/", b"..", b"sha256:", b"%2e"), bytes_max=1100),
)  # fmt: skip
"""In the order in which an examination reads them."""
