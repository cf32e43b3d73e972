# SPDX-License-Identifier: Apache-2.0
"""Tensors that share bytes, leave bytes unclaimed, or reach outside the file.

Shared bytes let one region be read as two tensors; unclaimed ones hide a payload or a
second model (a polyglot file); reaching outside makes a reader read what is not there.
"""

from __future__ import annotations

import pytest

from artifact_world.weights import file_of, tensor
from pedigree.errors import ArtifactError
from pedigree.limits import DEFAULT
from pedigree.tensors.header import parse_header


@pytest.mark.parametrize(
    ("tensors", "data", "reason"),
    [
        ({"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 4, 12)}, 12,
         "OverlappingTensors"),
        ({"a": tensor("F32", [1], 0, 4), "b": tensor("F32", [1], 0, 4)}, 4,
         "OverlappingTensors"),
        ({"a": tensor("F32", [1], 0, 4), "b": tensor("F32", [1], 8, 12)}, 12,
         "HoleInData"),
        ({"a": tensor("F32", [1], 4, 8)}, 8, "HoleInData"),
        ({"a": tensor("F32", [1], 0, 4)}, 5, "TrailingData"),
        ({}, 1, "TrailingData"),
        ({"a": tensor("F32", [1], 0, 4)}, 3, "TruncatedFile"),
        ({"a": tensor("F32", [1], 0, 4)}, 0, "TruncatedFile"),
        ({"a": tensor("F4", [3], 0, 2)}, 2, "MisalignedTensor"),
        ({"a": tensor("F6_E2M3", [2], 0, 2)}, 2, "MisalignedTensor"),
        ({"a": tensor("F32", [0], 2, 2), "b": tensor("F32", [1], 0, 4)}, 4,
         "OverlappingTensors"),
    ],
)  # fmt: skip
def test_data_that_the_tensors_do_not_tile_is_refused(
    tensors: dict[str, object], data: int, reason: str
) -> None:
    content = file_of(tensors, bytes(data))
    with pytest.raises(ArtifactError) as caught:
        parse_header(content, path="m", file_size=len(content), limits=DEFAULT)
    assert caught.value.reason == reason
