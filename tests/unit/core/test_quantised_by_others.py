# SPDX-License-Identifier: Apache-2.0
"""Matrices that other libraries quantised mean what those libraries decode."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source
from pedigree.tensors.checkpoint import Checkpoint

DATA = Path(__file__).parents[2] / "data" / "quantised"
EXPECTED = json.loads((DATA / "expected.json").read_text())


def opened(layout: str) -> Checkpoint:
    uri = f"file://{DATA / layout}"
    return Checkpoint.open(open_source(parse(uri), SourceSettings()))


@pytest.mark.parametrize("layout", sorted(EXPECTED))
def test_values_are_those_the_library_decodes(layout: str) -> None:
    checkpoint = opened(layout)
    assert set(checkpoint.tensors) == set(EXPECTED[layout]["tensors"])
    for name, wanted in EXPECTED[layout]["tensors"].items():
        values = checkpoint.read(name)
        if EXPECTED[layout]["rounding"] == "bfloat16":
            values = values.astype(ml_dtypes.bfloat16).astype(np.float32)
        assert list(values.shape) == wanted["shape"]
        assert (
            hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
            == (wanted["sha256"])
        )


@pytest.mark.parametrize("layout", sorted(EXPECTED))
def test_some_rows_read_alone_are_the_rows_of_the_whole(layout: str) -> None:
    checkpoint = opened(layout)
    for name, info in checkpoint.tensors.items():
        rows = [row % info.shape[0] for row in (63, 0, 17, 17)]
        whole = checkpoint.read(name)
        np.testing.assert_array_equal(checkpoint.read_rows(name, rows), whole[rows])


def test_every_folder_of_the_data_is_looked_at() -> None:
    folders = {entry.name for entry in DATA.iterdir() if entry.is_dir()}
    assert folders == set(EXPECTED)
