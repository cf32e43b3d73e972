# SPDX-License-Identifier: Apache-2.0
"""Models in a container that lists and answers as Azure does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from artifact_world.azure import ACCOUNT, Azure, serve
from artifact_world.weights import matrix, weights
from pedigree.errors import SourceUnavailable
from pedigree.ranges import ModelSource
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source, resolve_identity
from pedigree.tensors.checkpoint import Checkpoint

WEIGHTS = weights({"a": matrix(40, 30)})


@pytest.fixture
def azure() -> Iterator[Azure]:
    blobs = {"llama/model.safetensors": WEIGHTS, "llama/config.json": b"{}"}
    with serve(Azure({**blobs, "llama-2/config.json": b"other"})) as served:
        yield served


def _settings(azure: Azure) -> SourceSettings:
    given = {
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ENDPOINT": azure.endpoint,
    }
    return SourceSettings(credentials=given, timeout_s=5, attempts=1)


def _open(azure: Azure, ref: str = "az://models/llama") -> ModelSource:
    return open_source(parse(ref), _settings(azure))


def test_blobs_below_a_prefix_are_read_by_ranges(azure: Azure) -> None:
    source = _open(azure)
    assert [(entry.path, entry.size) for entry in source.files()] == [
        ("config.json", 2),
        ("model.safetensors", len(WEIGHTS)),
    ]
    assert source.open("model.safetensors").read(10, 30) == WEIGHTS[10:40]
    assert Checkpoint.open(source).parameters == 40 * 30
    conditions = [a.headers["if-match"] for a in azure.asked if "range" in a.headers]
    assert conditions
    assert all(each.startswith('"') and each.endswith('"') for each in conditions)


def test_one_blob_is_the_same_named_alone_and_listed(azure: Azure) -> None:
    alone = _open(azure, "az://models/llama/model.safetensors")
    assert alone.open("model.safetensors").read(0, 50) == WEIGHTS[:50]


def test_a_blob_that_changes_is_noticed_and_is_another_model(azure: Azure) -> None:
    ref, settings = parse("az://models/llama"), _settings(azure)
    before = resolve_identity(ref, settings)[1]
    source = _open(azure)
    azure.blobs["llama/model.safetensors"] = WEIGHTS[:-4] + bytes(4)
    with pytest.raises(SourceUnavailable) as caught:
        source.open("model.safetensors").read(0, 10)
    assert caught.value.reason == "ChangedWhileReading"
    assert resolve_identity(ref, settings)[1] != before
