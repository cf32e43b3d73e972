# SPDX-License-Identifier: Apache-2.0
"""Links that make the gate read what lies outside a model's folder.

Also links put in place after the listing, by a writer who races with the reader.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from artifact_world.weights import lay_out, source_of
from pedigree.errors import SourceError, SourceRefused

FILES = {"config.json": b"{}", "sub/a.txt": b"inner"}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    secret = lay_out(tmp_path / "secret", {"key": b"inner", "a.txt": b"inner"})
    return lay_out(tmp_path / "model", FILES), secret


def _reason(folder: Path, **settings: Any) -> str:
    with pytest.raises(SourceRefused) as caught:
        source_of(folder, **settings)
    return caught.value.reason


def test_a_link_to_a_file_outside_is_refused(folders: tuple[Path, Path]) -> None:
    model, secret = folders
    (model / "link").symlink_to(secret / "key")
    assert _reason(model) == "LinkOutside"


def test_a_relative_link_outside_is_refused(folders: tuple[Path, Path]) -> None:
    model, _ = folders
    (model / "sub" / "link").symlink_to("../../secret/key")
    assert _reason(model) == "LinkOutside"


def test_a_link_to_a_folder_whose_name_begins_alike_is_refused(
    folders: tuple[Path, Path],
) -> None:
    model, _ = folders
    twin = lay_out(model.parent / "model-twin", {"key": b""})
    (model / "link").symlink_to(twin / "key")
    assert _reason(model) == "LinkOutside"


def test_a_chain_of_links_outside_is_refused(folders: tuple[Path, Path]) -> None:
    model, secret = folders
    (model / "second").symlink_to(secret / "key")
    (model / "first").symlink_to("second")
    assert _reason(model) == "LinkOutside"


def test_a_link_to_a_folder_is_refused(folders: tuple[Path, Path]) -> None:
    model, secret = folders
    (model / "link").symlink_to(secret)
    assert _reason(model) == "LinkOutside"
    (model / "link").unlink()
    (model / "link").symlink_to("sub")
    assert _reason(model) == "SpecialFile"


def test_links_in_a_circle_are_refused(folders: tuple[Path, Path]) -> None:
    model, _ = folders
    (model / "one").symlink_to("two")
    (model / "two").symlink_to("one")
    assert _reason(model) == "LinkOutside"


def test_a_dangling_link_is_refused(folders: tuple[Path, Path]) -> None:
    model, _ = folders
    (model / "link").symlink_to("nothing")
    assert _reason(model) == "NotFound"


def test_a_model_that_is_a_link_out_of_the_roots_is_refused(
    folders: tuple[Path, Path],
) -> None:
    model, secret = folders
    roots = model.parent / "roots"
    roots.mkdir()
    (roots / "model").symlink_to(secret)
    assert _reason(roots / "model", file_roots=(roots,)) == "OutsideRoots"


def test_a_link_inside_the_folder_is_read_under_its_own_name(
    folders: tuple[Path, Path],
) -> None:
    model, _ = folders
    (model / "link").symlink_to("sub/a.txt")
    source = source_of(model)
    assert [entry.path for entry in source.files()] == [
        "config.json",
        "link",
        "sub/a.txt",
    ]
    assert source.open("link").read(0, 5) == b"inner"


@pytest.mark.parametrize("swap", ["file", "folder"])
def test_a_link_put_in_place_after_the_listing_is_not_followed(
    folders: tuple[Path, Path], swap: str
) -> None:
    model, secret = folders
    source = source_of(model)
    if swap == "file":
        (model / "sub" / "a.txt").unlink()
        (model / "sub" / "a.txt").symlink_to(secret / "a.txt")
    else:
        (model / "sub").rename(model / "aside")
        (model / "sub").symlink_to(secret)
    with pytest.raises(SourceError) as caught:
        source.open("sub/a.txt").read(0, 5)
    assert caught.value.reason in ("LinkOutside", "NotFound")


def test_another_file_put_in_place_is_not_read(folders: tuple[Path, Path]) -> None:
    model, _ = folders
    source = source_of(model)
    (model / "other").write_bytes(b"evil!")
    (model / "other").rename(model / "sub" / "a.txt")
    with pytest.raises(SourceError) as caught:
        source.open("sub/a.txt").read(0, 5)
    assert caught.value.reason == "ChangedWhileReading"
