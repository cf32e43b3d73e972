# SPDX-License-Identifier: Apache-2.0
"""Configurations that make a server run code that its user never allowed.

CVE-2025-66448, CVE-2026-22807: vLLM followed ``auto_map``, also into other
repositories, whatever ``trust_remote_code`` said.  CVE-2026-27893: it trusted the code
of sub-models always.  CVE-2026-4372: transformers fetched and ran the kernel that
``_attn_implementation_internal`` names.  CVE-2026-5241: it took ``trust_remote_code``
from a nested configuration of the model itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from artifact_world.weights import lay_out, matrix, weights
from pedigree import refs
from pedigree.evidence import Finding, Severity
from pedigree.examine import ExamineSettings, examine
from pedigree.examine.safety.configuration import FILES_MAX, walk
from pedigree.sources import SourceSettings

NOW = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)


def _examined(folder: Path, files: Mapping[str, Any]) -> dict[str, Finding]:
    lay_out(folder, {"model.safetensors": weights({"a": matrix()})})
    lay_out(
        folder,
        {
            path: text if isinstance(text, bytes) else json.dumps(text).encode()
            for path, text in files.items()
        },
    )
    settings = ExamineSettings(sources=SourceSettings())
    found = examine(refs.parse(f"file://{folder}"), settings=settings, now=NOW)
    return {finding.reason: finding for finding in found.evidence.findings}


CASES = {
    "CVE-2025-66448 auto_map to another repository": (
        {
            "architectures": ["Llama_Nemotron_Nano_VL"],
            "vision_config": {"auto_map": {"AutoConfig": "evil/repo--config.Config"}},
        },
        "ForeignCode",
        Severity.WARNING,
        "/vision_config/auto_map",
    ),
    "CVE-2026-22807 auto_map when a model is resolved": (
        {"auto_map": {"AutoModelForCausalLM": "modeling_x.Model"}},
        "RemoteCode",
        Severity.WARNING,
        "/auto_map",
    ),
    "CVE-2026-27893 code of a sub-model": (
        {"vision_config": {"auto_map": {"AutoModel": "vision.Model"}}},
        "RemoteCode",
        Severity.WARNING,
        "/vision_config/auto_map",
    ),
    "CVE-2026-4372 inner key of the kernel": (
        {"_attn_implementation_internal": "evil/kernel"},
        "HubKernel",
        Severity.ERROR,
        "/_attn_implementation_internal",
    ),
    "CVE-2026-4372 inner key, nested": (
        {"text_config": {"_experts_implementation_internal": "evil/kernel@main:f"}},
        "HubKernel",
        Severity.ERROR,
        "/text_config/_experts_implementation_internal",
    ),
    "CVE-2026-5241 trust within the configuration": (
        {
            "model_type": "lightglue",
            "keypoint_detector_config": {"trust_remote_code": True},
        },
        "RemoteCode",
        Severity.WARNING,
        "/keypoint_detector_config/trust_remote_code",
    ),
    "kernel of a hub": (
        {"attn_implementation": "kernels-community/flash-attn"},
        "HubKernel",
        Severity.WARNING,
        "/attn_implementation",
    ),
    "kernel of a hub for one part": (
        {"_attn_implementation": {"text_config": "a/b"}},
        "HubKernel",
        Severity.WARNING,
        "/_attn_implementation",
    ),
    "trust within a list": (
        {"parts": [{}, {"trust_remote_code": "yes"}]},
        "RemoteCode",
        Severity.WARNING,
        "/parts/1/trust_remote_code",
    ),
    "path that leads out": (
        {"vocab_path": "../../etc/passwd"},
        "OutsidePath",
        Severity.WARNING,
        "/vocab_path",
    ),
    "absolute path": (
        {"a/b": {"data_file": "/etc/passwd"}},
        "OutsidePath",
        Severity.WARNING,
        "/a~1b/data_file",
    ),
    "path of Windows": (
        {"model_path": "C:\\x"},
        "OutsidePath",
        Severity.WARNING,
        "/model_path",
    ),
    "address": (
        {"image_url": "http://169.254.169.254/latest"},
        "OutsidePath",
        Severity.WARNING,
        "/image_url",
    ),
    "address within a list": (
        {"files": ["a.txt"], "file": ["s3://bucket/x"]},
        "OutsidePath",
        Severity.WARNING,
        "/file",
    ),
    "variable of the environment": (
        {"cache_dir": "${HOME}/x"},
        "OutsidePath",
        Severity.WARNING,
        "/cache_dir",
    ),
    "path that loaders replace": (
        {"special_tokens_map_file": "/root/x.json"},
        "OutsidePath",
        Severity.INFO,
        "/special_tokens_map_file",
    ),
    "base on another machine": (
        {"base_model_name_or_path": "/home/me/out"},
        "LocalBase",
        Severity.INFO,
        "/base_model_name_or_path",
    ),
}
FILES = (
    "config.json",
    "adapter_config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "model_index.json",
    "params.json",
    "quantize_config.json",
    "text_encoder/config.json",
    "my_own_config.json",
)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_configuration_that_leads_to_code_is_told(
    tmp_path: Path, case: tuple[Any, str, Severity, str]
) -> None:
    config, reason, severity, pointer = case
    finding = _examined(tmp_path, {"config.json": config})[reason]
    assert (finding.severity, finding.path) == (severity, "config.json")
    assert pointer in finding.message


@pytest.mark.parametrize("path", FILES)
def test_every_configuration_that_servers_read_is_looked_at(
    tmp_path: Path, path: str
) -> None:
    found = _examined(tmp_path, {path: {"x": [{"trust_remote_code": True}]}})
    assert found["RemoteCode"].path == path


@pytest.mark.parametrize(
    ("path", "config", "pointer"),
    [
        ("modules.json", [{"type": "custom_st.Transformer"}], "/0/type"),
        (
            "adapter_config.json",
            {"auto_mapping": {"parent_library": "evil.module"}},
            "/auto_mapping/parent_library",
        ),
        ("model_index.json", {"_class_name": ["my_pipeline", "P"]}, "/_class_name"),
        ("config.json", {"custom_generate": "org/decode"}, "/custom_generate"),
        ("config.json", {"custom_pipelines": {"x": {"impl": "m.P"}}}, "/custom_pip"),
    ],
)
def test_modules_that_a_loader_imports_by_name_are_told(
    path: str, config: Any, pointer: str
) -> None:
    [sight] = walk(path, config)
    assert sight.reason == "RemoteCode"
    assert pointer in sight.detail


@pytest.mark.parametrize(
    ("path", "config"),
    [
        ("modules.json", [{"type": "sentence_transformers.models.Pooling"}]),
        (
            "adapter_config.json",
            {"auto_mapping": {"parent_library": "transformers.models.bert"}},
        ),
        ("config.json", {"rope_scaling": {"type": "linear"}}),
        ("model_index.json", {"_class_name": "FluxPipeline"}),
    ],
)
def test_modules_of_the_loader_itself_are_not_told(path: str, config: Any) -> None:
    assert list(walk(path, config)) == []


@pytest.mark.parametrize(
    "config",
    [
        {"trust_remote_code": False, "auto_map": {}, "custom_pipelines": None},
        {"_attn_implementation": "flash_attention_2", "attn_implementation": "sdpa"},
        {"_attn_implementation_internal": "eager", "attn_implementation": None},
        {"vocab_file": "vocab.txt", "path": "a/b.txt", "_name_or_path": "org/model"},
        {"base_model_name_or_path": "org/model", "use_cache": True, "file": 3},
        {"license": "https://example.org/license", "profile": "/x"},
    ],
)
def test_what_is_usual_is_not_told(config: dict[str, Any]) -> None:
    assert list(walk("config.json", config)) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"auto_map": 0, "auto_map": {"AutoModel": "m.M"}}', "DuplicateKey"),
        (b"{", "MalformedConfig"),
        (b'{"a":' * 100, "LimitExceeded"),
        (b"[" + b"0," * 600_000 + b"0]", "LimitExceeded"),
        (b'{"a":"' + b"x" * (9 << 20) + b'"}', "LimitExceeded"),
    ],
)
def test_a_configuration_that_two_readers_read_differently_is_an_error(
    tmp_path: Path, text: bytes, reason: str
) -> None:
    finding = _examined(tmp_path, {"generation_config.json": text})[reason]
    assert (finding.severity, finding.path) == (
        Severity.ERROR,
        "generation_config.json",
    )


def test_a_malformed_file_that_no_server_is_known_to_read_is_a_warning(
    tmp_path: Path,
) -> None:
    finding = _examined(tmp_path, {"my_own_config.json": b"{"})["MalformedConfig"]
    assert finding.severity is Severity.WARNING


def test_a_malformed_config_is_told_once(tmp_path: Path) -> None:
    lay_out(tmp_path, {"model.safetensors": weights({"a": matrix()})})
    lay_out(tmp_path, {"config.json": b"{"})
    settings = ExamineSettings(sources=SourceSettings())
    found = examine(refs.parse(f"file://{tmp_path}"), settings=settings, now=NOW)
    reasons = [finding.reason for finding in found.evidence.findings]
    assert reasons.count("MalformedConfig") == 1


def test_well_known_files_are_read_before_a_heap_of_others(tmp_path: Path) -> None:
    heap = {f"a/{n:03d}_config.json": b"{}" for n in range(FILES_MAX + 10)}
    files = {**heap, "z/config.json": {"auto_map": {"AutoModel": "m.M"}}}
    found = _examined(tmp_path, files)
    assert found["RemoteCode"].path == "z/config.json"
    assert found["LimitExceeded"].severity is Severity.WARNING


def test_deep_and_wide_configurations_are_walked_without_recursion() -> None:
    config: Any = {"trust_remote_code": True}
    for _ in range(50_000):
        config = [config]
    assert [s.reason for s in walk("config.json", config)] == ["RemoteCode"]
    config = {"auto_map": config}
    assert "RemoteCode" in {s.reason for s in walk("config.json", config)}


def test_a_thousand_keys_are_one_finding(tmp_path: Path) -> None:
    config = {f"k{n}": {"trust_remote_code": True} for n in range(1_000)}
    found = _examined(tmp_path, {"config.json": config})["RemoteCode"]
    assert "997 more like these" in found.message
