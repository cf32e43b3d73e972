# SPDX-License-Identifier: Apache-2.0
"""Weight formats told by name and by first bytes."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from artifact_world.weights import matrix, weights
from pedigree.tensors.formats import (
    HEAD_BYTES,
    format_by_head,
    format_by_name,
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("model.safetensors", "safetensors"),
        ("sub/MODEL.SafeTensors", "safetensors"),
        ("pytorch_model.bin", "pytorch"),
        ("consolidated.00.pth", "pytorch"),
        ("a.ckpt", "pytorch"),
        ("a.pkl", "pytorch"),
        ("q4.gguf", "gguf"),
        ("model.onnx", "onnx"),
        ("tf_model.h5", "other"),
        ("config.json", None),
        ("tokenizer.model", None),
        ("model.safetensors.index.json", None),
        ("safetensors", None),
    ],
)
def test_a_name_announces_a_format(path: str, found: str | None) -> None:
    assert format_by_name(path) == found


def test_first_bytes_betray_a_format(tmp_path: Path) -> None:
    np.savez(tmp_path / "zip.npz", a=matrix())
    heads = {
        weights({"a": matrix()}): "safetensors",
        b"GGUF\x03\x00\x00\x00": "gguf",
        pickle.dumps({"a": 1}, 2): "pytorch",
        pickle.dumps({"a": 1}, 5): "pytorch",
        (tmp_path / "zip.npz").read_bytes(): "pytorch",
        b"\x89HDF\r\n\x1a\n": "other",
        b"": None,
        b"{}": None,
        b"# A model card, as long as you like": None,
        b"\x00" * 16: None,
        b'{"a": {"b": "c"}}   ': None,
    }
    for content, found in heads.items():
        assert format_by_head(content[:HEAD_BYTES]) == found, content[:HEAD_BYTES]
