# SPDX-License-Identifier: Apache-2.0
"""A reference that names one variant of a model means that one and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from pedigree import refs
from pedigree.errors import SourceRefused
from pedigree.sources import FileSource, SourceSettings
from pedigree.sources.within import WithinSource


def _part(folder: Path, within: str) -> WithinSource:
    ref = refs.parse(f"file://{folder}")
    return WithinSource(FileSource(ref, SourceSettings()), within)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "config.json",
        "a-Q4_0.gguf",
        "a-Q8_0-00001-of-00002.gguf",
        "a-Q8_0-00002-of-00002.gguf",
        "part/config.json",
        "part/model.safetensors",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_a_file_comes_with_what_lies_beside_it_and_holds_no_weights(
    folder: Path,
) -> None:
    part = _part(folder, "a-Q4_0.gguf")
    assert [entry.path for entry in part.files()] == ["a-Q4_0.gguf", "config.json"]


def test_a_part_of_a_split_set_means_the_whole_set(folder: Path) -> None:
    part = _part(folder, "a-Q8_0-00002-of-00002.gguf")
    assert [entry.path for entry in part.files()] == [
        "a-Q8_0-00001-of-00002.gguf",
        "a-Q8_0-00002-of-00002.gguf",
        "config.json",
    ]


def test_paths_of_a_folder_count_from_there_and_are_read_from_there(
    folder: Path,
) -> None:
    part = _part(folder, "part")
    assert [entry.path for entry in part.files()] == [
        "config.json",
        "model.safetensors",
    ]
    size = part.files()[0].size
    assert part.open("config.json").read(0, size) == b"part/config.json"


@pytest.mark.parametrize("within", ["b.gguf", "par", "part/model"])
def test_what_is_not_there_is_refused(folder: Path, within: str) -> None:
    with pytest.raises(SourceRefused, match="has no file or folder") as caught:
        _part(folder, within)
    assert caught.value.reason == "NotFound"
