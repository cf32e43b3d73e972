# SPDX-License-Identifier: Apache-2.0
"""Files that make a server load other weights than those that were compared.

A loader with PEFT that finds ``adapter_config.json`` loads the base that it names, from
wherever that is, and leaves the whole weights of the folder alone.  vLLM does so with
the verifier of a ``speculators_config``.  And of several adapters in one model a server
loads the one that it is told to.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

import made_torch
from artifact_world.weights import index_of, lay_out, matrix, source_of, weights
from pedigree import refs
from pedigree.errors import ArtifactError
from pedigree.evidence import ESCAPED
from pedigree.examine import ExamineSettings, examine
from pedigree.sources import SourceSettings
from pedigree.tensors.checkpoint import Checkpoint

CONFIG = {
    "adapter_config.json": json.dumps(
        {"peft_type": "LORA", "r": 1, "base_model_name_or_path": "evil/base"}
    ).encode()
}
WHOLE = {"model.safetensors": weights({"model.embed_tokens.weight": matrix()})}
INDEXED = {
    "model.safetensors.index.json": index_of({"a": "shards/1.safetensors"}),
    "shards/1.safetensors": weights({"a": matrix()}),
}
PICKLED = {
    "pytorch_model.bin": made_torch.checkpoint(
        made_torch.mapping({"a": made_torch.matrix()})
    )
}
NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
ADAPTER = {"adapter_model.safetensors": weights({NAME: matrix()})}


def _within(folder: str) -> dict[str, bytes]:
    return {f"{folder}/{name}": data for name, data in (ADAPTER | CONFIG).items()}


def _reason(folder: Path, files: dict[str, bytes]) -> str:
    with pytest.raises(ArtifactError) as caught:
        Checkpoint.open(source_of(folder, files))
    return str(caught.value.reason)


@pytest.mark.parametrize(
    "files",
    [
        WHOLE,
        WHOLE | ADAPTER,
        WHOLE | {"adapter_model.bin": b"PK\x03\x04"},
        INDEXED,
        INDEXED | ADAPTER,
        PICKLED,
    ],
)
def test_whole_weights_under_the_configuration_of_an_adapter_are_told(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    found = Checkpoint.open(source_of(tmp_path, files | CONFIG)).remarks
    told = {(remark.reason, remark.path) for remark in found}
    assert ("UnreadWeights", "adapter_config.json") in told


@pytest.mark.parametrize(
    "beside",
    [
        CONFIG,
        {
            "config.json": json.dumps(
                {"speculators_config": {"verifier": {"name_or_path": "evil/base"}}}
            ).encode()
        },
    ],
)
def test_no_rule_on_ancestors_is_sure_of_weights_that_are_served_from_elsewhere(
    tmp_path: Path, beside: dict[str, bytes]
) -> None:
    lay_out(tmp_path, WHOLE | beside)
    found = examine(
        refs.parse(f"file://{tmp_path}"),
        settings=ExamineSettings(sources=SourceSettings()),
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    told = [item for item in found.evidence.findings if item.reason in ESCAPED]
    assert [item.path for item in told if item.reason == "UnreadWeights"] == [*beside]


@pytest.mark.parametrize("first", [ADAPTER | CONFIG, _within("one")])
def test_of_several_adapters_one_must_be_named(
    tmp_path: Path, first: dict[str, bytes]
) -> None:
    assert _reason(tmp_path, first | _within("two")) == "AmbiguousWeights"


@pytest.mark.parametrize("files", [ADAPTER | CONFIG, _within("one")])
def test_an_adapter_alone_is_no_attack(tmp_path: Path, files: dict[str, bytes]) -> None:
    found = Checkpoint.open(source_of(tmp_path, files))
    assert [name.rpartition("/")[2] for name in found.tensors] == [NAME]


def test_adapters_in_folders_of_a_model_are_parts_of_it(tmp_path: Path) -> None:
    """As some models of several senses are published."""
    files = WHOLE | _within("speech-lora") | _within("vision-lora")
    assert len(Checkpoint.open(source_of(tmp_path, files)).tensors) == 3
