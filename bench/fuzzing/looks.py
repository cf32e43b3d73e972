# SPDX-License-Identifier: Apache-2.0
"""Targets: vocabularies, signatures, and what is looked at beside the weights."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from bench.fuzzing.memory import HeldFile, held
from bench.fuzzing.stored import DATA, of_json
from bench.fuzzing.target import JSON, Target

import made_gguf
import made_tokenizers as made
from made_signatures import manifest_of, statement_of
from pedigree.digests import sha256
from pedigree.errors import ArtifactError
from pedigree.examine.claims.configs import adapter_declarations, config_declarations
from pedigree.examine.claims.mlflow import mlflow_declarations
from pedigree.examine.claims.packages import (
    kitfile_declarations,
    kubeflow_declarations,
    modelpack_declarations,
)
from pedigree.examine.facts import gather
from pedigree.examine.handed_back import SCHEMA, read_answer
from pedigree.examine.listing import list_model
from pedigree.examine.safety.templates import look_at
from pedigree.examine.seen import Seen
from pedigree.fingerprint.token_gguf import gguf_tokens
from pedigree.fingerprint.token_ranks import tekken_tokens, tiktoken_tokens
from pedigree.fingerprint.token_sentencepiece import sentencepiece_tokens
from pedigree.fingerprint.token_spelling import TokenBytes
from pedigree.fingerprint.vocabulary import vocabulary_of
from pedigree.limits import DEFAULT
from pedigree.signatures.contents import compare
from pedigree.signatures.statement import read_statement
from pedigree.signatures.trust import READERS, Trust, content_of
from pedigree.signatures.verdict import Worthless
from pedigree.signatures.verification import verify
from pedigree.tensors.gguf_header import read_gguf_header
from pedigree.tensors.gguf_tokens import stored_tokens

_WORDS = [b"a", b"ab", b" c", b"\xc3\xa9", b"\x00"]
_FILES = {"a.txt": b"A", "config.json": b"{}", "model.safetensors": b"weights"}
_TRUST = Trust.of(
    READERS[suffix](path.name.removesuffix(suffix), content_of(path))
    for suffix in READERS
    for path in sorted((DATA / "oms").glob(f"*{suffix}"))
)
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _vocabulary(read: Callable[[bytes], TokenBytes]) -> Callable[[bytes], None]:
    def parse(data: bytes) -> None:
        vocabulary_of(read(data))

    return parse


def _pieces() -> list[bytes]:
    texts = ["<unk>", "<0x41>", "\u2581a", "b", "\u00e9"]
    kinds = [2, 6, 1, 1, 4]
    pairs = zip(texts, kinds, strict=True)
    return [b"".join(made.piece(text, kind) for text, kind in pairs)]


def _gguf(data: bytes) -> None:
    file = HeldFile("m.gguf", data)
    stored = stored_tokens(read_gguf_header(file, DEFAULT), "m.gguf")
    if stored is not None:
        vocabulary_of(gguf_tokens(file, stored, 1 << 20))


def _gguf_seeds() -> list[bytes]:
    seeds = []
    for spelling, tokens in (
        ("gpt2", ["a", "\u0120b", "<s>"]),
        ("llama", ["<unk>", "\u2581a", "<0x41>", "[PAD3]"]),
        ("bert", ["[CLS]", "\u2581a", "b"]),
    ):
        keys = {"tokenizer.ggml.model": spelling, "tokenizer.ggml.tokens": tokens}
        pairs = [made_gguf.pair(*item) for item in keys.items()]
        seeds.append(made_gguf.file_of(pairs, [], b""))
    return seeds


def _template(data: bytes) -> None:
    look_at(data.decode("utf-8", "replace"), "chat_template.jinja")


def _template_seeds() -> list[bytes]:
    return [
        b"{% for m in messages %}{{ '<|' + m['role'] + '|>' + m.content }}{% endfor %}",
        b"{{ ''.__class__.__mro__[1].__subclasses__() }}",
        b"{% set n = namespace(x=1) %}{% if n.x is none %}{{ x|attr('y') }}{% endif %}",
        b"{% macro f(a, b=2) %}{{ a ~ b }}{% endmacro %}{{ f('%c' % 95 * 2) }}",
        b"{% generation %}{{ raise_exception() }}{% endgeneration %}{% include 'x' %}",
    ]  # fmt: skip


_TEMPLATE_WORDS = (
    b"{{", b"}}", b"{%", b"%}", b"{#", b"#}", b" for x in y ", b" endfor ", b"|attr(",
    b"__class__", b"|format", b"~", b"*", b"**", b"%", b"[", b"]", b"(", b")", b".",
    b" set x = ", b" if ", b" endif ", b"cycler", b"lipsum", b"range(", b"'", b'"',
    b" macro f(a) ", b" endmacro ", b" import 'a' as b ", b" recursive ", b"loop(",
)  # fmt: skip
_NAMES = (
    "config.json", "tokenizer_config.json", "chat_template.jinja", "README.md",
    "generation_config.json", "adapter_config.json", ".env", "notes.txt", "m.py",
    "MLmodel", "Kitfile", "additional_chat_templates/a.jinja", "model.sig", "x.bin",
    "chat_template.json", "processor_config.json", "tokenizer.json", "model.json",
)  # fmt: skip


def _looks(data: bytes) -> None:
    """One file under one of the names that somebody looks at."""
    if not data:
        return
    name = _NAMES[data[0] % len(_NAMES)]
    source = held({name: data[1:], "z.txt": b"z"})
    listing = list_model(source)
    for metadata in ({}, {name: {"tokenizer.chat_template": "{{ x }}"}}):
        gather(Seen(source=source, listing=listing, metadata=metadata, limits=DEFAULT))


def _looks_seeds() -> list[bytes]:
    config = {
        "auto_map": {"AutoModel": "org/repo--x.Y"},
        "_attn_implementation_internal": "org/kernel",
        "chat_template": [{"name": "default", "template": "{{ x.__class__ }}"}],
        "path": "../../etc/passwd",
        "nested": [{"trust_remote_code": True}],
    }
    texts = {
        1: json.dumps(config).encode(),
        2: _template_seeds()[0],
        3: b"---\nbase_model: a/b\n---\n",
        6: b"HF_TOKEN=hf_" + b"a" * 34 + b"\nAWS_SECRET_ACCESS_KEY=" + b"x" * 40,
        9: b"flavors:\n  transformers:\n    source_model_name: a/b\n",
        10: b"model:\n  name: a\n  license: mit\n  parts: []\n",
        13: b"PK\x05\x06" + bytes(18),
    }
    return [bytes([number]) + text for number, text in texts.items()]


def _yaml(data: bytes) -> None:
    for read in (mlflow_declarations, kitfile_declarations):
        with suppress(ArtifactError):
            read(data)


def _yaml_seeds() -> list[bytes]:
    return [
        b"flavors:\n  transformers:\n    source_model_name: a/b\n    task: x\n",
        b"manifestVersion: 1.0.0\nmodel:\n  name: a\n  path: m.gguf\n  license: mit\n",
    ]


def _claims(value: Any) -> None:
    if isinstance(value, dict):
        for read in (
            config_declarations,
            adapter_declarations,
            modelpack_declarations,
            kubeflow_declarations,
        ):
            list(read(value))


def _claims_seeds() -> list[bytes]:
    pack = {
        "descriptor": {"name": "a", "licenses": ["mit"], "sourceURL": "https://a/b"},
        "config": {"architecture": "llama", "paramSize": "7B"},
    }
    flow = {
        "name": "a",
        "modelSourceGroup": "g",
        "modelSourceName": "n",
        "uri": "s3://b",
    }
    config = {"architectures": ["A"], "_name_or_path": "a/b", "revision": "main"}
    adapter = {"base_model_name_or_path": "a/b", "revision": "x"}
    return [json.dumps(item).encode() for item in (pack, flow, config, adapter)]


def _bundle(data: bytes) -> None:
    verify(data, manifest_of(_FILES), _TRUST, at=_NOW)


def _bundle_seeds() -> list[bytes]:
    folder = DATA / "oms"
    ends = (".sig", ".bundle.json")
    kept = [path for path in sorted(folder.rglob("*")) if path.name.endswith(ends)]
    return [path.read_bytes() for path in kept if path.stat().st_size < 1 << 14]


def _statement(data: bytes) -> None:
    with suppress(Worthless):  # as it says; it becomes the verdict
        statement = read_statement(data, "model.sig")
        compare(statement, manifest_of(_FILES), "model.sig", held(_FILES))


def _statement_seeds() -> list[bytes]:
    made_ones = [statement_of(_FILES), statement_of(_FILES, shard_size=3)]
    seeds = [json.dumps(statement).encode() for statement in made_ones]
    for data in _bundle_seeds():
        with suppress(ValueError, KeyError, TypeError):
            seeds.append(base64.b64decode(json.loads(data)["dsseEnvelope"]["payload"]))
    return [seed for seed in seeds if len(seed) < 1 << 13]


def _answer(data: bytes) -> None:
    read_answer(data)


def _answer_seeds() -> list[bytes]:
    stated = {"bytes": 5, "digest": str(sha256(b"x"))}
    answer = {"schema": SCHEMA, "code": 0, "document": {"a": 1}, "fingerprint": stated}
    return [json.dumps(answer).encode()]


_STATEMENT_WORDS = (b"resources", b"digest", b"algorithm", b"sha256", b"blake2b",
                    b"name", b"serialization", b"method", b"files", b"shard_size",
                    b"ignore_paths", b"..", b"/a", b"a.txt:0:3")  # fmt: skip
TARGETS = (
    Target("sentencepiece", _vocabulary(sentencepiece_tokens), _pieces,
           (b"\x0a", b"\x12", b"\x18\x06", b"<0x41>", b"\xff\xff\xff\xff\x0f")),
    Target("tiktoken", _vocabulary(tiktoken_tokens), lambda: [made.ranks(_WORDS)],
           (b"YQ== 0\n", b" ", b"\n", b"=")),
    Target("tekken", _vocabulary(tekken_tokens),
           lambda: [made.tekken(_WORDS, ["<s>"], 3), made.tekken(_WORDS, None, 0)],
           (b"rank", b"token_bytes", b"default_vocab_size", b"YQ=="), JSON),
    Target("gguf-vocabulary", _gguf, _gguf_seeds,
           (b"tokenizer.ggml.tokens", b"tokenizer.ggml.model", b"gpt2", b"llama")),
    Target("chat-template", _template, _template_seeds, _TEMPLATE_WORDS,
           bytes_max=1024),
    Target("looks", _looks, _looks_seeds, _TEMPLATE_WORDS, bytes_max=2048),
    Target("claims-yaml", _yaml, _yaml_seeds,
           (b"- ", b"&a", b"*a", b"{", b"!!", b": ", b"model:", b"flavors:"),
           bytes_max=1024),
    Target("claims-json", of_json(_claims), _claims_seeds, (b"name", b"uri"), JSON),
    Target("signature-bundle", _bundle, _bundle_seeds,
           (b"mediaType", b"publicKey", b"x509CertificateChain", b"rawBytes",
            b"certificate", b"tlogEntries", b"inclusionProof", b"integratedTime",
            b"checkpoint", b"timestampVerificationData"), JSON,
           1 << 14),
    Target("signature-statement", _statement, _statement_seeds, _STATEMENT_WORDS, JSON,
           1 << 13),
    Target("handed-back", _answer, _answer_seeds, (b"code", b"fingerprint"), JSON),
)  # fmt: skip
"""In the order in which an examination meets them."""
