# SPDX-License-Identifier: Apache-2.0
"""Small files of a model are read once."""

import itertools
from pathlib import Path

import pytest

from made_models import EXAMPLES
from pedigree.cli.models import (
    HELD_FILE_MAX_BYTES,
    HELD_MAX_BYTES,
    read_subject,
    source_settings,
    to_ref,
)
from pedigree.errors import ArtifactError, SourceUnavailable
from pedigree.fingerprint.source import fingerprint_source
from pedigree.sources import held as module
from pedigree.sources import open_source
from pedigree.sources.held import HeldSource


def held(folder: Path, most_bytes: int = 1000) -> HeldSource:
    return HeldSource(open_source(to_ref(str(folder)), source_settings()), most_bytes)


def test_a_small_file_is_read_once_whatever_is_asked_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(range(100)))
    source = held(tmp_path)
    for _ in range(3):
        file = source.open("a.bin")
        assert (file.path, file.size) == ("a.bin", 100)
        assert file.read(10, 3) == bytes([10, 11, 12])
        assert file.read_many([(0, 1), (99, 1), (5, 0)]) == [b"\0", b"c", b""]
    assert source.bytes_read == 100


def test_every_range_of_a_file_of_several_pieces_is_what_the_file_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 4)
    content = bytes(range(14))
    (tmp_path / "a.bin").write_bytes(content)
    source = held(tmp_path)
    file = source.open("a.bin")
    for begin, end in itertools.combinations(range(15), 2):
        assert file.read(begin, end - begin) == content[begin:end]
    assert source.bytes_read == 14


def test_only_the_pieces_that_are_asked_for_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 4)
    (tmp_path / "a.bin").write_bytes(bytes(14))
    source = held(tmp_path)
    assert source.open("a.bin").read(5, 1) == b"\0"
    assert (source.bytes_read, source.held_bytes) == (4, 14)


@pytest.mark.parametrize(("offset", "length"), [(99, 2), (-1, 1), (5, -1), (200, 5)])
def test_what_the_file_does_not_have_is_refused(
    tmp_path: Path, offset: int, length: int
) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(100))
    with pytest.raises((ArtifactError, SourceUnavailable)) as caught:
        held(tmp_path).open("a.bin").read(offset, length)
    assert caught.value.reason in ("TruncatedFile", "ReadFailed")


def test_a_file_that_does_not_fit_is_read_by_ranges(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(101))
    source = held(tmp_path, 100)
    assert source.open("a.bin").read(5, 2) == b"\0\0"
    assert (source.bytes_read, source.held_bytes) == (2, 0)


def test_files_that_nobody_wants_held_are_read_by_ranges(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(bytes(100))
    inner = open_source(to_ref(str(tmp_path)), source_settings())
    source = HeldSource(inner, 1000, lambda entry: entry.path == "a.bin")
    for name in ("a.bin", "b.bin"):
        source.open(name).read(0, 1)
    assert source.bytes_read == 100 + 1


def test_the_smallest_files_are_held_up_to_a_bound(tmp_path: Path) -> None:
    for size in (40, 10, 30, 20):
        (tmp_path / f"{size}.bin").write_bytes(bytes(size))
    source = held(tmp_path, 69)
    for size in (40, 30, 20, 10):
        source.open(f"{size}.bin").read(0, 1)
    assert source.held_bytes == 10 + 20 + 30
    assert source.bytes_read == 10 + 20 + 30 + 1


def test_memory_that_is_given_back_is_that_of_the_largest_files(
    tmp_path: Path,
) -> None:
    for size in (10, 20, 30):
        (tmp_path / f"{size}.bin").write_bytes(bytes([size]) * size)
    source = held(tmp_path)
    files = {size: source.open(f"{size}.bin") for size in (10, 20, 30)}
    for file in files.values():
        file.read(0, 1)
    source.keep(35)
    assert source.held_bytes == 30
    for size, file in files.items():  # the same files, opened before
        assert file.read(2, 3) == bytes([size]) * 3
        assert file.read_many([(0, 1), (size - 1, 1)]) == [bytes([size])] * 2
    # What was given back is read by ranges, which the source joins.
    assert source.bytes_read == 10 + 20 + 30 + 3 + 30
    source.keep(0)
    assert source.held_bytes == 0


def test_the_command_line_holds_small_files_alone() -> None:
    subject = read_subject(str(EXAMPLES / "llama-a"))
    assert isinstance(subject.source, HeldSource)
    assert HELD_FILE_MAX_BYTES < HELD_MAX_BYTES
    whole = sum(entry.size for entry in subject.source.files())
    assert subject.source.held_bytes == whole < HELD_FILE_MAX_BYTES


def test_a_held_model_has_the_same_fingerprint() -> None:
    model = str(EXAMPLES / "llama-a")
    once = read_subject(model)
    ranged = open_source(to_ref(model), source_settings())
    assert once.fingerprint.digest == fingerprint_source(ranged).digest
    size = sum(path.stat().st_size for path in Path(model).iterdir())
    assert once.bytes_read <= size < ranged.bytes_read


def test_a_subject_that_is_not_held_is_read_once_too_and_kept_by_nobody() -> None:
    model = EXAMPLES / "llama-a"
    subject = read_subject(str(model), hold=False)
    assert (subject.source, subject.checkpoint) == (None, None)
    assert subject.bytes_read <= sum(path.stat().st_size for path in model.iterdir())
