# SPDX-License-Identifier: Apache-2.0
"""Zip archives beside weights: checkpoints under other names, and harmless ones."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import made_torch as made
from artifact_world.weights import lay_out, matrix, source_of, weights
from pedigree import refs
from pedigree.examine import ExamineSettings, examine
from pedigree.sources import SourceSettings
from pedigree.tensors.zip_kind import DIRECTORY_MAX_BYTES, form_of_zip

CHECKPOINT = made.checkpoint(made.mapping({"a": made.matrix()}))
PICKLE = made.program(made.mapping({}))
_END = struct.Struct("<4s4H2LH")


def _zip(
    members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED, comment: bytes = b""
) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as opened:
        opened.comment = comment
        for name, content in members.items():
            opened.writestr(name, content)
    return target.getvalue()


PLAIN = _zip({"docs/a.txt": b"a text", "b.json": b"{}"})
NESTED = _zip({"a/inner": PLAIN, "b.txt": b"b"})
FAR = _zip({f"docs/{number:04}": b"x" * 50 for number in range(2000)})
"""The directory begins before what is read at once."""


def _behind(count: int, content: bytes) -> bytes:
    """A checkpoint with other members before the pickle."""
    return _zip({f"m/{x}": content for x in range(count)} | {"m/data.pkl": PICKLE})


def _ended(archive: bytes, **changed: int) -> bytes:
    """An archive with other values in its end record."""
    names = ("disk", "first", "here", "count", "size", "offset", "comment")
    record = list(_END.unpack(archive[-_END.size :]))
    for name, value in changed.items():
        record[1 + names.index(name)] = value
    return archive[: -_END.size] + _END.pack(*record)


def _second_end(archive: bytes, comment: int = 0) -> bytes:
    """A comment of an archive that is another end record, of no members."""
    other = _END.pack(b"PK\5\6", 0, 0, 0, 0, 0, len(archive), comment)
    return archive[:-2] + len(other).to_bytes(2, "little") + other


def _second_directory() -> bytes:
    """Two directories of equal length, the harmless one where the end record says."""
    harmless, checkpoint = _zip({"m/data.txt": b""}), _zip({"m/data.pkl": b""})
    begin = checkpoint.index(b"PK\1\2")
    return harmless[: -_END.size] + checkpoint[begin : -_END.size] + harmless[-22:]


def _longer_member(archive: bytes) -> bytes:
    """An archive whose last member has a longer comment than there is room."""
    at = archive.rindex(b"PK\1\2") + 32
    return archive[:at] + b"\1" + archive[at + 1 :]


def _wide(archive: bytes) -> bytes:
    """A harmless directory, the last 20 bytes of which lead to a second one."""
    record = zipfile.ZipInfo("a.txt")
    record.comment = b"PK\x06\x07" + bytes(16)
    target = io.BytesIO(archive)
    with zipfile.ZipFile(target, "a") as opened:
        opened.writestr(record, b"")
    return target.getvalue()


HIDDEN = {
    "as PyTorch writes it": CHECKPOINT,
    "compressed": _zip({"archive/data.pkl": PICKLE}, zipfile.ZIP_DEFLATED),
    "the pickle last": _behind(9, b"x" * 600),
    "with a comment": _zip({"archive/data.pkl": PICKLE}, comment=b"none"),
    "in other letters": _zip({"m/DATA.Pkl": PICKLE}),
    "below no folder's name": _zip({"/data.pkl": PICKLE}),
    "behind a far directory": _behind(2000, b""),
    "two end records": _second_end(CHECKPOINT),
    "two end records, one with a wrong comment": _second_end(PLAIN, comment=9),
    "two directories": _second_directory(),
    "a directory of other records": PLAIN.replace(b"PK\1\2", b"PK\1\3", 1),
    "a member that goes on": _longer_member(PLAIN),
    "a second directory": _wide(PLAIN),
    "in two parts": _ended(PLAIN, disk=1),
    "another count": _ended(PLAIN, here=1, count=1),
    "a directory elsewhere": _ended(PLAIN, offset=3),
    "no end": CHECKPOINT[:-1],
    "a comment that goes on": _ended(PLAIN, comment=1),
    "a directory too long to be read": _zip(
        {f"{x}{'n' * 60_000}": b"" for x in range(DIRECTORY_MAX_BYTES // 60_000 + 1)}
    ),
}  # fmt: skip


def _told(folder: Path, files: Mapping[str, bytes]) -> dict[str, str]:
    """Messages of findings by reason, of a model with these beside its weights."""
    lay_out(folder, {"model.safetensors": weights({"a": matrix()}), **files})
    found = examine(
        refs.parse(f"file://{folder}"),
        settings=ExamineSettings(sources=SourceSettings()),
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    told = {each.reason: each.message for each in found.evidence.findings}
    return {key: text for key, text in told.items() if key != "UnknownArchitecture"}


@pytest.mark.parametrize("content", HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("name", ["weights.dat", "docs.zip"])
def test_a_checkpoint_under_another_name_is_told_as_hidden_weights(
    tmp_path: Path, name: str, content: bytes
) -> None:
    told = _told(tmp_path, {name: content})
    assert told.keys() - {"ArchiveInModel"} == {"HiddenWeights", "UnreadFormat"}
    assert "looks like pytorch" in told["HiddenWeights"]


def test_a_checkpoint_named_as_a_text_is_an_error_too(tmp_path: Path) -> None:
    told = _told(tmp_path, {"notes.txt": CHECKPOINT})
    assert told.keys() == {"HiddenWeights", "UnreadFormat", "MagicMismatch"}


@pytest.mark.parametrize(
    "member", ["model.safetensors", "a/b/data.pkl", "data.pkl", "lm_head.npy"]
)
def test_other_weights_in_an_archive_are_hidden_too(
    tmp_path: Path, member: str
) -> None:
    told = _told(tmp_path, {"docs.zip": _zip({member: b"x"})})
    assert told.keys() == {"ArchiveInModel", "HiddenWeights", "UnsupportedFormat"}
    assert "pytorch" not in told["HiddenWeights"]


@pytest.mark.parametrize("name", ["docs.zip", "blob.dat", "blob"])
@pytest.mark.parametrize(
    "content",
    [PLAIN, NESTED, FAR, _zip({"a": b""}, comment=b"a comment"), _zip({})],
    ids=["of texts", "with one in it", "of many", "with a comment", "of nothing"],
)
def test_an_archive_without_weights_is_told_as_an_archive_only(
    tmp_path: Path, name: str, content: bytes
) -> None:
    assert list(_told(tmp_path, {name: content})) == ["ArchiveInModel"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_checkpoint_is_never_taken_for_something_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(CHECKPOINT)
    for at in data.draw(st.lists(st.integers(4, len(content) - 1), max_size=3)):
        content[at] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    file = source_of(folder, {"x.dat": bytes(content)}).open("x.dat")
    found = form_of_zip(file)  # any exception fails the test
    harmless = b"data.pkl" not in bytes(content).lower()[len(content) // 2 :]
    assert found == "pytorch" or harmless
