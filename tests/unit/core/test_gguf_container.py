# SPDX-License-Identifier: Apache-2.0
"""GGUF files: what is read of them, and what is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import made_gguf
import made_models
from pedigree.errors import ArtifactError, PedigreeError
from pedigree.limits import DEFAULT
from pedigree.lineage.compare import compare
from pedigree.tensors.gguf_header import GgufHeader, read_gguf_header

entry, pair, file_of = made_gguf.entry, made_gguf.pair, made_gguf.file_of


class Held:
    """A file in memory; counts the largest read."""

    path = "m.gguf"

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.most = 0

    def read(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= self.size - length
        self.most = max(self.most, length)
        return self._data[offset : offset + length]

    def read_many(self, ranges: object) -> list[bytes]:
        raise NotImplementedError


def _read(data: bytes) -> GgufHeader:
    return read_gguf_header(Held(data), DEFAULT)


def _reason(data: bytes) -> str:
    with pytest.raises(ArtifactError) as caught:
        _read(data)
    return str(caught.value.reason)


ONE = file_of([pair("a", 1)], [entry("t", [4, 2], 0, 0)], bytes(32))
LLAMA = made_models.llama(1)


def test_a_header_says_keys_tensors_and_where_arrays_are() -> None:
    data = file_of(
        [pair("k", "v"), pair("n", 7), pair("b", True), pair("l", ["x", "yy"])],
        [entry("t", [4, 2], 0, 0)],
        bytes(32),
    )
    header = _read(data)
    assert header.scalars == {"k": "v", "n": 7, "b": True}
    assert header.arrays["l"].length == 2
    (tensor,) = header.tensors
    assert (tensor.shape, tensor.begin, tensor.end) == (
        (2, 4),
        len(data) - 32,
        len(data),
    )


def test_a_small_file_that_announces_a_huge_array_is_refused_at_once() -> None:
    for kind in (0, 8, 12):
        head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + made_gguf.text("a")
        data = head + struct.pack("<IIQ", 9, kind, 2**60)
        assert len(data) == 49
        assert _reason(data) == "TruncatedFile"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"FUGG" + ONE[4:], "BigEndianGguf"),
        (b"GGUF" + struct.pack(">I", 3) + ONE[8:], "BigEndianGguf"),
        (file_of([], [], version=1), "UnsupportedGgufVersion"),
        (b"GGML" + ONE[4:], "MalformedGguf"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**40, 0), "LimitExceeded"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "LimitExceeded"),
        (file_of([pair("a", 1), pair("a", 2)], []), "DuplicateKey"),
        (file_of([pair("general.alignment", 24)], []), "MalformedGguf"),
        (file_of([pair("general.alignment", 0)], []), "MalformedGguf"),
        (file_of([made_gguf.text("a") + struct.pack("<IIQ", 9, 9, 1)], []),
         "MalformedGguf"),
        (file_of([made_gguf.text(b"\xff") + struct.pack("<II", 4, 1)], []),
         "MalformedGguf"),
        (file_of([made_gguf.text("a") + struct.pack("<I", 99)], []), "MalformedGguf"),
        (file_of([], [entry("t", [2**32, 2**32], 0, 0)]), "MalformedGguf"),
        (file_of([], [entry("t", [0], 0, 0)]), "MalformedGguf"),
        (file_of([], [entry("t", [], 0, 0)]), "MalformedGguf"),
        (file_of([], [entry("t", [1] * 5, 0, 0)]), "MalformedGguf"),
        (file_of([], [entry("t", [4], 0, 4)], bytes(64)), "MalformedGguf"),
        (file_of([], [entry("t", [4], 0, 2**62)], bytes(64)), "TruncatedFile"),
        (file_of([], [entry("t" * 65, [4], 0, 0)], bytes(64)), "LimitExceeded"),
        (file_of([], [entry("t", [4], 77, 0)], bytes(64)), "UnsupportedDtype"),
        (file_of([], [entry("t", [33], 2, 0)], bytes(64)), "MalformedGguf"),
        (file_of([], [entry("t", [4], 0, 0), entry("t", [4], 0, 32)], bytes(64)),
         "DuplicateTensor"),
        (file_of([], [entry("t", [16], 0, 0), entry("u", [4], 0, 32)], bytes(64)),
         "OverlappingTensors"),
    ],
)  # fmt: skip
def test_hostile_headers_are_refused(data: bytes, reason: str) -> None:
    assert _reason(data) == reason


@pytest.mark.parametrize(("kind", "said"), [(41, "Q1_0 (41)"), (77, "ggml type (77)")])
def test_a_type_that_is_not_decoded_is_refused_by_its_name(
    kind: int, said: str
) -> None:
    with pytest.raises(ArtifactError, match="not decoded") as caught:
        _read(file_of([], [entry("t", [256], kind, 0)], bytes(512)))
    assert said in str(caught.value)


def test_a_file_cut_off_at_any_byte_is_refused() -> None:
    for length in range(len(ONE)):
        assert _reason(ONE[:length]) == "TruncatedFile"


def test_long_arrays_are_passed_over_by_small_reads() -> None:
    tokens = ["word" * 10] * 60_000
    file = Held(file_of([pair("t", tokens), pair("z", 3)], []))
    assert read_gguf_header(file, DEFAULT).scalars == {"z": 3}
    assert file.most <= 1 << 20


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(ONE)))
def test_any_bytes_give_a_header_or_an_error_of_ours(noise: bytes, at: int) -> None:
    for data in (noise, ONE[:at] + noise + ONE[at + len(noise) :]):
        try:
            _read(data)
        except PedigreeError:
            continue


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_converted_llama_has_the_values_it_was_made_of(
    tmp_path: Path, dtype: str
) -> None:
    plain = made_models.read(made_models.write(tmp_path / "a", LLAMA, dtype=dtype))
    found = made_models.checkpoint(made_gguf.write(tmp_path / "b", LLAMA, dtype=dtype))
    for name, values in made_gguf.converted(plain, 1, 1).items():
        if ".attn_q." not in name and ".attn_k." not in name:
            np.testing.assert_array_equal(found.read(name), values)
    for ours, theirs in (("q", "attn_q"), ("k", "attn_k")):
        wanted = plain[f"model.layers.1.self_attn.{ours}_proj.weight"]
        name = f"blk.1.{theirs}.weight"
        np.testing.assert_array_equal(found.read(name), wanted)
        np.testing.assert_array_equal(found.read_rows(name, [9, 3]), wanted[[9, 3]])


def test_a_converted_llama_is_identical_to_its_safetensors(tmp_path: Path) -> None:
    folder = made_models.write(tmp_path / "a", LLAMA, dtype="F16")
    config = {"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2}
    (folder / "config.json").write_text(json.dumps(config))
    other = made_gguf.write(tmp_path / "b", LLAMA, dtype="F16")
    one, two = made_models.fingerprint(folder), made_models.fingerprint(other)
    assert two.architecture == "gguf"
    judgement = compare(one, two)
    assert judgement.lineage.value == "Identical"


def test_the_file_says_the_configuration_and_its_lineage(tmp_path: Path) -> None:
    found = made_models.checkpoint(made_gguf.write(tmp_path, LLAMA))
    assert found.config == {
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
    }
    assert found.metadata["model.gguf"] == {
        "general.architecture": "llama",
        "general.name": "made",
    }


def test_two_models_in_one_folder_are_ambiguous(tmp_path: Path) -> None:
    made_gguf.write(tmp_path, LLAMA, name="a-Q4.gguf")
    made_gguf.write(tmp_path, LLAMA, name="a-Q8.gguf")
    with pytest.raises(ArtifactError, match=r"a-Q4\.gguf") as caught:
        made_models.checkpoint(tmp_path)
    assert caught.value.reason == "AmbiguousWeights"


@pytest.mark.parametrize("name", ["mmproj-model.gguf", "mtp-model.gguf"])
def test_a_file_that_belongs_beside_a_model_is_told(tmp_path: Path, name: str) -> None:
    made_gguf.write(tmp_path, LLAMA)
    made_gguf.write(tmp_path, LLAMA, name=name)
    (remark,) = made_models.checkpoint(tmp_path).remarks
    assert (remark.reason, remark.path) == ("UnreadWeights", name)
    (tmp_path / "model.gguf").unlink()
    assert made_models.checkpoint(tmp_path).remarks == ()


def test_an_index_without_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.gguf.index.json").write_text("{}")
    with pytest.raises(ArtifactError) as caught:
        made_models.checkpoint(tmp_path)
    assert caught.value.reason == "NoReadableWeights"


@pytest.mark.parametrize(("length", "told"), [(31, []), (32, ["TrailingData"])])
def test_bytes_after_the_last_tensor_are_told_of(
    tmp_path: Path, length: int, told: list[str]
) -> None:
    one = {"token_embd.weight": np.ones((8, 4), np.float32)}
    content = made_gguf.file_bytes(one, made_gguf.llama_keys())
    (tmp_path / "m.gguf").write_bytes(content + bytes(length))
    found = made_models.checkpoint(tmp_path).remarks
    assert [remark.reason for remark in found] == told


def test_bytes_between_tensors_are_told_of(tmp_path: Path) -> None:
    entries = [made_gguf.entry("a", [8], 0, 0), made_gguf.entry("b", [8], 0, 64)]
    (tmp_path / "m.gguf").write_bytes(made_gguf.file_of([], entries, bytes(96)))
    (remark,) = made_models.checkpoint(tmp_path).remarks
    assert remark.reason == "HoleInData"
    assert remark.message.startswith("32 bytes")


def _split(folder: Path, number: int, count: int = 2, said: int | None = None) -> None:
    keys = made_gguf.llama_keys() if number == 0 else {}
    keys |= {"split.no": number if said is None else said, "split.count": count}
    weights = list(made_gguf.converted(LLAMA).items())[number::2]
    path = folder / f"m-{number + 1:05}-of-00002.gguf"
    path.write_bytes(made_gguf.file_bytes(dict(weights), keys))


def test_a_split_set_is_one_model(tmp_path: Path) -> None:
    _split(tmp_path, 0)
    _split(tmp_path, 1)
    found = made_models.checkpoint(tmp_path)
    assert set(found.tensors) == set(made_gguf.converted(LLAMA))
    name = "model.layers.1.self_attn.k_proj.weight"
    np.testing.assert_array_equal(found.read("blk.1.attn_k.weight"), LLAMA[name])


@pytest.mark.parametrize("wrong", ["gone", "number", "count"])
def test_a_split_set_that_is_not_whole_is_refused(tmp_path: Path, wrong: str) -> None:
    _split(tmp_path, 0)
    if wrong != "gone":
        _split(tmp_path, 1, 3 if wrong == "count" else 2, 0 if wrong == "number" else 1)
    with pytest.raises(ArtifactError) as caught:
        made_models.checkpoint(tmp_path)
    assert caught.value.reason == "MissingShard"
