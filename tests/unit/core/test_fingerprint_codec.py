# SPDX-License-Identifier: Apache-2.0
"""The stored form: one encoding per fingerprint, and nothing else is accepted."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import made_models as made
from pedigree.errors import ArtifactError
from pedigree.fingerprint.codec import STORED_MAX_BYTES, decode, encode
from pedigree.fingerprint.model import Fingerprint

GOLDENS = Path(__file__).parent.parent / "goldens" / "v1"


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
    assert np.array_equal(again.neurons, small.neurons)


def test_an_unknown_architecture_can_be_stored(tmp_path: Path) -> None:
    folder = made.write(tmp_path, {"a.b": np.arange(6, dtype=np.float32)})
    found = made.fingerprint(folder)
    assert found.reason == "UnknownArchitecture"
    assert decode(found.encoded) == found


def test_the_stored_form_is_a_safetensors_file(small: Fingerprint) -> None:
    arrays = safetensors.numpy.load(small.encoded)
    assert np.array_equal(arrays["neurons"], small.neurons)
    assert arrays["tensor.digest"].shape == (len(small.tensors), 16)


def test_fingerprints_made_today_equal_those_made_by_the_first_version() -> None:
    for name in ("llama-a", "gpt2-a"):
        golden = (GOLDENS / f"{name}.fingerprint.safetensors").read_bytes()
        assert made.fingerprint(made.EXAMPLES / name).encoded == golden


def test_golden_fingerprints_stay_readable() -> None:
    paths = sorted(GOLDENS.glob("*.safetensors"))
    assert paths
    for path in paths:
        assert decode(path.read_bytes(), path=path.name).architecture


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
        decode(_with_header(small.encoded, {"neurons": entry}))
    assert refused.value.reason == "MalformedFingerprint"


def test_extra_arrays_are_refused(small: Fingerprint) -> None:
    extra = {"dtype": "I8", "shape": [0], "data_offsets": [0, 0]}
    with pytest.raises(ArtifactError, match="canonical form"):
        decode(_with_header(small.encoded, {"zzz": extra}))


def test_another_version_is_told_from_damage(small: Fingerprint) -> None:
    text = small.encoded.replace(b"fingerprint/v1", b"fingerprint/v9")
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
        (r"\"width\":64", r"\"width\":65"),
        (r"\"width\":64", r"\"width\":\"64\""),
        (r"\"layers\":2", r"\"layers\":3"),
        (r"\"reason\":\"\"", r"\"reason\":\"Trusted\""),
        (r"\"architecture\":\"llama\"", r"\"architecture\":\"\\u001b[31m\""),
    ],
    ids=range(9),
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
