# SPDX-License-Identifier: Apache-2.0
"""What the safetensors library accepts and Pedigree refuses, row by row.

Rows are numbered, so that a new version of the library that answers otherwise is seen
at its row.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors

import made_models
from artifact_world.weights import file_of, tensor
from pedigree.errors import ArtifactError
from pedigree.limits import DEFAULT
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.header import parse_header

F32 = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
U8 = '{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
NEXT = '{"dtype":"F32","shape":[1],"data_offsets":[4,8]}'
HUGE = 2**63


def _text(text: str, data: int = 4) -> bytes:
    return file_of(text.encode(), bytes(data))


def _members(data: int = 4, **members: dict[str, Any]) -> bytes:
    return file_of(json.dumps(members).encode(), bytes(data))


TAKEN, REFUSED = True, False
ROWS: list[tuple[str, bytes, bool, str]] = [
    ("01 a space before the brace", _text(f' {{"a":{F32}}}'), TAKEN, "MalformedHeader"),
    ("02 a line before the brace", _text(f'\n{{"a":{F32}}}'), TAKEN, "MalformedHeader"),
    ("03 a tab before the brace", _text(f'\t{{"a":{F32}}}'), TAKEN, "MalformedHeader"),
    ("04 spaces at the end", _text(f'{{"a":{F32}}}   '), TAKEN, ""),
    ("05 NULs at the end", _text(f'{{"a":{F32}}}\0\0'), REFUSED, "MalformedHeader"),
    ("06 a name twice, one range", _text(f'{{"a":{F32},"a":{U8}}}'), TAKEN,
     "DuplicateKey"),
    ("07 a name twice, two ranges", _text(f'{{"a":{F32},"a":{NEXT}}}', 8), REFUSED,
     "DuplicateKey"),
    ("08 a key of metadata twice",
     _text(f'{{"__metadata__":{{"k":"1","k":"2"}},"a":{F32}}}'), TAKEN, "DuplicateKey"),
    ("09 metadata twice",
     _text(f'{{"__metadata__":{{}},"__metadata__":{{}},"a":{F32}}}'), REFUSED,
     "DuplicateKey"),
    ("10 dtype twice", _text(f'{{"a":{F32[:-1]},"dtype":"F32"}}}}'), REFUSED,
     "DuplicateKey"),
    ("11 a field more", _text(f'{{"a":{F32[:-1]},"stride":[1]}}}}'), TAKEN,
     "UnknownField"),
    ("12 metadata of null", _text(f'{{"__metadata__":null,"a":{F32}}}'), TAKEN,
     "MalformedMetadata"),
    ("13 no tensor", _text("{}", 0), TAKEN, ""),
    ("14 a truth of 7", file_of(
        json.dumps({"a": tensor("BOOL", [1], 0, 1)}).encode(), b"\x07"), TAKEN, ""),
    ("15 a number between its places",
     _members(5, a=tensor("U8", [1], 0, 1), b=tensor("F32", [1], 1, 5)), TAKEN, ""),
    ("16 a NUL in a name", _text(f'{{"a\\u0000b":{F32}}}'), TAKEN, "MalformedName"),
    ("17 a zero before what overflows",
     _members(0, a=tensor("U8", [0, HUGE, HUGE], 0, 0)), TAKEN, "ShapeOverflow"),
    ("18 a zero behind what overflows",
     _members(0, a=tensor("U8", [HUGE, HUGE, 0], 0, 0)), REFUSED, "ShapeOverflow"),
    ("19 an offset with a point", _text(f'{{"a":{F32.replace("[0,4]", "[0,4.0]")}}}'),
     REFUSED, "MalformedHeader"),
    ("20 a dimension below zero", _members(a=tensor("F32", [-1], 0, 4)), REFUSED,
     "MalformedHeader"),
    ("21 NaN", _text(f'{{"a":{F32.replace("[1]", "[NaN]")}}}'), REFUSED,
     "MalformedHeader"),
    ("22 a type that is none", _members(a=tensor("F33", [1], 0, 4)), REFUSED,
     "UnknownDtype"),
    ("23 half of a character", _text(f'{{"\\ud800":{F32}}}'), REFUSED, "MalformedName"),
    ("24 a product that overflows", _members(a=tensor("U8", [HUGE, 4], 0, 4)), REFUSED,
     "ShapeOverflow"),
    ("25 a hole", _members(8, a=tensor("U8", [2], 0, 2), b=tensor("U8", [2], 6, 8)),
     REFUSED, "HoleInData"),
    ("26 an overlap", _members(6, a=tensor("U8", [4], 0, 4), b=tensor("U8", [4], 2, 6)),
     REFUSED, "OverlappingTensors"),
    ("27 a tail", _members(5, a=tensor("U8", [4], 0, 4)), REFUSED, "TrailingData"),
    ("28 half a byte", _members(2, a=tensor("F4", [3], 0, 2)), REFUSED,
     "MisalignedTensor"),
]  # fmt: skip

_EVERY = pytest.mark.parametrize(
    ("data", "taken", "reason"),
    [row[1:] for row in ROWS],
    ids=[row[0] for row in ROWS],
)


@_EVERY
def test_a_row_of_the_table_holds(data: bytes, taken: bool, reason: str) -> None:
    assert _library_takes(data) == taken
    assert _refusal(data) == reason


def _opened(folder: Path, row: int) -> Checkpoint:
    (folder / "model.safetensors").write_bytes(ROWS[row - 1][1])
    return made_models.checkpoint(folder)


def test_row_13_a_file_without_a_tensor_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        _opened(tmp_path, 13)
    assert caught.value.reason == "NoReadableWeights"


def test_row_14_a_truth_of_7_is_no_value(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        _opened(tmp_path, 14).read("a")
    assert caught.value.reason == "MalformedValue"


def test_row_15_a_number_between_its_places_is_told(tmp_path: Path) -> None:
    found = _opened(tmp_path, 15)
    assert [remark.reason for remark in found.remarks] == ["MisalignedTensors"]


def _library_takes(data: bytes) -> bool:
    try:
        safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError:
        return False
    return True


def _refusal(data: bytes) -> str:
    try:
        parse_header(data, path="m", file_size=len(data), limits=DEFAULT)
    except ArtifactError as error:
        return str(error.reason)
    return ""
