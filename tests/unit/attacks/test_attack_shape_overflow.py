# SPDX-License-Identifier: Apache-2.0
"""Shapes whose product wraps around, or hides behind a zero.

safetensors 0.8.0 accepts ``[0, 2**63, 2**63]`` and refuses ``[2**63, 2**63, 0]``.
"""

from __future__ import annotations

import itertools

import pytest

from artifact_world.weights import file_of, tensor
from pedigree.errors import ArtifactError
from pedigree.limits import DEFAULT
from pedigree.tensors.header import parse_header


@pytest.mark.parametrize(
    "shape", [*itertools.permutations([0, 2**63, 2**63]), (2**32, 2**32)]
)
def test_a_shape_no_reader_can_multiply_is_refused(shape: tuple[int, ...]) -> None:
    content = file_of({"a": tensor("U8", list(shape), 0, 0)})
    with pytest.raises(ArtifactError) as caught:
        parse_header(content, path="m", file_size=len(content), limits=DEFAULT)
    assert caught.value.reason == "ShapeOverflow"


def test_an_integer_no_reader_can_hold_is_refused() -> None:
    content = file_of({"a": tensor("U8", [10**70], 0, 0)})
    with pytest.raises(ArtifactError) as caught:
        parse_header(content, path="m", file_size=len(content), limits=DEFAULT)
    assert caught.value.reason == "MalformedHeader"


def test_an_empty_tensor_of_sane_shape_is_no_attack() -> None:
    content = file_of({"a": tensor("F32", [0, 4096], 0, 0)})
    header = parse_header(content, path="m", file_size=len(content), limits=DEFAULT)
    assert header.tensors[0].count == 0
