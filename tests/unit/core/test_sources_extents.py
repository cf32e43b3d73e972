# SPDX-License-Identifier: Apache-2.0
"""Kept bytes: given back exactly, or not at all, whatever happens to the disk."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pedigree.errors import ConfigError
from pedigree.sources import extents
from pedigree.sources.extents import PIECE_BYTES, ExtentFolder, ExtentLog
from pedigree.sources.settings import CacheSettings

KEY = bytes(range(32))
BODY = bytes(range(256)) * 40  # 10,240 bytes
SIZE = len(BODY)


def _folder(path: Path, max_bytes: int = 1_000_000_000) -> ExtentFolder:
    return ExtentFolder(CacheSettings(folder=path, max_bytes=max_bytes))


def _log(path: Path, key: bytes = KEY, size: int = SIZE) -> ExtentLog:
    return _folder(path).log(key, size)


def _file(path: Path, key: bytes = KEY) -> Path:
    return path / "extents-1" / f"{key.hex()}.log"


def _filled(path: Path) -> Path:
    """Two records, of 100 bytes from 0 and of 300 from 500."""
    log = _log(path)
    log.put(0, BODY[:100])
    log.put(500, BODY[500:800])
    return _file(path)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.integers(0, 300), st.integers(0, 80)), max_size=25
    )
)
def test_what_is_kept_is_what_was_put(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    log, other = _log(folder, size=400), _log(folder, size=400)
    held: set[int] = set()
    for mine, offset, length in steps:
        (log if mine else other).put(offset, BODY[offset : offset + length])
        held |= set(range(offset, offset + length))
    again = _log(folder, size=400)
    holes = again.missing([(0, 400)])
    absent = [at for begin, length in holes for at in range(begin, begin + length)]
    assert absent == sorted(set(range(400)) - held)
    assert all(sum(a) < b[0] for a, b in itertools.pairwise(holes))
    for _, offset, length in steps:
        assert again.read(offset, length) == BODY[offset : offset + length]
    if holes:
        assert again.read(holes[0][0], 1) is None


def test_ranges_that_overlap_are_missing_once(tmp_path: Path) -> None:
    log = _log(tmp_path)
    log.put(20, BODY[20:30])
    assert log.missing([(25, 15), (0, 22), (10, 15)]) == [(0, 20), (30, 10)]


def test_large_answers_are_kept_in_pieces(tmp_path: Path) -> None:
    size = 3 * PIECE_BYTES + 17
    body = os.urandom(size)
    _log(tmp_path, size=size).put(0, body)
    log = _log(tmp_path, size=size)
    assert log.missing([(0, size)]) == []
    assert log.read(0, size) == body
    across = PIECE_BYTES - 5
    assert log.read(across, 10) == body[across : across + 10]


@pytest.mark.parametrize("cut", range(1, 332, 13))
def test_a_torn_end_is_cut_and_the_rest_is_kept(tmp_path: Path, cut: int) -> None:
    file = _filled(tmp_path)
    whole = file.stat().st_size
    second = whole - 300 - 32
    os.truncate(file, whole - cut)
    log = _log(tmp_path)
    assert log.read(0, 100) == BODY[:100]
    assert log.read(500, 300) is None
    assert log.missing([(500, 300)]) == [(500, 300)]
    log.put(500, BODY[500:800])
    assert _log(tmp_path).read(500, 300) == BODY[500:800]
    assert file.stat().st_size == second + 32 + 300


def test_no_damage_of_any_byte_changes_what_is_given(tmp_path: Path) -> None:
    file = _filled(tmp_path)
    right = file.read_bytes()
    lost = 0
    for at in range(len(right)):
        file.write_bytes(right[:at] + bytes([right[at] ^ 0x41]) + right[at + 1 :])
        log = _log(tmp_path)
        first, second = log.read(0, 100), log.read(500, 300)
        assert first in (BODY[:100], None)
        assert second in (BODY[500:800], None)
        harmless = at in range(51, 59)  # the log's number, whatever it is
        assert harmless or first is None or second is None, f"byte {at} is not watched"
        lost += first is None
    assert lost < len(right)  # the first record outlives the damage of the second


def test_damaged_bytes_can_be_kept_again(tmp_path: Path) -> None:
    file = _filled(tmp_path)
    right = bytearray(file.read_bytes())
    right[-1] ^= 1
    file.write_bytes(right)
    log = _log(tmp_path)
    assert log.read(500, 300) is None
    log.put(500, BODY[500:800])
    assert _log(tmp_path).read(500, 300) == BODY[500:800]


def test_a_record_of_another_content_is_not_given(tmp_path: Path) -> None:
    file = _filled(tmp_path)
    other = bytes(32)
    foreign = bytearray(file.read_bytes())
    begin = foreign.index(KEY)
    foreign[begin : begin + 32] = other
    _file(tmp_path, other).write_bytes(foreign)
    assert _log(tmp_path, other).read(0, 100) is None
    _file(tmp_path, other).write_bytes(file.read_bytes())
    assert _log(tmp_path, other).read(0, 100) is None


def test_a_record_outside_the_content_is_cut(tmp_path: Path) -> None:
    _filled(tmp_path)
    log = _log(tmp_path, size=600)
    assert log.read(0, 100) == BODY[:100]
    assert log.missing([(500, 100)]) == [(500, 100)]


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from pedigree.sources.extents import ExtentFolder\n"
        "from pedigree.sources.settings import CacheSettings\n"
        "log = ExtentFolder(CacheSettings(folder=Path(sys.argv[1]))).log("
        "bytes(range(32)), 10240)\n"
        "body = bytes(range(256)) * 40\n"
        "for at in range(int(sys.argv[2]), 10240, 4 * 32):\n"
        "    log.put(at, body[at : at + 32])\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(32 * place)])
        for place in range(4)
    ]
    assert [each.wait(60) for each in running] == [0, 0, 0, 0]
    assert _log(tmp_path).read(0, SIZE) == BODY


def test_what_another_process_deleted_is_missing_and_can_be_kept_again(
    tmp_path: Path,
) -> None:
    log = _log(tmp_path)
    log.put(0, BODY)
    fresh = _log(tmp_path)
    _file(tmp_path).unlink()
    assert fresh.read(0, 100) is None
    log.put(0, BODY)
    log.put(0, BODY)
    assert _log(tmp_path).read(0, 100) == BODY[:100]


def test_what_is_forgotten_is_missing_for_all_and_can_be_kept_again(
    tmp_path: Path,
) -> None:
    log, other = _log(tmp_path), _log(tmp_path)
    log.put(0, b"wrong")
    assert other.missing([(0, 5)]) == [(0, 5)]
    other.put(9, b"more")
    assert other.read(0, 5) == b"wrong"
    log.forget()
    for each in (log, _log(tmp_path)):
        assert each.read(0, 5) is None
    log.put(0, BODY[:500])
    other.put(600, BODY[600:700])  # has its own view of a file that is gone
    again = _log(tmp_path)
    assert again.read(0, 500) == BODY[:500]
    assert again.read(600, 100) == BODY[600:700]


def test_a_process_that_holds_a_log_for_ever_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _filled(tmp_path)
    monkeypatch.setattr(extents, "LOCK_WAIT_S", 0.05)
    log = _log(tmp_path)
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        log.put(900, BODY[900:910])
        assert log.missing([(900, 10)]) == [(900, 10)]
        assert log.read(0, 100) == BODY[:100]  # readers need no lock
        assert _log(tmp_path).read(0, 100) is None  # what it keeps is not known
    log.put(900, BODY[900:910])
    assert _log(tmp_path).read(900, 10) == BODY[900:910]


@settings(max_examples=200, deadline=None)
@given(tail=st.binary(max_size=300), cut=st.integers(0, 500))
def test_no_bytes_of_a_log_make_reading_fail(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    file = _filled(folder)
    file.write_bytes(file.read_bytes()[:cut] + tail)
    log = _log(folder)
    for begin, end in ((0, 100), (500, 300), (0, SIZE)):
        assert log.read(begin, end) in (None, BODY[begin : begin + end])
    log.put(0, BODY)
    assert _log(folder).read(0, SIZE) == BODY


def test_a_full_disk_keeps_less_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _log(tmp_path)
    log.put(0, BODY[:100])
    real = os.pwrite

    def full(file: int, data: bytes, place: int) -> int:
        real(file, bytes(data)[:40], place)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    log.put(200, BODY[200:300])
    monkeypatch.undo()
    assert log.missing([(200, 100)]) == [(200, 100)]
    log.put(300, BODY[300:400])
    again = _log(tmp_path)
    assert again.read(0, 100) == BODY[:100]
    assert again.read(200, 100) is None
    assert again.read(300, 100) == BODY[300:400]


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    keys = [bytes([number]) * 32 for number in range(3)]
    for age, key in enumerate(keys):
        _log(tmp_path, key).put(0, BODY)
        old = time.time() - 1000 + age
        os.utime(_file(tmp_path, key), (old, old))
    assert _log(tmp_path, keys[0]).read(0, 1) == BODY[:1]  # used again just now
    bound = 3 * (SIZE + 200)
    _folder(tmp_path, bound).log(KEY, SIZE).put(0, BODY)
    kept = [_file(tmp_path, key).exists() for key in (*keys, KEY)]
    assert kept == [True, False, True, True]


def test_no_more_is_kept_than_allowed_and_what_is_in_use_stays(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 2 * SIZE)
    log = folder.log(KEY, 10 * SIZE)
    for place in range(10):
        log.put(place * SIZE, BODY)
    assert log.read(0, SIZE) == BODY
    assert log.missing([(0, 10 * SIZE)]) == [(SIZE, 9 * SIZE)]
    assert _file(tmp_path).stat().st_size <= 2 * SIZE


def test_logs_are_for_their_user_alone(tmp_path: Path) -> None:
    file = _filled(tmp_path / "made")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    _folder(tmp_path)
    (tmp_path / "extents-1").chmod(0o755)
    with pytest.raises(ConfigError, match="wanted one of this user alone") as caught:
        _folder(tmp_path)
    assert caught.value.reason == "CacheUnusable"
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        _folder(tmp_path / "file")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "extents-1").symlink_to(tmp_path / "extents-1")
    with pytest.raises(ConfigError, match="wanted one of this user alone"):
        _folder(linked)
