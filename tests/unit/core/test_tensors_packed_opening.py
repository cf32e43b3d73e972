# SPDX-License-Identifier: Apache-2.0
"""Every packed layout is met when a model is opened, and replaced by its weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifact_world.weights import file_of
from made_models import checkpoint
from made_packed_float import Stored, bnb4, fp8, packed
from pedigree.tensors.checkpoint import Checkpoint

NAME = "model.layers.0.self_attn.q_proj.weight"


def opened(folder: Path, parts: Stored) -> Checkpoint:
    header: dict[str, Any] = {}
    data = b""
    for name, (dtype, shape, raw) in parts.items():
        end = len(data) + len(raw)
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [len(data), end],
        }
        data += raw
    (folder / "model.safetensors").write_bytes(file_of(header, data))
    return checkpoint(folder)


LAYOUTS: dict[str, Any] = {
    "4 bit blocks": lambda rng: bnb4(NAME, (16, 128), rng),
    "4 bit nested blocks": lambda rng: bnb4(NAME, (16, 128), rng, nested=True),
    "float rows": lambda rng: fp8(NAME, (16, 128), rng, (16, 1)),
    "float blocks": lambda rng: fp8(NAME, (256, 128), rng, (2, 1), inverse=True),
    "packed groups": lambda rng: packed(NAME, (16, 128), rng, 4, 32),
    "packed groups in order": lambda rng: packed(
        NAME, (16, 128), rng, 4, 32, zeros=True, order=True
    ),
}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_one_weight_takes_the_place_of_its_parts(tmp_path: Path, layout: str) -> None:
    parts, values = LAYOUTS[layout](np.random.default_rng(4))
    model = opened(tmp_path, parts)
    assert list(model.tensors) == [NAME]
    assert model.tensors[NAME].shape == values.shape
    assert model.remarks == ()
    np.testing.assert_allclose(model.read(NAME), values, rtol=1e-6)
    rows = [3, 0, 15]
    np.testing.assert_array_equal(model.read_rows(NAME, rows), model.read(NAME)[rows])
