# SPDX-License-Identifier: Apache-2.0
"""PyTorch checkpoints are read without being loaded, or are refused."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import made_models
import made_torch as made
from pedigree.errors import PedigreeError
from pedigree.lineage.compare import compare
from pedigree.tensors.pickle_walk import walk

TINY = Path(__file__).parents[2] / "data" / "pytorch" / "tiny.pt"
GOOD = made.checkpoint(made.mapping({"a": made.matrix()}))


def _reason(folder: Path, content: bytes, name: str = "pytorch_model.bin") -> str:
    with pytest.raises(PedigreeError) as caught:
        made_models.checkpoint(made.write(folder, content, name))
    assert str(caught.value)
    return caught.value.reason


def _walked(body: bytes) -> str:
    with pytest.raises(PedigreeError) as caught:
        walk(body, path="a.bin")
    return f"{caught.value.reason}: {caught.value}"


def test_a_file_that_pytorch_wrote_is_read(tmp_path: Path) -> None:
    found = made_models.read(made.write(tmp_path, TINY.read_bytes(), "model.pt"))
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert sorted(found) == ["f", "h", "t", "w"]
    assert np.array_equal(found["w"], values)
    assert np.array_equal(found["t"], values.T)
    assert found["h"].tolist() == found["f"].tolist() == [1, 1]


def test_lines_of_a_transposed_matrix_are_read(tmp_path: Path) -> None:
    opened = made_models.checkpoint(made.write(tmp_path, TINY.read_bytes(), "m.pt"))
    assert opened.read_lines("t", [2, 0]).tolist() == [[2, 5], [0, 3]]
    assert opened.read_lines("t", []).shape == (0, 2)


def test_pickles_are_an_error_although_they_are_measured(tmp_path: Path) -> None:
    opened = made_models.checkpoint(made.write(tmp_path, GOOD))
    assert [(r.reason, r.severity) for r in opened.remarks] == [
        ("PickleWeights", "Error")
    ]


def test_the_same_weights_are_identical_in_both_formats(tmp_path: Path) -> None:
    weights = made_models.llama(1)
    first = made_models.write(tmp_path / "a", weights, dtype="F32")
    second = made.write(tmp_path / "b", made.contiguous(weights))
    verdict = compare(made_models.fingerprint(first), made_models.fingerprint(second))
    assert str(verdict.lineage) == "Identical"


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    placement = {}
    for number, name in enumerate("ab", 1):
        path = f"pytorch_model-0000{number}-of-00002.bin"
        made.write(tmp_path, made.checkpoint(made.mapping({name: made.matrix()})), path)
        placement[name] = path
    index = json.dumps({"weight_map": placement}).encode()
    made.write(tmp_path, index, "pytorch_model.bin.index.json")
    assert sorted(made_models.read(tmp_path)) == ["a", "b"]
    (tmp_path / path).unlink()
    assert _reason(tmp_path, index, "pytorch_model.bin.index.json") == "MissingShard"


def test_names_keep_their_path_where_tensors_lie_in_several_places(
    tmp_path: Path,
) -> None:
    body = made.mapping(
        {
            "model": made.mapping({"a": made.matrix()}),
            "ema": made.mapping({"a": made.matrix()}),
        }
    )
    found = made_models.read(made.write(tmp_path, made.checkpoint(body)))
    assert sorted(found) == ["ema.a", "model.a"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"cos\nsystem\n(" + made.text("id") + b"tR", "os.system"),
        (b"cos\nsystem\n)R", "'os.system' by GLOBAL at byte 2"),
        (b"cposix\nsystem\n)R", "posix.system"),
        (b"cbuiltins\neval\n)R", "builtins.eval"),
        (b"cpkgutil\nresolve_name\n)R", "pkgutil.resolve_name"),
        (made.text("os") + b"\x94" + made.text("system") + b"\x94\x93",
         "os.system' by STACK_GLOBAL"),
        (b"ctorch\nload\n)R", "torch.load"),
        (b"ctorch.storage\n_load_from_bytes\n)R", "_load_from_bytes"),
        (b"})R", "REDUCE"),
        (b"(ios\nsystem\n", "INST"),
        (b"(o", "OBJ"),
        (b")\x81", "NEWOBJ"),
        (b"))}\x92", "NEWOBJ_EX"),
        (b"\x82\x01", "EXT1"),
        (b"\x84\x01\x00\x00\x00", "EXT4"),
        (made.ORDERED + made.mapping({"__reduce__": b"N"}) + b"b", "BUILD"),
        (b"}}b", "BUILD"),
        (b"\x8b\xff\xff\xff\x7f", "integer of 2147483647 bytes"),
        (b"\x80\x02N", "second PROTO"),
        (b"C\x04" + pickle.dumps(1, 2)[:4], "SHORT_BINBYTES"),
        (b"h\x07", "memo 7"),
        (b"0", "POP"),
        (b"NN", "one value"),
        (b"}(" + 2 * (made.text("a") + b"N") + b"u", "twice"),
    ],
)  # fmt: skip
def test_whatever_is_no_map_of_tensors_is_refused_by_name(
    body: bytes, told: str
) -> None:
    found = _walked(made.program(body))
    assert found.startswith("ForbiddenPickle")
    assert told in found
    assert "at byte" in found


def test_a_second_pickle_after_the_first_is_refused() -> None:
    found = _walked(made.program(b"}") + made.program(b"cos\nsystem\n)R"))
    assert "after its STOP" in found


def test_memo_and_stack_are_bounded() -> None:
    assert "LimitExceeded" in _walked(made.program(b"Nr\xff\xff\xff\xff"))
    assert "LimitExceeded" in _walked(made.program(b"N" * 1_000_001))


def test_a_tree_that_grows_by_sharing_is_refused(tmp_path: Path) -> None:
    bomb = b"](" + b"N" * 100 + b"eq\x00"
    for level in range(1, 8):
        get = bytes([ord("h"), level - 1])
        bomb += b"](" + get * 100 + b"eq" + bytes([level])
    body = made.mapping({"a": made.matrix(), "b": b"(" + bomb + b"t"})
    assert _reason(tmp_path, made.checkpoint(body)) == "LimitExceeded"


def test_a_list_that_holds_itself_is_refused(tmp_path: Path) -> None:
    body = made.mapping({"a": made.matrix(), "b": b"]q\x00h\x00a"})
    assert _reason(tmp_path, made.checkpoint(body)) == "LimitExceeded"


def _patched(where: bytes, at: int, value: bytes) -> bytes:
    begin = GOOD.index(where) + at
    return GOOD[:begin] + value + GOOD[begin + len(value) :]


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace(b"archive/data.pkl", b"archive/evil.pkl", 1),  # CVE-2025-1944
        _patched(b"PK\x01\x02", 8, b"\x01\x00"),  # CVE-2025-1945
        _patched(b"PK\x03\x04", 6, b"\x01\x00"),
        _patched(b"PK\x03\x04", 14, b"\x00\x00\x00\x00"),
        GOOD + b"x",
        b"x" + GOOD,
        GOOD.replace(b"little", b"bigger"),
        GOOD[:-2] + b"\x01\x00x",
        b"7z\xbc\xaf\x27\x1c" + bytes(64),
        b"",
        b"x",
        made.archive({"byteorder": b"little"}),
        made.archive({"data.pkl": made.program(b"}"), "code/a.py": b""}),
        made.archive({"data.pkl": made.program(b"}"), "config.p": b""}),
        made.checkpoint(made.mapping({"a": made.matrix("1")})),
    ],
)  # fmt: skip
def test_archives_that_readers_could_differ_on_are_refused(
    tmp_path: Path, content: bytes
) -> None:
    assert _reason(tmp_path, content) == "MalformedZip"


@pytest.mark.parametrize("twice", [False, True])
def test_compressed_and_repeated_members_are_refused(
    tmp_path: Path, twice: bool
) -> None:
    target = io.BytesIO()
    kind = zipfile.ZIP_STORED if twice else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(target, "w", kind) as opened:
        opened.writestr("a/data.pkl", made.program(b"}"))
        if twice:
            with pytest.warns(UserWarning, match="Duplicate name"):
                opened.writestr("a/data.pkl", made.program(b"}"))
    assert _reason(tmp_path, target.getvalue()) == "MalformedZip"


def test_bare_pickles_and_tars_are_refused(tmp_path: Path) -> None:
    assert _reason(tmp_path, pickle.dumps({}, 2)) == "LegacyPickle"  # CVE-2025-10155
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as opened:
        opened.addfile(tarfile.TarInfo("pickle"))
    assert _reason(tmp_path, target.getvalue()) == "LegacyPickle"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (made.tensor(made.storage("0", 6), (2, 3), (6, 1)), "UnsupportedStride"),
        (made.tensor(made.storage("0", 6), (6,), (0,)), "UnsupportedStride"),
        (made.tensor(made.storage("0", 6), (7,), (1,)), "StorageMismatch"),
        (made.tensor(made.storage("0", 6), (3,), (1,), 4), "StorageMismatch"),
        (made.tensor(made.storage("0", 6), (3,), (1,), -1), "StorageMismatch"),
        (made.tensor(made.storage("0", 7), (3,), (1,)), "StorageMismatch"),
        (made.tensor(made.storage("0", 6), (-1,), (1,)), "MalformedShape"),
        (made.tensor(made.storage("0", 6), (0, *(2**31 - 1,) * 3), (1,) * 4),
         "ShapeOverflow"),
    ],
)  # fmt: skip
def test_tensors_outside_their_storage_or_of_other_strides_are_refused(
    tmp_path: Path, body: bytes, reason: str
) -> None:
    assert _reason(tmp_path, made.checkpoint(made.mapping({"a": body}))) == reason


def test_every_cut_is_refused(tmp_path: Path) -> None:
    content = TINY.read_bytes()
    for length in range(0, len(content), 97):
        assert _reason(tmp_path, content[:length]) == "MalformedZip"


@given(at=st.integers(0, 10_000), value=st.binary(min_size=1, max_size=8))
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_change_gives_a_model_or_a_named_error(
    tmp_path: Path, at: int, value: bytes
) -> None:
    content = TINY.read_bytes()
    at %= len(content)
    content = content[:at] + value + content[at + len(value) :]
    with suppress(PedigreeError):
        made_models.read(made.write(tmp_path, content))


@given(st.binary(max_size=200))
def test_any_pickle_gives_a_value_or_a_named_error(data: bytes) -> None:
    with suppress(PedigreeError):
        walk(b"\x80\x02" + data, path="a")
