# SPDX-License-Identifier: Apache-2.0
"""Indexes that point outside the folder, at nothing, or at other weights than served.

Two descriptions of one model are an attack surface: what the gate reads through one a
server may read through the other.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from artifact_world.weights import index_of, matrix, source_of, weights
from pedigree.errors import ArtifactError
from pedigree.tensors.checkpoint import Checkpoint

INDEX = "model.safetensors.index.json"
ONE = weights({"a": matrix()})


def _reason(folder: Path, files: dict[str, bytes]) -> str:
    with pytest.raises(ArtifactError) as caught:
        Checkpoint.open(source_of(folder, files))
    return str(caught.value.reason)


@pytest.mark.parametrize(
    "shard",
    [
        "../other/model.safetensors",
        "/etc/passwd",
        "sub/../../x.safetensors",
        "..\\x.safetensors",
        "C:\\x.safetensors",
        "https://host/x.safetensors",
        "x\x00.safetensors",
    ],
)
def test_an_index_cannot_point_outside_the_folder(tmp_path: Path, shard: str) -> None:
    files = {"one.safetensors": ONE, INDEX: index_of({"a": shard})}
    assert _reason(tmp_path, files) == "IndexOutsideFolder"


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    files = {
        "one.safetensors": ONE,
        INDEX: index_of({"a": "one.safetensors", "b": "two.safetensors"}),
    }
    with pytest.raises(ArtifactError, match=r"'two\.safetensors'") as caught:
        Checkpoint.open(source_of(tmp_path, files))
    assert caught.value.reason == "MissingShard"


def test_a_shard_cut_short_is_refused(tmp_path: Path) -> None:
    files = {
        "one.safetensors": ONE,
        "two.safetensors": weights({"b": matrix()})[:-1],
        INDEX: index_of({"a": "one.safetensors", "b": "two.safetensors"}),
    }
    with pytest.raises(ArtifactError) as caught:
        Checkpoint.open(source_of(tmp_path, files))
    assert caught.value.reason == "TruncatedFile"
    assert caught.value.path == "two.safetensors"


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    files = {
        "one.safetensors": ONE,
        "two.safetensors": weights({"a": matrix(first=1), "b": matrix()}),
        INDEX: index_of({"a": "one.safetensors", "b": "two.safetensors"}),
    }
    assert _reason(tmp_path, files) == "DuplicateTensor"


def test_a_tensor_in_two_files_without_an_index_is_refused(tmp_path: Path) -> None:
    files = {"model.safetensors": ONE, "z.safetensors": weights({"a": matrix(first=1)})}
    assert _reason(tmp_path, files) == "DuplicateTensor"


@pytest.mark.parametrize("where", ["two.safetensors", "one.safetensors"])
def test_a_tensor_that_is_not_where_the_index_says_is_refused(
    tmp_path: Path, where: str
) -> None:
    files = {
        "one.safetensors": ONE,
        "two.safetensors": weights({"b": matrix()}),
        INDEX: index_of({"a": "two.safetensors", "b": where}),
    }
    assert _reason(tmp_path, files) == "MissingTensor"


def test_an_index_beside_a_single_file_it_does_not_name_is_refused(
    tmp_path: Path,
) -> None:
    files = {
        "model.safetensors": ONE,
        "other.safetensors": weights({"a": matrix(first=1)}),
        INDEX: index_of({"a": "other.safetensors"}),
    }
    assert _reason(tmp_path, files) == "AmbiguousWeights"


def test_two_indexes_of_equal_rank_are_refused(tmp_path: Path) -> None:
    files = {
        "one.safetensors": ONE,
        "a.safetensors.index.json": index_of({"a": "one.safetensors"}),
        "b.safetensors.index.json": index_of({"a": "one.safetensors"}),
    }
    assert _reason(tmp_path, files) == "AmbiguousWeights"


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (b'{"weight_map":{"a":"one.safetensors","a":"two.safetensors"}}',
         "DuplicateKey"),
        (b'{"weight_map":{},"weight_map":{"a":"one.safetensors"}}', "DuplicateKey"),
        (b"{}", "MalformedIndex"),
        (b"[]", "MalformedIndex"),
        (b"\xff", "MalformedIndex"),
        (b'{"weight_map":{}}', "MalformedIndex"),
        (b'{"weight_map":{"a":1}}', "MalformedIndex"),
        (b'{"weight_map":{"a":"config.json"}}', "MalformedIndex"),
        (b'{"a":' * 5000, "LimitExceeded"),
    ],
)  # fmt: skip
def test_an_index_that_says_nothing_certain_is_refused(
    tmp_path: Path, index: bytes, reason: str
) -> None:
    files = {"one.safetensors": ONE, "config.json": b"{}", INDEX: index}
    assert _reason(tmp_path, files) == reason


def test_weights_beside_the_indexed_ones_are_an_error(tmp_path: Path) -> None:
    files = {
        "one.safetensors": ONE,
        "consolidated.safetensors": weights({"x": matrix()}),
        INDEX: index_of({"a": "one.safetensors"}),
    }
    checkpoint = Checkpoint.open(source_of(tmp_path, files))
    (remark,) = checkpoint.remarks
    assert (remark.reason, remark.severity) == ("UnreadWeights", "Error")
    assert remark.path == "consolidated.safetensors"


def test_weights_in_ignored_places_are_not_read(tmp_path: Path) -> None:
    files = {".git/model.safetensors": ONE, "config.json": b"{}"}
    assert _reason(tmp_path, files) == "NoReadableWeights"
