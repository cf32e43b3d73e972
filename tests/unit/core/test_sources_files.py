# SPDX-License-Identifier: Apache-2.0
"""Models in folders: what is listed, and every way a folder says no."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifact_world.weights import lay_out, source_of
from pedigree import refs
from pedigree.errors import ArtifactError, SourceRefused, SourceUnavailable
from pedigree.limits import Limits
from pedigree.sources import SourceSettings, open_source, resolve_identity

FILES = {"config.json": b"{}", "b/c.txt": b"inner", "a.txt": b"0123456789", "Z": b""}


def _refusal(folder: Path, **settings: Any) -> SourceRefused:
    with pytest.raises(SourceRefused) as caught:
        source_of(folder, **settings)
    message = caught.value.message
    assert not message.endswith(".")
    return caught.value


def test_a_folder_lists_its_files_by_path(tmp_path: Path) -> None:
    source = source_of(tmp_path, FILES)
    listed = [(entry.path, entry.size, entry.digest) for entry in source.files()]
    assert listed == [
        ("Z", 0, None),
        ("a.txt", 10, None),
        ("b/c.txt", 5, None),
        ("config.json", 2, None),
    ]


def test_ranges_are_read_as_asked_and_counted(tmp_path: Path) -> None:
    source = source_of(tmp_path, FILES)
    file = source.open("a.txt")
    assert (file.path, file.size) == ("a.txt", 10)
    assert file.read(3, 4) == b"3456"
    assert file.read(0, 0) == b""
    assert file.read_many([(8, 2), (0, 1), (8, 1)]) == [b"89", b"0", b"8"]
    assert source.bytes_read == 4 + 10
    assert source.open("b/c.txt").read(0, 5) == b"inner"


def test_a_read_past_the_end_is_a_truncated_file(tmp_path: Path) -> None:
    file = source_of(tmp_path, FILES).open("a.txt")
    with pytest.raises(ArtifactError, match="gave 2 bytes from byte 8") as caught:
        file.read(8, 4)
    assert caught.value.reason == "TruncatedFile"


def test_one_file_is_a_model_too(tmp_path: Path) -> None:
    lay_out(tmp_path, FILES)
    source = source_of(tmp_path / "a.txt")
    assert [entry.path for entry in source.files()] == ["a.txt"]
    assert source.open("a.txt").read(0, 10) == b"0123456789"


def test_the_identity_is_the_same_until_something_changes(tmp_path: Path) -> None:
    settings = SourceSettings()
    source = source_of(tmp_path, FILES)
    assert source.identity == source_of(tmp_path).identity
    assert resolve_identity(source.ref, settings) == (source.ref, source.identity)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "new.txt").write_bytes(b""),
        lambda folder: (folder / "a.txt").write_bytes(b"9876543210"),
        lambda folder: (folder / "a.txt").unlink(),
        lambda folder: (folder / "a.txt").rename(folder / "moved.txt"),
    ],
)
def test_any_change_changes_the_identity(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    before = source_of(tmp_path, FILES).identity
    change(tmp_path)
    assert source_of(tmp_path).identity != before


def test_setting_the_time_back_does_not_hide_a_change(tmp_path: Path) -> None:
    before = source_of(tmp_path, FILES).identity
    file = tmp_path / "a.txt"
    times = file.stat()
    file.write_bytes(b"9876543210")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_mtime_ns == times.st_mtime_ns
    assert source_of(tmp_path).identity != before


@pytest.mark.parametrize("path", ["gone", "gone/deeper", "a.txt/inner", "x" * 300])
def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path, path: str) -> None:
    lay_out(tmp_path, FILES)
    refusal = _refusal(tmp_path / path)
    assert refusal.reason == "NotFound"


@pytest.mark.parametrize("inner", ["", "sub/deeper"])
def test_an_empty_folder_says_so(tmp_path: Path, inner: str) -> None:
    (tmp_path / inner).mkdir(parents=True, exist_ok=True)
    refusal = _refusal(tmp_path)
    assert refusal.reason == "EmptyFolder"
    assert "mounted" in str(refusal)


def test_a_vanished_model_is_not_found_when_read(tmp_path: Path) -> None:
    source = source_of(tmp_path, FILES)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(SourceRefused) as caught:
        source.open("a.txt").read(0, 1)
    assert caught.value.reason == "NotFound"


@pytest.mark.parametrize("content", [b"9876543210", b"shorter", b"much longer now"])
def test_a_file_that_changes_after_the_listing_is_not_read(
    tmp_path: Path, content: bytes
) -> None:
    source = source_of(tmp_path, FILES)
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(SourceUnavailable, match="changed while") as caught:
        source.open("a.txt").read(0, 1)
    assert caught.value.reason == "ChangedWhileReading"


_READ_AS_NOBODY = """
import os, sys
from pedigree import refs
from pedigree.errors import SourceRefused
from pedigree.sources import FileSource, SourceSettings
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    source = FileSource(refs.parse("file://" + sys.argv[1]), SourceSettings())
    source.open("a.txt").read(0, 1)
except SourceRefused as error:
    print(error.reason, os.geteuid(), error)
"""


@pytest.mark.parametrize("target", ["", "a.txt", "b"])
def test_a_user_without_permission_is_told_so(target: str) -> None:
    # Tests may run as root, whom permissions do not stop: a child drops privileges.
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        folder = lay_out(Path(above) / "model", FILES)
        (folder / target).chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", _READ_AS_NOBODY, str(folder)],
            capture_output=True,
            text=True,
            check=True,
        )
        (folder / target).chmod(0o755)
    reason, user, message = done.stdout.split(maxsplit=2)
    assert reason == "Forbidden"
    assert user != "0"
    assert "may not be read: Permission denied" in message
    assert f"let user {user} read it" in message


@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        (errno.EACCES, SourceRefused, "Forbidden"),
        (errno.EPERM, SourceRefused, "Forbidden"),
        (errno.ENOENT, SourceRefused, "NotFound"),
        (errno.ENOTDIR, SourceRefused, "NotFound"),
        (errno.EIO, SourceUnavailable, "ReadFailed"),
        (errno.ESTALE, SourceUnavailable, "ReadFailed"),
        (errno.EMFILE, SourceUnavailable, "ReadFailed"),
    ],
)
def test_an_error_of_the_file_system_keeps_its_meaning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[Exception],
    reason: str,
) -> None:
    source = source_of(tmp_path, FILES)

    def fail(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(kind) as caught:
        source.open("a.txt").read(0, 1)
    assert getattr(caught.value, "reason", "") == reason


def test_models_must_be_below_an_allowed_folder(tmp_path: Path) -> None:
    allowed = tmp_path / "models"
    lay_out(allowed / "a", FILES)
    lay_out(tmp_path / "models-secret", FILES)
    assert source_of(allowed / "a", file_roots=(allowed,)).files()
    assert source_of(allowed, file_roots=(tmp_path / "other", allowed)).files()
    for outside in (tmp_path / "models-secret", tmp_path):
        assert _refusal(outside, file_roots=(allowed,)).reason == "OutsideRoots"
    assert _refusal(allowed / "a", file_roots=()).reason == "OutsideRoots"


def test_a_special_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    lay_out(tmp_path, FILES)
    os.mkfifo(tmp_path / "pipe")
    assert _refusal(tmp_path).reason == "SpecialFile"
    assert _refusal(tmp_path / "pipe").reason == "SpecialFile"


def test_a_socket_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, FILES)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert _refusal(tmp_path).reason == "SpecialFile"


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, {f"f{i}": b"" for i in range(6)})
    assert source_of(tmp_path, limits=Limits(files_max=6)).files()
    refusal = _refusal(tmp_path, limits=Limits(files_max=5))
    assert refusal.reason == "LimitExceeded"


def test_a_tree_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, {"/".join(["d"] * 40) + "/f": b""})
    assert _refusal(tmp_path).reason == "LimitExceeded"


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb", b"a\x1b[31m"])
def test_a_name_that_cannot_be_shown_is_refused(tmp_path: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"")
    refusal = _refusal(tmp_path)
    assert refusal.reason == "MalformedName"
    assert refusal.message.isprintable()


def test_importing_sources_does_not_import_the_hub_client() -> None:
    program = "import pedigree.examine, sys; print('huggingface_hub' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_open_source_reads_a_folder(tmp_path: Path) -> None:
    lay_out(tmp_path, FILES)
    ref = refs.parse(f"file://{tmp_path}")
    assert open_source(ref, SourceSettings()).ref == ref
