# SPDX-License-Identifier: Apache-2.0
"""The stored form: one encoding per fingerprint, and nothing else is accepted."""

from __future__ import annotations

import dataclasses
import json
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import made_models as made
from pedigree.errors import ArtifactError
from pedigree.fingerprint.codec import STORED_MAX_BYTES, decode, encode
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.slots import Role, Slot
from pedigree.fingerprint.spec import Profile

GOLDENS = Path(__file__).parent.parent / "goldens"
V1_DIGESTS = {
    "llama-a": "24e8d6c06c4a8033f36e70550a62975b72854ef03d95e669fcaf972600f3235f",
    "gpt2-a": "2386d16f843b5b3813de6e8790a74584639480e0fbf3ed4172ac670d08618944",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Fingerprint:
    folder = tmp_path_factory.mktemp("small")
    return made.fingerprint(made.write(folder, made.llama(1)))


def test_what_is_stored_is_what_is_read(small: Fingerprint) -> None:
    again = decode(encode(small))
    assert again == small
    assert again.digest == small.digest
    assert again.shape == small.shape
    assert again.tensors == small.tensors
    assert again.profile is small.profile
    assert set(again.parts) == set(small.parts)
    for name, array in small.parts.items():
        assert np.array_equal(again.parts[name], array), name


def test_an_unknown_architecture_can_be_stored(tmp_path: Path) -> None:
    folder = made.write(tmp_path, {"a.b": np.arange(6, dtype=np.float32)})
    found = made.fingerprint(folder)
    assert found.reason == "UnknownArchitecture"
    assert decode(found.encoded) == found


def test_the_stored_form_is_a_safetensors_file(small: Fingerprint) -> None:
    arrays = safetensors.numpy.load(small.encoded)
    assert np.array_equal(arrays["neuron.up"], small.parts["neuron.up"])
    assert arrays["tensor.sample"].shape == (len(small.tensors), 16)


@pytest.mark.parametrize("name", ["llama-a", "gpt2-a"])
def test_version_1_stays_readable_and_keeps_its_digest(name: str) -> None:
    golden = (GOLDENS / "v1" / f"{name}.fingerprint.safetensors").read_bytes()
    found = decode(golden)
    assert found.spec == "pedigree.dev/fingerprint/v1"
    assert found.digest.hex == V1_DIGESTS[name]
    assert encode(found) == golden
    assert found.part("v1.neurons") is not None
    assert found.part("neuron.up") is None
    assert (found.shape.layers, found.shape.width) == (4, 128)


def test_all_golden_fingerprints_stay_readable() -> None:
    paths = sorted(GOLDENS.rglob("*.safetensors"))
    assert len(paths) >= 2
    for path in paths:
        data = path.read_bytes()
        assert decode(data, path=path.name).encoded == data


@pytest.fixture(scope="module")
def old() -> bytes:
    return (GOLDENS / "v1" / "gpt2-a.fingerprint.safetensors").read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_fingerprint_of_version_1_is_refused_or_is_another_one(
    old: bytes, data: st.DataObject
) -> None:
    stored = bytearray(old)
    at = data.draw(st.integers(0, len(stored) - 1))
    stored[at] ^= data.draw(st.integers(1, 255))
    reason = ""
    try:
        found = decode(bytes(stored))
    except ArtifactError as error:
        reason = error.reason
    else:
        assert found.encoded == bytes(stored) != old
    assert reason in {"", "MalformedFingerprint", "UnsupportedFingerprint"}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_fingerprint_is_refused_or_is_another_one(
    small: Fingerprint, data: st.DataObject
) -> None:
    stored = bytearray(small.encoded)
    at = data.draw(st.integers(0, len(stored) - 1))
    stored[at] ^= data.draw(st.integers(1, 255))
    reason = ""
    try:
        found = decode(bytes(stored))
    except ArtifactError as error:
        reason = error.reason
    else:
        assert found.encoded == bytes(stored) != small.encoded
    assert reason in {"", "MalformedFingerprint", "UnsupportedFingerprint"}


@given(st.integers(0, 400))
@settings(max_examples=40, deadline=None)
def test_a_cut_fingerprint_is_refused(small: Fingerprint, kept: int) -> None:
    for part in (small.encoded[:kept], small.encoded[: len(small.encoded) - 1 - kept]):
        with pytest.raises(ArtifactError) as refused:
            decode(part)
        assert refused.value.reason == "MalformedFingerprint"


def _with_header(stored: bytes, change: dict[str, object]) -> bytes:
    (length,) = struct.unpack("<Q", stored[:8])
    header = json.loads(stored[8 : 8 + length]) | change
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + stored[8 + length :]


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "I8", "shape": [2**40], "data_offsets": [0, 8]},
        {"dtype": "I8", "shape": [-1], "data_offsets": [0, 8]},
        {"dtype": "I8", "shape": [8], "data_offsets": [8, 0]},
        {"dtype": "I8", "shape": [8], "data_offsets": [-8, 0]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "I8", "shape": ["8"], "data_offsets": [0, 8]},
        None,
        [],
    ],
)
def test_an_array_that_lies_about_itself_is_refused(
    small: Fingerprint, entry: object
) -> None:
    with pytest.raises(ArtifactError) as refused:
        decode(_with_header(small.encoded, {"neuron.up": entry}))
    assert refused.value.reason == "MalformedFingerprint"


def test_extra_arrays_are_refused(small: Fingerprint) -> None:
    extra = {"dtype": "I8", "shape": [0], "data_offsets": [0, 0]}
    with pytest.raises(ArtifactError, match="canonical form"):
        decode(_with_header(small.encoded, {"zzz": extra}))


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"zzz": np.ones(3, np.int8)}, "unknown"),
        ({"neuron.up": np.ones((2, 32, 32), np.int16)}, "another type"),
        ({"neuron.up": np.ones((3, 32, 32), np.int8)}, "has shape"),
        ({"neuron.up": np.ones((2, 99, 32), np.int8)}, "has shape"),
        ({"code.e": np.ones(127, np.uint8)}, "has shape"),
        ({"raw.record": np.array([0, 99999], np.int32)}, "shape|points outside"),
        ({"anchor.index": np.full(160, -1, np.int32)}, "points outside"),
        ({"table.block": np.array([[0, -1, 5, 9]], np.int32)}, "one after the other"),
        ({"table.block": np.array([[0, -1, 0, 9]], np.int32)}, "other rows"),
        ({"adapt.x": np.ones((1,) * 6, np.int8)}, "impossible shape|no shape"),
    ],
    ids=range(10),
)
def test_parts_that_no_builder_makes_are_refused(
    small: Fingerprint, parts: dict[str, np.ndarray], why: str
) -> None:
    hostile = dataclasses.replace(small, parts={**small.parts, **parts})
    with pytest.raises(ArtifactError, match=why) as refused:
        decode(encode(hostile))
    assert refused.value.reason == "MalformedFingerprint"


@pytest.mark.parametrize("bits", [0x7FC0, 0x7F80, 0xFF80, 0xFFC1])
@pytest.mark.parametrize("part", ["raw", "fossil.index"])
def test_single_weights_that_are_no_numbers_are_refused(
    small: Fingerprint, part: str, bits: int
) -> None:
    values = small.parts[part].copy()
    values.flat[-1] = bits
    hostile = dataclasses.replace(small, parts={**small.parts, part: values})
    with pytest.raises(ArtifactError, match="not finite") as refused:
        decode(encode(hostile))
    assert refused.value.reason == "MalformedFingerprint"


def test_single_weights_of_a_vector_are_refused(small: Fingerprint) -> None:
    vector = next(i for i, x in enumerate(small.tensors) if len(x.shape) == 1)
    at = np.full_like(small.parts["raw.record"], vector)
    hostile = dataclasses.replace(small, parts={**small.parts, "raw.record": at})
    with pytest.raises(ArtifactError, match="values of shape"):
        decode(encode(hostile))


def test_parts_of_a_larger_profile_are_refused(small: Fingerprint) -> None:
    hostile = dataclasses.replace(small, profile=Profile.FAST)
    with pytest.raises(ArtifactError, match="to profile fast"):
        decode(encode(hostile))


@pytest.mark.parametrize(
    "change",
    [
        {"zeros": 2**20},
        {"shape": (2**40, 2**40)},
        {"slot": Slot(Role.NORM_K, 5)},
        {"shape": (0, 0)},
        {"distinct": 65535},
    ],
    ids=["zeros", "size", "order", "empty", "distinct"],
)
def test_impossible_records_are_refused(
    small: Fingerprint, change: dict[str, Any]
) -> None:
    first = dataclasses.replace(small.tensors[0], **change)
    hostile = dataclasses.replace(small, tensors=(first, *small.tensors[1:]))
    with pytest.raises(ArtifactError) as refused:
        decode(encode(hostile))
    assert refused.value.reason == "MalformedFingerprint"


def test_a_fingerprint_of_a_7b_model_is_decoded_in_milliseconds(
    small: Fingerprint,
) -> None:
    record = small.tensors[-1]
    many = tuple(
        dataclasses.replace(record, slot=Slot(Role.NORM_K, layer))
        for layer in range(3000)
    )
    data = encode(dataclasses.replace(small, tensors=(*small.tensors[:-1], *many)))
    started = time.process_time()
    assert len(decode(data).tensors) > 3000
    assert time.process_time() - started < 0.25


def test_another_version_is_told_from_damage(small: Fingerprint) -> None:
    text = small.encoded.replace(b"fingerprint/v2", b"fingerprint/v9")
    with pytest.raises(ArtifactError, match="v9") as refused:
        decode(text)
    assert refused.value.reason == "UnsupportedFingerprint"


def test_a_deeply_nested_header_is_refused(small: Fingerprint) -> None:
    text = b"[" * 200_000
    with pytest.raises(ArtifactError) as refused:
        decode(struct.pack("<Q", len(text)) + text)
    assert refused.value.reason == "MalformedFingerprint"


def test_a_fingerprint_of_gigabytes_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ArtifactError) as refused:
        decode(bytes(STORED_MAX_BYTES + 1))
    assert refused.value.reason == "LimitExceeded"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"\"vocabulary\":160", r"\"vocabulary\":4611686018427387904"),
        (r"\"vocabulary\":160", r"\"vocabulary\":-1"),
        (r"\"vocabulary\":160", r"\"vocabulary\":1.5"),
        (r"\"neurons\":96", r"\"neurons\":99999999999"),
        (r"\"profile\":\"deep\"", r"\"profile\":\"fast\""),
        (r"\"profile\":\"deep\"", r"\"profile\":\"all\""),
        (r"\"salted\":0", r"\"salted\":1.0"),
        (r"\"salted\":0", r"\"salted\":2"),
        (r"\"notes\":[]", r"\"notes\":[\"a\\nb\"]"),
        (r"\"width\":64", r"\"width\":\"64\""),
        (r"\"layers\":2", r"\"layers\":1"),
        (r"\"reason\":\"\"", r"\"reason\":\"Trusted\""),
        (r"\"architecture\":\"llama\"", r"\"architecture\":\"\\u001b[31m\""),
    ],
    ids=range(13),
)
def test_sizes_and_texts_from_outside_are_bounded(
    small: Fingerprint, old: str, new: str
) -> None:
    (length,) = struct.unpack("<Q", small.encoded[:8])
    header = small.encoded[8 : 8 + length].rstrip(b" ")
    assert old.encode() in header
    text = header.replace(old.encode(), new.encode())
    text += b" " * (-len(text) % 8)
    hostile = struct.pack("<Q", len(text)) + text + small.encoded[8 + length :]
    with pytest.raises(ArtifactError) as refused:
        decode(hostile)
    assert refused.value.reason == "MalformedFingerprint"
