# SPDX-License-Identifier: Apache-2.0
"""Matrices of GGUF files whose scale is a tensor of its own."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import quants
from numpy.typing import NDArray

import made_models
from pedigree.errors import ArtifactError
from pedigree.tensors import gguf_scales
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.layout import TensorInfo

BLOCKS = {Kind.TQ1_0: 54, Kind.TQ2_0: 66, Kind.Q4_K: 144}
SCALE = np.array([0.375], np.float32)


def _stored(kind: Kind, *shape: int) -> NDArray[np.uint8]:
    """Blocks of any numbers with a scale of 1 or so."""
    random = np.random.default_rng(int(kind))
    if kind is Kind.NVFP4:
        stored = random.integers(0, 256, (*shape, 4, 36), np.uint8)
        stored[..., :4] &= 0x3F
    else:
        stored = random.integers(0, 256, (*shape, 1, BLOCKS[kind]), np.uint8)
        at = {Kind.TQ1_0: (52,), Kind.TQ2_0: (64,), Kind.Q4_K: (0, 2)}[kind]
        for place in at:
            stored[..., place : place + 2] = np.array([1], "<f2").view(np.uint8)
    return stored.reshape(*shape, -1)


def _opened(
    folder: Path, kind: Kind, stored: NDArray[np.uint8], **others: NDArray[np.float32]
) -> Checkpoint:
    writer = gguf.GGUFWriter(folder / "model.gguf", "bitnet")
    writer.add_tensor("blk.0.attn_v.weight", stored, raw_dtype=kind)
    for name, values in others.items():
        writer.add_tensor(f"blk.0.attn_v.{name}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return made_models.checkpoint(folder)


@pytest.mark.parametrize("kind", [Kind.TQ1_0, Kind.TQ2_0, Kind.NVFP4])
def test_a_matrix_is_multiplied_by_its_scale(kind: Kind, tmp_path: Path) -> None:
    stored = _stored(kind, 6)
    found = _opened(tmp_path, kind, stored, scale=SCALE)
    wanted = quants.dequantize(stored, kind) * SCALE
    assert list(found.tensors) == ["blk.0.attn_v.weight"]
    np.testing.assert_array_equal(found.read("blk.0.attn_v.weight"), wanted)
    rows = found.read_rows("blk.0.attn_v.weight", [4, 1, 1])
    np.testing.assert_array_equal(rows, wanted[[4, 1, 1]])


def test_every_expert_has_a_scale_of_its_own(tmp_path: Path) -> None:
    stored = _stored(Kind.NVFP4, 3, 2)
    scales = np.array([1, 0.5, 3], np.float32)
    found = _opened(tmp_path, Kind.NVFP4, stored, scale=scales)
    wanted = quants.dequantize(stored, Kind.NVFP4) * scales[:, None, None]
    np.testing.assert_array_equal(found.read("blk.0.attn_v.weight"), wanted)


@pytest.mark.parametrize(
    ("kind", "scales"),
    [
        (Kind.Q4_K, SCALE),  # where the factor is in the blocks
        (Kind.TQ2_0, np.ones(2, np.float32)),
        (Kind.TQ2_0, np.ones(1, np.float16)),
    ],
)
def test_a_tensor_that_is_no_scale_is_a_tensor_of_the_model(
    kind: Kind, scales: NDArray[np.float32], tmp_path: Path
) -> None:
    stored = _stored(kind, 6)
    found = _opened(tmp_path, kind, stored, scale=scales)
    assert set(found.tensors) == {"blk.0.attn_v.scale", "blk.0.attn_v.weight"}
    values = quants.dequantize(stored, kind)
    np.testing.assert_array_equal(found.read("blk.0.attn_v.weight"), values)


def test_matrices_without_a_scale_and_scales_of_others_are_as_they_are(
    tmp_path: Path,
) -> None:
    stored = _stored(Kind.TQ2_0, 6)
    found = _opened(tmp_path, Kind.TQ2_0, stored)
    values = quants.dequantize(stored, Kind.TQ2_0)
    np.testing.assert_array_equal(found.read("blk.0.attn_v.weight"), values)
    infos = dict(found.tensors)
    infos["blk.0.attn_v.other"] = infos.pop("blk.0.attn_v.weight")
    scale = TensorInfo("blk.0.attn_v.scale", "F32", (1,), "model.gguf", 0, 4)
    infos[scale.name] = scale
    assert gguf_scales.with_scales(infos) == infos


def test_only_so_many_scales_are_read_with_every_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_scales, "EXPERTS_MAX", 2)
    stored = _stored(Kind.TQ2_0, 3, 2)
    found = _opened(tmp_path, Kind.TQ2_0, stored, scale=np.ones(3, np.float32))
    assert "blk.0.attn_v.scale" in found.tensors


def test_a_scale_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    scale = np.array([np.inf], np.float32)
    found = _opened(tmp_path, Kind.TQ2_0, _stored(Kind.TQ2_0, 6), scale=scale)
    with pytest.raises(ArtifactError) as caught:
        found.read("blk.0.attn_v.weight")
    assert caught.value.reason == "NonFiniteTensor"
