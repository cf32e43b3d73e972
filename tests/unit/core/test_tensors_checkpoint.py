# SPDX-License-Identifier: Apache-2.0
"""A model's weights as one map of tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import deserialize

from artifact_world.weights import (
    file_of,
    index_of,
    matrix,
    source_of,
    tensor,
    weights,
)
from pedigree.errors import ArtifactError
from pedigree.limits import Limits
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.dtypes import DTYPES, decode

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"


def _open(folder: Path, files: dict[str, bytes]) -> Checkpoint:
    return Checkpoint.open(source_of(folder, files))


def _reason(folder: Path, files: dict[str, bytes]) -> str:
    with pytest.raises(ArtifactError) as caught:
        _open(folder, files)
    return str(caught.value.reason)


@pytest.mark.parametrize("name", ["llama-a", "gpt2-a"])
def test_an_example_model_reads_as_the_safetensors_library_reads_it(name: str) -> None:
    checkpoint = Checkpoint.open(source_of(EXAMPLES / name))
    stored = (EXAMPLES / name / "model.safetensors").read_bytes()
    known = dict(deserialize(stored))  # type: ignore[no-untyped-call]
    assert set(checkpoint.tensors) == set(known)
    for tensor_name, value in known.items():
        assert value["dtype"] == "BF16"
        raw = bytes(value["data"])
        wide = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        assert np.array_equal(
            checkpoint.read(tensor_name), wide.reshape(value["shape"])
        )
        assert b"".join(checkpoint.raw(tensor_name)) == raw


@given(
    rows=st.lists(st.integers(0, 6), max_size=12),
    dtype=st.sampled_from(["F32", "BF16", "I8", "F4", "F6_E2M3"]),
)
def test_rows_are_those_of_the_whole_tensor(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], dtype: str
) -> None:
    folder = tmp_path_factory.mktemp("model")
    size = 7 * 12 * DTYPES[dtype].bits // 8
    raw = bytes(index % 61 for index in range(size))
    header = {"a": tensor(dtype, [7, 3, 4], 0, size)}
    checkpoint = _open(folder, {"model.safetensors": file_of(header, raw)})
    found = checkpoint.read_rows("a", rows)
    assert found.shape == (len(rows), 3, 4)
    assert found.dtype == np.float32
    assert np.array_equal(found, decode(raw, dtype).reshape(7, 3, 4)[rows])


def test_rows_that_share_bytes_are_read_whole(tmp_path: Path) -> None:
    header = {"a": tensor("F4", [4, 3], 0, 6)}
    checkpoint = _open(
        tmp_path, {"model.safetensors": file_of(header, b"\x21\x43\x65\x07\x10\x32")}
    )
    assert checkpoint.read_rows("a", [1]).tolist() == [[2.0, 3.0, 4.0]]


@pytest.mark.parametrize("rows", [[4], [-1], [0, 2**40]])
def test_a_row_outside_the_tensor_is_refused(tmp_path: Path, rows: list[int]) -> None:
    checkpoint = _open(tmp_path, {"model.safetensors": weights({"a": matrix()})})
    with pytest.raises(IndexError, match="rows 0 to 3"):
        checkpoint.read_rows("a", rows)


@pytest.mark.parametrize("block_bytes", [1, 24, 25, 10_000])
def test_blocks_join_to_the_whole_tensor(tmp_path: Path, block_bytes: int) -> None:
    checkpoint = _open(
        tmp_path,
        {
            "model.safetensors": weights(
                {"a": matrix(), "empty": matrix(0, 3), "one": np.array(7)}
            )
        },
    )
    blocks = list(checkpoint.blocks("a", block_bytes))
    assert np.array_equal(np.concatenate(blocks), matrix())
    assert [b.shape for b in checkpoint.blocks("empty")] == [(0, 3)]
    assert [b.tolist() for b in checkpoint.blocks("one")] == [7.0]


def test_a_tensor_too_large_for_memory_is_read_by_blocks_only(tmp_path: Path) -> None:
    limits = Limits(read_max_bytes=40)
    source = source_of(tmp_path, {"model.safetensors": weights({"a": matrix()})})
    checkpoint = Checkpoint.open(source, limits)
    with pytest.raises(ArtifactError, match="read it in blocks") as caught:
        checkpoint.read("a")
    assert caught.value.reason == "LimitExceeded"
    assert len(list(checkpoint.blocks("a", 24))) == 2


def test_shards_are_one_map_in_order_of_name(tmp_path: Path) -> None:
    checkpoint = _open(
        tmp_path,
        {
            "model-1.safetensors": weights({"b": matrix(), "d": matrix()}),
            "model-2.safetensors": weights({"a": matrix(first=9), "c": matrix()}),
            "model.safetensors.index.json": index_of(
                dict.fromkeys("bd", "model-1.safetensors")
                | dict.fromkeys("ac", "model-2.safetensors")
            ),
        },
    )
    assert list(checkpoint.tensors) == ["a", "b", "c", "d"]
    assert checkpoint.tensors["a"].path == "model-2.safetensors"
    assert np.array_equal(checkpoint.read("a"), matrix(first=9))
    assert checkpoint.parameters == 48
    assert checkpoint.remarks == ()


def test_an_adapter_is_read_beside_the_weights(tmp_path: Path) -> None:
    checkpoint = _open(
        tmp_path,
        {
            "model.safetensors": weights({"a": matrix()}),
            "adapter_model.safetensors": weights({"a.lora_A.weight": matrix()}),
        },
    )
    assert set(checkpoint.tensors) == {"a", "a.lora_A.weight"}


def test_weights_in_folders_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    checkpoint = _open(
        tmp_path,
        {
            "unet/model.safetensors": weights({"a": matrix()}),
            "vae/model.safetensors": weights({"a": matrix(first=5)}),
        },
    )
    assert list(checkpoint.tensors) == ["unet/a", "vae/a"]
    assert np.array_equal(checkpoint.read("vae/a"), matrix(first=5))


def test_a_part_in_a_folder_is_read_beside_the_model(tmp_path: Path) -> None:
    part = {"1_Dense/model.safetensors": weights({"a": matrix(first=5)})}
    single = {"model.safetensors": weights({"a": matrix()})}
    index = index_of({"a": "shards/one.safetensors"})
    sharded = {
        "shards/one.safetensors": single["model.safetensors"],
        "model.safetensors.index.json": index,
    }
    for number, model in enumerate((single, sharded)):
        checkpoint = _open(tmp_path / str(number), model | part)
        assert list(checkpoint.tensors) == ["1_Dense/a", "a"]
        assert checkpoint.remarks == ()


def test_a_suffix_in_capitals_is_a_suffix(tmp_path: Path) -> None:
    checkpoint = _open(tmp_path, {"Model.SafeTensors": weights({"a": matrix()})})
    assert list(checkpoint.tensors) == ["a"]


def test_a_header_longer_than_the_first_read_is_read_whole(tmp_path: Path) -> None:
    header = {
        f"tensor.{i:06}": tensor("F32", [1], 4 * i, 4 * i + 4) for i in range(2000)
    }
    data = file_of(header, bytes(8000))
    assert len(data) > 2 * 65_536
    assert len(_open(tmp_path, {"model.safetensors": data}).tensors) == 2000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 7, 11])
def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, bad: float, at: int
) -> None:
    values = matrix()
    values.reshape(-1)[at] = bad
    checkpoint = _open(tmp_path, {"model.safetensors": weights({"a": values})})
    for rows in (None, [at // 3]):
        with pytest.raises(ArtifactError, match="'a' of file") as caught:
            checkpoint.read_rows("a", rows) if rows else checkpoint.read("a")
        assert caught.value.reason == "NonFiniteTensor"
        assert caught.value.path == "model.safetensors"


def test_huge_but_finite_weights_are_read(tmp_path: Path) -> None:
    values = np.full((2, 2), 3e38, np.float32)
    checkpoint = _open(tmp_path, {"model.safetensors": weights({"a": values})})
    assert np.array_equal(checkpoint.read("a"), values)


def test_a_model_without_safetensors_is_not_readable(tmp_path: Path) -> None:
    assert _reason(tmp_path, {"model.onnx": b"x"}) == "NoReadableWeights"


def test_a_model_without_tensors_is_not_readable(tmp_path: Path) -> None:
    files = {"model.safetensors": file_of({"__metadata__": {}})}
    assert _reason(tmp_path, files) == "NoReadableWeights"


def test_tensors_the_index_forgot_are_read_and_told(tmp_path: Path) -> None:
    checkpoint = _open(
        tmp_path,
        {
            "one.safetensors": weights({"a": matrix(), "b": matrix()}),
            "model.safetensors.index.json": index_of({"a": "one.safetensors"}),
        },
    )
    assert set(checkpoint.tensors) == {"a", "b"}
    assert [remark.reason for remark in checkpoint.remarks] == ["UnlistedTensors"]


def test_misaligned_tensors_are_told(tmp_path: Path) -> None:
    header = {"a": tensor("U8", [1], 0, 1), "b": tensor("F32", [1], 1, 5)}
    checkpoint = _open(tmp_path, {"model.safetensors": file_of(header, bytes(5))})
    assert [remark.reason for remark in checkpoint.remarks] == ["MisalignedTensors"]


def test_a_complex_tensor_is_listed_but_not_read(tmp_path: Path) -> None:
    data = file_of({"a": tensor("C64", [1], 0, 8)}, bytes(8))
    checkpoint = _open(tmp_path, {"model.safetensors": data})
    with pytest.raises(ArtifactError, match="tensor 'a'") as caught:
        checkpoint.read("a")
    assert caught.value.reason == "UnsupportedDtype"


def test_opening_reads_headers_and_no_weights(tmp_path: Path) -> None:
    values = np.zeros((1000, 1000), np.float32)
    source = source_of(tmp_path, {"model.safetensors": weights({"a": values})})
    Checkpoint.open(source)
    assert source.bytes_read <= 65_536


def test_an_index_larger_than_allowed_is_refused(tmp_path: Path) -> None:
    source = source_of(
        tmp_path,
        {
            "model.safetensors": weights({"a": matrix()}),
            "model.safetensors.index.json": index_of({"a": "model.safetensors"}),
        },
    )
    with pytest.raises(ArtifactError) as caught:
        Checkpoint.open(source, Limits(json_max_bytes=10))
    assert caught.value.reason == "LimitExceeded"
