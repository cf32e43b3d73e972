# SPDX-License-Identifier: Apache-2.0
"""What a model's files declare, and that reading it runs nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact_world.weights import source_of
from pedigree.errors import ArtifactError
from pedigree.examine.claims.card import card_declarations
from pedigree.examine.claims.reading import read_declarations
from pedigree.limits import DEFAULT
from pedigree.tensors.remarks import Declared, Remark


def _read(
    folder: Path, files: dict[str, bytes]
) -> tuple[list[tuple[str, str, str]], list[Remark]]:
    declared, remarks = read_declarations(source_of(folder, files), DEFAULT)
    return [(item.field, item.value, item.source) for item in declared], remarks


def test_the_model_card_declares_base_relation_and_licence(tmp_path: Path) -> None:
    card = b"""---
license: apache-2.0
base_model:
  - org/base
  - org/other
base_model_relation: merge
tags: [a, b]
---
# A model
base_model: not/this
"""
    declared, remarks = _read(tmp_path, {"README.md": card})
    assert declared == [
        ("license", "apache-2.0", "README.md"),
        ("baseModel", "org/base", "README.md"),
        ("baseModel", "org/other", "README.md"),
        ("relation", "merge", "README.md"),
    ]
    assert remarks == []


def test_configurations_declare_architecture_and_adapter_base(tmp_path: Path) -> None:
    files = {
        "config.json": json.dumps({"architectures": ["LlamaForCausalLM"]}).encode(),
        "adapter_config.json": json.dumps(
            {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 8}
        ).encode(),
    }
    declared, remarks = _read(tmp_path, files)
    assert declared == [
        ("baseModel", "org/base", "adapter_config.json"),
        ("relation", "adapter", "adapter_config.json"),
        ("architecture", "LlamaForCausalLM", "config.json"),
    ]
    assert remarks == []


def test_infinity_in_a_configuration_is_understood(tmp_path: Path) -> None:
    config = b'{"time_step_limit": [0.0, Infinity], "architectures": ["Mamba"]}'
    declared, remarks = _read(tmp_path, {"config.json": config})
    assert declared == [("architecture", "Mamba", "config.json")]
    assert remarks == []


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (b"", "MalformedConfig"),
        (b"[]", "MalformedConfig"),
        (b"{", "MalformedConfig"),
        (b"\xff", "MalformedConfig"),
        (b'{"a":1,"a":2}', "DuplicateKey"),
        (b'{"a":' * 100_000, "LimitExceeded"),
        (b'{"a":"' + b"x" * (5 << 20) + b'"}', "LimitExceeded"),
    ],
)
def test_a_malformed_configuration_is_an_error_that_is_told(
    tmp_path: Path, config: bytes, reason: str
) -> None:
    declared, remarks = _read(tmp_path, {"config.json": config})
    assert declared == []
    assert [(r.reason, r.severity, r.path) for r in remarks] == [
        (reason, "Error", "config.json")
    ]


@pytest.mark.parametrize(
    "text",
    [b"", b"# title", b"---\nlicense: mit\n", b"---\n- a\n---\n", b"---\n---\n",
     b"---\nlicense: {a: b}\n---\n", b"---\nlicense: ''\n---\n",
     b"---\nlicense: \"a\\nb\"\n---\n", b"---\n[license]: mit\n---\n"],
)  # fmt: skip
def test_a_card_that_declares_nothing_is_no_error(text: bytes) -> None:
    assert card_declarations(text) == []


@pytest.mark.parametrize(
    "front",
    [
        b"license: [",
        b"license: mit\n\tx: y",
        b"a: " + b"[" * 30_000,
        b"{a: " * 10_000,
        b"a: *unknown",
    ],
)
def test_a_malformed_card_is_told(tmp_path: Path, front: bytes) -> None:
    card = b"---\n" + front + b"\n---\n"
    begin = time.process_time()
    _, remarks = _read(tmp_path, {"README.md": card})
    assert [(r.reason, r.severity) for r in remarks] == [
        ("MalformedModelCard", "Warning")
    ]
    assert time.process_time() - begin < 10


def test_a_card_constructs_no_objects(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    card = f"---\nlicense: !!python/object/apply:os.mkdir ['{mark}']\n---\n".encode()
    assert card_declarations(card) == [Declared("license", str(mark), "README.md")]
    assert not mark.exists()


def test_aliases_that_multiply_stay_small() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    front = "\n".join([*lines, "base_model: *a29"])
    assert card_declarations(f"---\n{front}\n---\n".encode()) == []


@given(st.text(max_size=80))
def test_any_front_matter_is_read_or_a_named_error(text: str) -> None:
    try:
        declared = card_declarations(f"---\n{text}\n---\n".encode())
    except ArtifactError as error:
        reason = error.reason
    else:
        reason = "MalformedModelCard"
        assert all(item.value.isprintable() for item in declared)
    assert reason == "MalformedModelCard"
