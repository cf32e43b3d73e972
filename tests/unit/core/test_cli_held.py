# SPDX-License-Identifier: Apache-2.0
"""Small files of a model are read once."""

from pathlib import Path

import pytest

from made_models import EXAMPLES
from pedigree.cli.held import FILE_MAX_BYTES, HELD_MAX_BYTES, HeldSource
from pedigree.cli.models import read_subject, source_settings, to_ref
from pedigree.fingerprint.source import fingerprint_source
from pedigree.sources import open_source


def held(folder: Path) -> HeldSource:
    return HeldSource(open_source(to_ref(str(folder)), source_settings()))


def test_a_small_file_is_read_once_whatever_is_asked_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(range(100)))
    source = held(tmp_path)
    for _ in range(3):
        file = source.open("a.bin")
        assert (file.path, file.size) == ("a.bin", 100)
        assert file.read(10, 3) == bytes([10, 11, 12])
        assert file.read_many([(0, 1), (99, 1), (5, 0)]) == [b"\0", b"c", b""]
    assert source.bytes_read == 100


@pytest.mark.parametrize(("offset", "length"), [(99, 2), (-1, 1), (101, 0), (5, -1)])
def test_what_the_file_does_not_have_is_refused(
    tmp_path: Path, offset: int, length: int
) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(100))
    with pytest.raises(IndexError, match="100 bytes"):
        held(tmp_path).open("a.bin").read(offset, length)


def test_a_large_file_is_read_by_ranges(tmp_path: Path) -> None:
    with (tmp_path / "a.bin").open("wb") as file:
        file.truncate(FILE_MAX_BYTES + 1)
    source = held(tmp_path)
    assert source.open("a.bin").read(5, 2) == b"\0\0"
    assert source.bytes_read == 2


def test_many_small_files_are_held_up_to_a_bound(tmp_path: Path) -> None:
    count = HELD_MAX_BYTES // FILE_MAX_BYTES
    for number in range(count + 1):
        with (tmp_path / f"{number}.bin").open("wb") as file:
            file.truncate(FILE_MAX_BYTES)
    source = held(tmp_path)
    for number in range(count + 1):
        source.open(f"{number}.bin").read(0, 1)
    assert source.bytes_read == HELD_MAX_BYTES + 1


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
