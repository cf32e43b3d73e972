# SPDX-License-Identifier: Apache-2.0
"""What each kind of file declares, and that reading it runs and multiplies nothing."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import made_gguf
import made_models
from artifact_world.weights import lay_out, source_of
from pedigree.errors import ArtifactError
from pedigree.evidence import Severity
from pedigree.examine import ExamineSettings, examine
from pedigree.examine.claims.card import card_declarations
from pedigree.examine.claims.configs import adapter_declarations, config_declarations
from pedigree.examine.claims.fields import VALUES_MAX, by_weight
from pedigree.examine.claims.gguf import gguf_declarations
from pedigree.examine.claims.mlflow import mlflow_declarations
from pedigree.examine.claims.packages import (
    kitfile_declarations,
    kubeflow_declarations,
    modelpack_declarations,
)
from pedigree.examine.claims.reading import ADAPTERS_MAX, read_declarations
from pedigree.limits import DEFAULT
from pedigree.refs import parse
from pedigree.sources import SourceSettings
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.gguf_header import ArrayRange, GgufHeader
from pedigree.tensors.gguf_words import words_of
from pedigree.tensors.remarks import Declared, Remark

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
KEYS = st.sampled_from(
    [
        *("architectures", "_name_or_path", "base_model_name_or_path", "revision"),
        *("descriptor", "config", "licenses", "name", "modelSourceName", "uri"),
        *("modelSourceGroup", "paramSize", "architecture", "sourceURL"),
    ]
)


def pairs(declared: list[Declared]) -> list[tuple[str, str]]:
    return [(item.field, item.value) for item in declared]


def _read(
    folder: Path, files: dict[str, bytes], metadata: dict[str, dict[str, str]]
) -> tuple[list[tuple[str, str, str]], list[Remark]]:
    declared, remarks = read_declarations(source_of(folder, files), DEFAULT, metadata)
    return [(item.field, item.value, item.source) for item in declared], remarks


def test_a_card_declares_more_than_its_base() -> None:
    card = b"""---
base_model: org/base
license: other
license_name: qwen-research
license_link: LICENSE
model_name: Sunny
quantized_by: someone
datasets: [a/b, c/d]
---
"""
    assert pairs(card_declarations(card)) == [
        ("baseModel", "org/base"),
        ("license", "other"),
        ("licenseName", "qwen-research"),
        ("licenseLink", "LICENSE"),
        ("modelName", "Sunny"),
        ("quantizedBy", "someone"),
        ("datasets", "a/b"),
        ("datasets", "c/d"),
    ]


def test_a_key_of_a_card_that_is_told_twice_is_told_twice() -> None:
    """Loaders take the last; a lie must not hide behind which one that is."""
    card = b"---\nbase_model: org/first\nbase_model: org/second\n---\n"
    assert [item.value for item in card_declarations(card)] == [
        "org/first",
        "org/second",
    ]


def test_configurations_declare_where_they_were_loaded_from() -> None:
    config = {"architectures": ["A", 7, "B"], "_name_or_path": "org/base"}
    assert pairs(list(config_declarations(config))) == [
        ("architecture", "A"),
        ("architecture", "B"),
        ("sourceUri", "org/base"),
    ]
    adapter = {"base_model_name_or_path": "org/base", "revision": "abc"}
    assert pairs(list(adapter_declarations(adapter))) == [
        ("baseModel", "org/base"),
        ("relation", "adapter"),
        ("baseModelRevision", "abc"),
    ]
    assert list(adapter_declarations({"revision": "abc"})) == []


def test_keys_of_gguf_name_a_base_by_its_address_and_else_by_its_title() -> None:
    keys = {
        "general.architecture": "llama",
        "general.name": "Sunny",
        "general.license": "llama3.1",
        "general.license.name": "ours",
        "general.quantized_by": "someone",
        "general.base_model.count": "900000000",
        "general.base_model.0.name": "Llama 3.1 8B",
        "general.base_model.0.repo_url": "https://huggingface.co/org/base",
        "general.base_model.1.name": "Other",
        "general.base_model.99.name": "beyond what is looked at",
        "general.source.url": "https://example.org/x",
        "general.dataset.0.name": "texts",
        "tokenizer.ggml.model": "gpt2",
    }
    assert pairs(list(gguf_declarations(keys, "m.gguf"))) == [
        ("baseModel", "https://huggingface.co/org/base"),
        ("baseModel", "Other"),
        ("license", "llama3.1"),
        ("licenseName", "ours"),
        ("architecture", "llama"),
        ("modelName", "Sunny"),
        ("quantizedBy", "someone"),
        ("sourceUri", "https://example.org/x"),
        ("datasets", "texts"),
    ]


def test_what_else_keys_of_gguf_tell_of_a_base_is_told() -> None:
    keys = {
        "general.base_model.0.name": "Llama 3.1 8B",
        "general.base_model.0.version": "v3.1",
        "general.base_model.0.organization": "Meta Llama",
        "general.base_model.0.doi": "10.57967/hf/1",
        "general.base_model.1.uuid": "6f9a-1",
        "general.license.link": "https://example.org/terms",
        "general.source.uuid": "6f9a-2",
        "general.datasets.0": "a/b",
        "general.datasets.1": "c/d",
    }
    assert pairs(list(gguf_declarations(keys, "m.gguf"))) == [
        ("baseModel", "Llama 3.1 8B"),
        ("baseModel", "6f9a-1"),
        ("licenseLink", "https://example.org/terms"),
        ("sourceUri", "6f9a-2"),
        ("baseModelVersion", "v3.1"),
        ("baseModelOrganization", "Meta Llama"),
        ("baseModelId", "10.57967/hf/1"),
        ("baseModelId", "6f9a-1"),
        ("datasets", "a/b"),
        ("datasets", "c/d"),
    ]


@pytest.mark.parametrize(
    ("place", "value", "bases"),
    [
        ("url", "https://huggingface.co/org/other", 2),
        ("name", "org/other", 2),
        ("url", "https://huggingface.co/Org/Base", 1),
        ("url", "https://example.org/blog/base", 1),
        ("name", "Other 8B", 1),
    ],
)
def test_a_second_repository_of_one_base_cannot_hide_behind_the_first(
    place: str, value: str, bases: int
) -> None:
    keys = {
        "general.base_model.0.repo_url": "https://huggingface.co/org/base",
        f"general.base_model.0.{place}": value,
    }
    told = [item.value for item in gguf_declarations(keys, "m.gguf")]
    assert told == ["https://huggingface.co/org/base", value][:bases]


MLMODEL = b"""
flavors:
  python_function: {loader_module: mlflow.transformers}
  transformers:
    source_model_name: org/base
    source_model_revision: abc
    pipeline_model_type: LlamaForCausalLM
%s
run_id: 1
"""


def test_mlflow_s_source_is_a_base_only_with_an_adapter() -> None:
    assert pairs(mlflow_declarations(MLMODEL % b"    peft_adaptor: peft")) == [
        ("baseModel", "org/base"),
        ("baseModelRevision", "abc"),
        ("architecture", "LlamaForCausalLM"),
        ("relation", "adapter"),
    ]
    assert pairs(mlflow_declarations(MLMODEL % b"")) == [
        ("sourceUri", "org/base"),
        ("architecture", "LlamaForCausalLM"),
    ]
    assert mlflow_declarations(b"flavors: {sklearn: {}}") == []


def test_a_kitfile_declares_its_model_before_its_package() -> None:
    text = b"""
manifestVersion: 1.0.0
package: {name: whole, license: MIT}
model: {name: sunny, path: ./m.safetensors}
datasets: [{name: texts, path: x.csv}, plain, {path: y}]
"""
    assert pairs(kitfile_declarations(text)) == [
        ("modelName", "sunny"),
        ("license", "MIT"),
        ("datasets", "texts"),
    ]
    assert kitfile_declarations(b"datasets: {a: {name: x}}\nmodel: plain") == []


def test_documents_of_registries_are_read_where_somebody_put_them(
    tmp_path: Path,
) -> None:
    pack = {
        "descriptor": {
            "name": "xyz-3-8B",
            "licenses": ["Apache-2.0"],
            "sourceURL": "https://example.org/x",
        },
        "config": {"architecture": "transformer", "paramSize": "8b"},
    }
    kubeflow = {
        "artifactType": "model-artifact",
        "name": "sunny",
        "uri": "s3://bucket/sunny",
        "modelSourceGroup": "org",
        "modelSourceName": "base",
    }
    files = {
        "model-config.json": json.dumps(pack).encode(),
        "model-artifact.json": json.dumps(kubeflow).encode(),
    }
    declared, remarks = _read(tmp_path, files, {})
    assert declared == [
        ("license", "Apache-2.0", "model-config.json"),
        ("architecture", "transformer", "model-config.json"),
        ("parameters", "8b", "model-config.json"),
        ("modelName", "xyz-3-8B", "model-config.json"),
        ("sourceUri", "https://example.org/x", "model-config.json"),
        ("modelName", "sunny", "model-artifact.json"),
        ("sourceUri", "org/base", "model-artifact.json"),
        ("sourceUri", "s3://bucket/sunny", "model-artifact.json"),
    ]
    assert remarks == []


@pytest.mark.parametrize("kind", ["adapter", "model", ""])
def test_an_adapter_as_gguf_declares_the_model_that_it_belongs_to(kind: str) -> None:
    base = {"general.base_model.0.repo_url": "https://hf.co/org/base"}
    keys = {"general.type": kind} if kind else {}
    declared = pairs(list(gguf_declarations(base | keys, "a.gguf")))
    assert declared[0] == ("baseModel", "https://hf.co/org/base")
    assert (("relation", "adapter") in declared) == (kind == "adapter")
    assert list(gguf_declarations(keys, "a.gguf")) == []


@pytest.mark.parametrize(
    ("listed", "kept"),
    [
        (["a/b", "c/d"], ["a/b", "c/d"]),
        ([f"d{number}" for number in range(12)], [f"d{x}" for x in range(VALUES_MAX)]),
        (["a/b", "x" * 9000, "c/d"], ["a/b"]),
        (["x" * 70_000], []),
        ([], []),
        ("one", []),
        ("x" * 70_000, []),
        (7, []),
    ],
    ids=["two", "many", "long", "very long", "none", "text", "long text", "number"],
)
def test_a_list_of_data_sets_in_gguf_is_read_as_far_as_anybody_keeps_it(
    tmp_path: Path, listed: object, kept: list[str]
) -> None:
    keys = {**made_gguf.llama_keys(), "general.datasets": listed}
    weights = made_gguf.file_bytes(made_gguf.converted(made_models.llama(1)), keys)
    source = source_of(tmp_path, {"model.gguf": weights})
    metadata = Checkpoint.open(source).metadata
    said = metadata["model.gguf"]
    assert [said[key] for key in said if key.startswith("general.datasets")] == kept
    declared, _ = read_declarations(source, DEFAULT, metadata)
    assert [x.value for x in declared if x.field == "datasets"] == kept


def test_a_list_of_numbers_is_not_read_as_texts(tmp_path: Path) -> None:
    raw = (3).to_bytes(8, "little") + b"abc" + bytes(5)
    places = {"general.datasets": ArrayRange(10, 2, 0, 16)}
    header = GgufHeader(3, {}, places, (), 32)
    file = source_of(tmp_path, {"m.gguf": raw}).open("m.gguf")
    assert words_of(header, file) == {}


def test_a_gguf_model_is_examined_with_its_keys(tmp_path: Path) -> None:
    weights = made_gguf.file_bytes(
        made_gguf.converted(made_models.llama(1)),
        {
            **made_gguf.llama_keys(),
            "general.license": "llama3",
            "general.license.name": "ours",
            "general.size_label": "8B",
            "general.dataset.0.name": "texts",
            "general.base_model.0.repo_url": "https://hf.co/org/base",
        },
    )
    card = b"---\nlicense: mit\n---\n"
    ref = lay_out(tmp_path, {"model.gguf": weights, "README.md": card})
    evidence = examine(
        parse(f"file://{ref}"),
        settings=ExamineSettings(sources=SourceSettings()),
        now=datetime(2026, 1, 2, tzinfo=UTC),
    ).evidence
    assert [(c.field, c.value, c.source) for c in evidence.claims] == [
        ("baseModel", "https://hf.co/org/base", "model.gguf"),
        ("license", "mit", "README.md"),
        ("license", "llama3", "model.gguf"),
        ("licenseName", "ours", "model.gguf"),
        ("architecture", "llama", "model.gguf"),
        ("parameters", "8B", "model.gguf"),
        ("modelName", "made", "model.gguf"),
        ("datasets", "texts", "model.gguf"),
    ]
    assert [(f.reason, f.severity) for f in evidence.findings] == [
        ("DeclarationContradicted", Severity.WARNING),
        ("DeclarationsDisagree", Severity.WARNING),
    ]


def test_a_configuration_of_another_architecture_is_a_finding(tmp_path: Path) -> None:
    folder = made_models.write(tmp_path, made_models.llama(1))
    config = json.dumps({"architectures": ["GPT2LMHeadModel"]}).encode()
    pack = json.dumps({"config": {"paramSize": "8b"}}).encode()
    lay_out(folder, {"config.json": config, "model-config.json": pack})
    evidence = examine(
        parse(f"file://{folder}"),
        settings=ExamineSettings(sources=SourceSettings()),
        now=datetime(2026, 1, 2, tzinfo=UTC),
    ).evidence
    found = [(f.reason, f.path) for f in evidence.findings]
    assert found == [
        ("DeclarationContradicted", "config.json"),
        ("DeclarationContradicted", "model-config.json"),
    ]


def test_shards_say_one_thing_once_and_other_formats_have_no_such_keys(
    tmp_path: Path,
) -> None:
    keys = {"general.license": "mit"}
    others = {"general.license": "apache-2.0"}
    metadata = {"b.gguf": keys, "a.gguf": keys, "c.safetensors": others}
    declared, _ = _read(tmp_path, {"x": b""}, metadata)
    assert declared == [("license", "mit", "a.gguf")]


@pytest.mark.parametrize(
    ("path", "content", "reason", "severity"),
    [
        ("config.json", b"[", "MalformedConfig", "Error"),
        ("adapter_config.json", b"[]", "MalformedConfig", "Error"),
        ("model-config.json", b'{"a":1,"a":2}', "DuplicateKey", "Warning"),
        ("model-artifact.json", b"{", "MalformedConfig", "Warning"),
        ("README.md", b"---\na: [\n---\n", "MalformedModelCard", "Warning"),
        ("MLmodel", b"a: [", "MalformedDeclaration", "Warning"),
        ("MLmodel", b"[" * 30_000, "MalformedDeclaration", "Warning"),
        ("MLmodel", b"\0", "MalformedDeclaration", "Warning"),
        ("MLmodel", b"a: " + b"x" * 70_000, "DeclarationsNotRead", "Info"),
        ("Kitfile", b"a: *none", "MalformedDeclaration", "Warning"),
        ("README.md", b"---\na: " + b"x" * 70_000, "DeclarationsNotRead", "Info"),
    ],
)
def test_a_file_that_cannot_be_understood_is_told_and_ends_nothing(
    tmp_path: Path, path: str, content: bytes, reason: str, severity: str
) -> None:
    files = {path: content}
    if path != "config.json":
        files["config.json"] = b'{"architectures": ["A"]}'
    begin = time.process_time()
    declared, remarks = _read(tmp_path, files, {})
    assert [(r.reason, r.path, r.severity) for r in remarks] == [
        (reason, path, severity)
    ]
    wanted = [] if path == "config.json" else [("architecture", "A", "config.json")]
    assert declared == wanted
    assert time.process_time() - begin < 10


def test_a_long_card_with_its_front_matter_in_front_is_whole(tmp_path: Path) -> None:
    for start in (b"---\nlicense: mit\n---\n", b"# a title\n"):
        _, remarks = _read(tmp_path, {"README.md": start + b"x" * 70_000}, {})
        assert remarks == []


ADAPTER = b'{"base_model_name_or_path": "org/base", "revision": "abc"}'
WEIGHTS = "model.safetensors"


@pytest.mark.parametrize(
    "other",
    ["training_args.bin", "tokenizer.json", "support/adapter_model.safetensors"],
)
def test_an_adapter_in_a_folder_is_the_model_where_there_is_nothing_else(
    tmp_path: Path, other: str
) -> None:
    path = "support/adapter_config.json"
    found, remarks = _read(tmp_path, {path: ADAPTER, other: b"{}"}, {})
    assert found == [
        ("baseModel", "org/base", path),
        ("relation", "adapter", path),
        ("baseModelRevision", "abc", path),
    ]
    assert remarks == []


@pytest.mark.parametrize(
    "own",
    [
        *(WEIGHTS, "model.gguf", "pytorch_model.bin", f"base/{WEIGHTS}"),
        "model.safetensors.index.json",
    ],
)
def test_an_adapter_beside_weights_says_nothing_of_their_base(
    tmp_path: Path, own: str
) -> None:
    files = {"a/adapter_config.json": ADAPTER, "a/b/adapter_config.json": ADAPTER}
    found, _ = _read(tmp_path, {**files, own: b""}, {})
    assert found == [("adapterBase", "org/base", path) for path in files]


def test_an_adapter_below_another_one_says_nothing_of_its_base(tmp_path: Path) -> None:
    below = "checkpoint-5/adapter_config.json"
    other = b'{"base_model_name_or_path": "org/other"}'
    found, _ = _read(tmp_path, {"adapter_config.json": ADAPTER, below: other}, {})
    assert [row for row in found if row[2] == below] == [
        ("adapterBase", "org/other", below)
    ]


@pytest.mark.parametrize(("own", "severity"), [(WEIGHTS, "Warning"), ("a", "Error")])
def test_an_adapter_s_configuration_that_cannot_be_read_is_told_with_its_place(
    tmp_path: Path, own: str, severity: str
) -> None:
    files = {"x/adapter_config.json": b"{", "y/adapter_config.json": ADAPTER, own: b""}
    found, remarks = _read(tmp_path, files, {})
    assert {row[2] for row in found} == {"y/adapter_config.json"}
    assert [(each.reason, each.severity, each.path) for each in remarks] == [
        ("MalformedConfig", severity, "x/adapter_config.json")
    ]


def test_of_very_many_adapters_some_are_read_and_the_rest_is_told(
    tmp_path: Path,
) -> None:
    files = {f"{n:02}/adapter_config.json": ADAPTER for n in range(ADAPTERS_MAX + 3)}
    found, remarks = _read(tmp_path, {**files, WEIGHTS: b""}, {})
    assert [row[2] for row in found] == list(files)[:ADAPTERS_MAX]
    ((reason, path),) = [(each.reason, each.path) for each in remarks]
    assert (reason, path) == ("DeclarationsNotRead", list(files)[ADAPTERS_MAX])


def test_a_list_gives_no_more_than_a_few_values() -> None:
    many = [f"org/{i}" for i in range(1000)]
    card = b"---\nbase_model: " + json.dumps(many).encode() + b"\n---\n"
    assert len(card_declarations(card)) == VALUES_MAX
    keys = {f"general.base_model.{i}.name": "x" for i in range(1000)}
    assert len(list(gguf_declarations(keys, "m.gguf"))) == VALUES_MAX
    assert len(list(config_declarations({"architectures": many}))) == VALUES_MAX
    kit = "datasets: [" + "{name: x}," * 1000 + "]"
    assert len(kitfile_declarations(kit.encode())) == VALUES_MAX


@pytest.mark.parametrize("value", ["", "x" * 257, "a\nb", "a\u202eb"])
def test_a_value_that_is_empty_too_long_or_not_printable_is_passed_over(
    value: str,
) -> None:
    assert list(config_declarations({"architectures": [value]})) == []
    assert list(gguf_declarations({"general.license": value}, "m.gguf")) == []


def test_what_policies_compare_stands_first() -> None:
    declared = [
        Declared("datasets", "d", "a"),
        Declared("sourceUri", "s", "a"),
        Declared("chatTemplate", "t", "a"),
        Declared("license", "l", "a"),
        Declared("baseModel", "b", "z"),
        Declared("baseModel", "b", "z"),
        Declared("baseModel", "a", "a"),
    ]
    assert [item.value for item in by_weight(declared)] == [
        *("b", "a", "l", "t", "s", "d"),
    ]


def _is_kept(declared: list[Declared]) -> bool:
    return all(
        item.value.isprintable() and 0 < len(item.value) <= 256 for item in declared
    )


@given(st.text(max_size=80) | st.binary(max_size=80))
def test_any_yaml_is_read_or_a_named_error(text: str | bytes) -> None:
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    readers: tuple[tuple[Any, bytes, str], ...] = (
        (card_declarations, b"---\n" + raw + b"\n---\n", "MalformedModelCard"),
        (
            mlflow_declarations,
            b"flavors: {transformers: " + raw,
            "MalformedDeclaration",
        ),
        (kitfile_declarations, b"model: " + raw, "MalformedDeclaration"),
    )
    for read, content, reason in readers:
        given_reason = reason
        try:
            assert _is_kept(read(content))
        except ArtifactError as error:
            given_reason = error.reason
        assert given_reason == reason


@given(st.dictionaries(KEYS, JSON | st.dictionaries(KEYS, JSON)))
def test_any_json_is_read(document: dict[str, Any]) -> None:
    for read in (
        config_declarations,
        adapter_declarations,
        modelpack_declarations,
        kubeflow_declarations,
    ):
        assert _is_kept(list(read(document)))


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *("general.license", "general.name", "general.source.url"),
                *("general.base_model.0.name", "general.base_model.7.repo_url"),
                *("general.base_model.0.doi", "general.base_model.0.version"),
            ]
        ),
        st.text(max_size=300),
    )
)
def test_any_keys_of_gguf_are_read(keys: dict[str, str]) -> None:
    assert _is_kept(list(gguf_declarations(keys, "m.gguf")))
