# SPDX-License-Identifier: Apache-2.0
"""The header parser against the safetensors library and against nonsense."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from typing import Any

import pytest
import safetensors
from hypothesis import example, given, settings
from hypothesis import strategies as st

from artifact_world.weights import file_of, tensor
from pedigree.errors import ArtifactError
from pedigree.limits import DEFAULT, Limits
from pedigree.tensors.dtypes import DTYPES
from pedigree.tensors.header import HeaderReason, header_length, parse_header
from pedigree.tensors.layout import Header

REASONS = set(HeaderReason)
_NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12
).filter(lambda name: name != "__metadata__")


def parse(data: bytes, limits: Limits = DEFAULT) -> Header:
    return parse_header(data, path="m.safetensors", file_size=len(data), limits=limits)


def library(data: bytes) -> dict[str, Any]:
    """The file as the safetensors library reads it."""
    return dict(safetensors.deserialize(data))  # type: ignore[no-untyped-call]


def outcome(data: bytes) -> Header | str:
    try:
        return parse(data)
    except ArtifactError as error:
        return str(error.reason)


def reason_of(data: bytes, limits: Limits = DEFAULT) -> str:
    with pytest.raises(ArtifactError) as caught:
        parse(data, limits)
    assert caught.value.path == "m.safetensors"
    message = caught.value.message
    assert message[0].islower()
    assert not message.endswith(".")
    assert len(message) < 1200
    return str(caught.value.reason)


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    header: dict[str, Any] = {}
    data = b""
    for name in draw(st.lists(_NAMES, unique=True, max_size=6)):
        dtype = draw(st.sampled_from(sorted(DTYPES)))
        shape = draw(st.lists(st.integers(0, 5), max_size=4))
        bits = DTYPES[dtype].bits
        for dimension in shape:
            bits *= dimension
        if bits % 8:
            continue
        raw = draw(st.binary(min_size=bits // 8, max_size=bits // 8))
        header[name] = tensor(dtype, shape, len(data), len(data) + len(raw))
        data += raw
    items = draw(st.permutations(sorted(header.items())))
    if draw(st.booleans()):
        words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
        metadata = draw(st.dictionaries(words, words, max_size=3))
        items.append(("__metadata__", metadata))
    text = json.dumps(dict(items), ensure_ascii=draw(st.booleans())).encode()
    text += b" " * draw(st.integers(0, 9))
    return file_of(text, data)


@given(_files())
@settings(max_examples=300)
def test_a_valid_file_is_read_as_the_safetensors_library_reads_it(data: bytes) -> None:
    header = parse(data)
    known = library(data)
    assert {info.name for info in header.tensors} == set(known)
    for info in header.tensors:
        assert info.dtype == known[info.name]["dtype"]
        assert list(info.shape) == known[info.name]["shape"]
        assert data[info.begin : info.end] == bytes(known[info.name]["data"])


@given(_files(), st.data())
@settings(max_examples=300)
def test_whatever_is_accepted_is_accepted_by_the_library_too(
    data: bytes, draw: st.DataObject
) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    broken = bytearray(data)
    broken[at] = draw.draw(st.integers(0, 255))
    header = outcome(bytes(broken))
    if isinstance(header, str):
        assert header in REASONS
        return
    known = library(bytes(broken))
    assert {info.name: list(info.shape) for info in header.tensors} == {
        name: value["shape"] for name, value in known.items()
    }


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x00" * 8)
@example(b"\xff" * 16)
def test_random_bytes_are_a_header_or_a_named_error(data: bytes) -> None:
    found = outcome(data)
    assert isinstance(found, Header) or found in REASONS


_JSONISH = st.lists(
    st.sampled_from(
        [
            *('{}[]:," \\\n\t\x00', '"a"', '"dtype"', '"F32"', '"shape"'),
            *('"data_offsets"', '"__metadata__"', "0", "4", "-1", "1e9", "0.5"),
            *("true", "null", "NaN", "[0,4]", "[1]", '"\\ud800"', "\\u0000", "é"),
            '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}',
        ]
    ),
    max_size=30,
).map("".join)


@given(_JSONISH)
@settings(max_examples=500)
def test_text_like_a_header_is_a_header_or_a_named_error(text: str) -> None:
    for body in (text, "{" + text + "}"):
        found = outcome(file_of(body.encode(), b"\x00" * 4))
        assert isinstance(found, Header) or found in REASONS


def _one(**changes: object) -> dict[str, object]:
    member: dict[str, object] = tensor("F32", [1], 0, 4)
    member.update(changes)
    return {"a": {key: value for key, value in member.items() if value is not ...}}


@pytest.mark.parametrize(
    ("header", "data", "reason"),
    [
        (_one(dtype="F33"), 4, "UnknownDtype"),
        (_one(dtype=7), 4, "UnknownDtype"),
        (_one(dtype=["F32"]), 4, "UnknownDtype"),
        (_one(dtype="f32"), 4, "UnknownDtype"),
        (_one(shape=[1.0]), 4, "MalformedHeader"),
        (_one(shape=[True]), 4, "MalformedShape"),
        (_one(shape=1), 4, "MalformedShape"),
        (_one(shape=None), 4, "MalformedShape"),
        (_one(shape=["1"]), 4, "MalformedShape"),
        (_one(shape=[-1]), 4, "MalformedHeader"),
        (_one(shape=[1] * 9), 4, "LimitExceeded"),
        (_one(data_offsets=[0]), 4, "MalformedOffsets"),
        (_one(data_offsets=[0, 4, 4]), 4, "MalformedOffsets"),
        (_one(data_offsets=[4, 0]), 4, "MalformedOffsets"),
        (_one(data_offsets={"0": 4}), 4, "MalformedOffsets"),
        (_one(data_offsets=[0, 2**63]), 4, "MalformedOffsets"),
        (_one(shape=[2]), 4, "SizeMismatch"),
        (_one(shape=[]), 8, "TrailingData"),
        (_one(shape=...), 4, "MissingField"),
        (_one(dtype=...), 4, "MissingField"),
        (_one(data_offsets=...), 4, "MissingField"),
        (_one(stride=[1]), 4, "UnknownField"),
        ({"a": []}, 0, "MalformedHeader"),
        ({"a": None}, 0, "MalformedHeader"),
        ({"": tensor("F32", [1], 0, 4)}, 4, "MalformedName"),
        ({"a\x00b": tensor("F32", [1], 0, 4)}, 4, "MalformedName"),
        ({"a\nb": tensor("F32", [1], 0, 4)}, 4, "MalformedName"),
        ({"a" * 513: tensor("F32", [1], 0, 4)}, 4, "MalformedName"),
        ({"__metadata__": None}, 0, "MalformedMetadata"),
        ({"__metadata__": []}, 0, "MalformedMetadata"),
        ({"__metadata__": {"format": 1}}, 0, "MalformedMetadata"),
        ({"__metadata__": {"format": None}}, 0, "MalformedMetadata"),
        ([], 0, "MalformedHeader"),
    ],
)
def test_a_wrong_member_is_refused(header: object, data: int, reason: str) -> None:
    assert reason_of(file_of(header, b"\x00" * data)) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "MalformedHeader"),
        (b"{", "MalformedHeader"),
        (b"{}x", "MalformedHeader"),
        (b"{}\x00", "MalformedHeader"),
        (b"{}\n", "MalformedHeader"),
        (b"{}{}", "MalformedHeader"),
        (b'{"a":NaN}', "MalformedHeader"),
        (b'{"a":1e5}', "MalformedHeader"),
        (b'{"a":-0}', "MalformedHeader"),
        (b'{"a":' + b"9" * 5000 + b"}", "MalformedHeader"),
        (b'{"\xff":{}}', "MalformedHeader"),
        (b'{"a\x01":{}}', "MalformedHeader"),
        (b'{"\\ud800":{}}', "MalformedName"),
        (b'{"__metadata__":{"a":"\\udc00"}}', "MalformedName"),
        (b"{'a':{}}", "MalformedHeader"),
    ],
)
def test_text_that_is_not_one_json_object_is_refused(text: bytes, reason: str) -> None:
    assert reason_of(file_of(text)) == reason


def test_a_header_without_tensors_is_a_header() -> None:
    header = parse(file_of({"__metadata__": {"format": "pt"}}))
    assert header.tensors == ()
    assert header.metadata == {"format": "pt"}


def test_trailing_spaces_are_padding() -> None:
    assert parse(file_of(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}   ',
                         b"\x00" * 4)).tensors[0].shape == (1,)  # fmt: skip


def test_more_tensors_than_allowed_are_refused() -> None:
    header = {f"t{i}": tensor("F32", [0], 0, 0) for i in range(11)}
    assert reason_of(file_of(header), Limits(tensors_max=10)) == "LimitExceeded"


def test_the_length_is_judged_before_anything_is_read() -> None:
    prefix = struct.pack("<Q", DEFAULT.header_max_bytes + 1)
    with pytest.raises(ArtifactError) as caught:
        header_length(prefix, path="m", file_size=2**40, limits=DEFAULT)
    assert caught.value.reason == "HeaderTooLarge"
    assert "25000001 bytes, allowed are 25000000" in caught.value.message


def test_a_large_header_takes_bounded_time_and_memory() -> None:
    count = 20_000
    header = {
        f"model.layers.{i}.weight": tensor("BF16", [2, 4], 16 * i, 16 * i + 16)
        for i in range(count)
    }
    data = file_of(header, b"\x00" * 16 * count)
    tracemalloc.start()
    begin = time.process_time()
    assert len(parse(data).tensors) == count
    seconds = time.process_time() - begin
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 20
    assert peak < 40 * len(data)
