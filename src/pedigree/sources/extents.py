# SPDX-License-Identifier: Apache-2.0
"""Bytes of far files kept on disk, so that an examination can be taken up again.

One log for each content: records of at most :data:`PIECE_BYTES` that are only ever
appended, each with its place and a mark over key, place and bytes.  A process may be
killed at any moment: a record without its end is cut off by whoever opens the log next.
A record whose mark is wrong is forgotten, and its bytes are fetched again.  Several
processes share a folder: whoever appends holds a lock on the log, and whoever reads
needs none, because every read is judged by its mark.

Nothing here ever fails a read: a disk that is full or broken only means that less is
kept.  Kept bytes are believed as little as those of the network.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import struct
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pedigree.errors import ConfigError, quote
from pedigree.sources.settings import CacheSettings
from pedigree.sources.spans import Range

SALT = "salt"
"""File of random bytes that the names of logs depend on; never deleted."""
PIECE_BYTES = 256 << 10
"""Bytes of one record: what is read and hashed to serve any byte of it."""
_HEAD = struct.Struct("<4sIQ16s")  # magic, length, offset, mark
_MAGIC = b"EXT1"
_FIRST = b"PEDIGREE EXTENTS 1\n"
_KEY_BYTES = 32
_NUMBER_BYTES = 8
"""Tells a log from the one that had its name before."""
_BEGIN = len(_FIRST) + _KEY_BYTES + _NUMBER_BYTES
_RECORDS_MAX = 2_000_000
"""Records of one log that are looked at; the rest is cut (arbitrary)."""
_RESCAN_BYTES = 32 << 20
"""So much may be added before the folder is measured again."""
LOCK_WAIT_S = 5.0
"""Appending takes milliseconds; after this a process reads without keeping."""
_LOCK_STEP_S = 0.005
_MARKED = 8
"""Records held in memory after their mark was found right."""
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class ExtentFolder:
    """A folder of logs with a bound.

    Args:
        settings: Where, and how much.

    Raises:
        ConfigError: The folder cannot be made, or somebody else may write to it
            (``CacheUnusable``).
    """

    def __init__(self, settings: CacheSettings) -> None:
        self.path = settings.folder / "extents-1"
        self._max_bytes = settings.max_bytes
        self._lock = Lock()
        self._total: int | None = None
        self._since = 0
        self._own: set[str] = set()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            info = self.path.lstat()
        except OSError as error:
            raise ConfigError(
                f"cache folder {quote(str(settings.folder))} cannot be used: "
                f"{os.strerror(error.errno or 0)}",
                reason="CacheUnusable",
                hint="name a folder that this user may write to",
            ) from error
        private = stat.S_ISDIR(info.st_mode) and not info.st_mode & 0o077
        if not private or info.st_uid != os.geteuid():
            raise ConfigError(
                f"cache folder {quote(str(self.path))} belongs to another user or "
                "may be read by others, wanted one of this user alone",
                reason="CacheUnusable",
                hint="remove it, or name another folder",
            )

    def log(self, key: bytes, size: int) -> ExtentLog:
        """What is kept of one content of ``size`` bytes."""
        name = f"{key.hex()}.log"
        with self._lock:
            self._own.add(name)
        return ExtentLog(self.path / name, key, size, self.make_room)

    def make_room(self, wanted: int) -> bool:
        """Whether so many bytes may be added, after others were deleted for them."""
        with self._lock:
            total = self._total
            if total is None or self._since > _RESCAN_BYTES:
                total = self._measured()
            if total + wanted > self._max_bytes:
                total = self._swept(wanted)
            fits = total + wanted <= self._max_bytes
            self._total = total + wanted if fits else total
            self._since += wanted
            return fits

    def _measured(self) -> int:
        self._since = 0
        return sum(size for _, size, _ in self._entries())

    def _swept(self, wanted: int) -> int:
        """Delete what was not used for longest; never what this process uses."""
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        self._since = 0
        for _, size, name in entries:
            if total + wanted <= self._max_bytes:
                break
            if name not in self._own and name != SALT:
                with suppress(OSError):
                    (self.path / name).unlink()
                    total -= size
        return total

    def _entries(self) -> list[tuple[float, int, str]]:
        """Time of last use, bytes and name of each file."""
        found = []
        with suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(OSError):
                    info = entry.stat(follow_symlinks=False)
                    found.append((info.st_mtime, info.st_size, entry.name))
        return found


@dataclass(frozen=True, slots=True)
class _Record:
    """One record: where its head is in the log, and what of the content it holds."""

    place: int
    offset: int
    length: int
    mark: bytes


class ExtentLog:
    """What is kept of one content; see :class:`~pedigree.sources.spans.Kept`.

    Args:
        path: The log, which need not be there.
        key: 32 bytes that name the content.
        size: Bytes of the content.
        make_room: Asked before so many bytes are added.
    """

    def __init__(
        self, path: Path, key: bytes, size: int, make_room: Callable[[int], bool]
    ) -> None:
        self._path = path
        self._key = key
        self._size = size
        self._make_room = make_room
        self._lock = Lock()
        self._segments: list[tuple[int, int, _Record]] = []
        self._end = 0
        self._first = b""
        self._marked: dict[_Record, bytes] = {}
        self.served = 0
        with suppress(OSError), self._opened(os.O_RDWR) as file:
            self._catch_up(file)
            os.utime(file)  # what is used last is deleted last

    def missing(self, ranges: Sequence[Range]) -> list[Range]:
        """What of some ranges is not kept, as ranges by offset that do not touch."""
        with self._lock:
            return self._holes(ranges)

    def read(self, offset: int, length: int) -> bytes | None:
        """Kept bytes, or None if some are missing or damaged."""
        pieces, at, end = [], offset, offset + length
        with self._lock:
            while at < end:
                segment = self._segment(at)
                body = None if segment is None else self._body(segment[2])
                if segment is None or body is None:
                    return None
                first, until = at - segment[2].offset, min(segment[1], end)
                pieces.append(body[first : first + until - at])
                at = until
            self.served += length
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def put(self, offset: int, data: bytes) -> None:
        """Keep bytes that are not kept yet, if there is room for them."""
        with (
            self._lock,
            suppress(OSError),
            self._opened(os.O_RDWR | os.O_CREAT) as file,
        ):
            self._catch_up(file)
            holes = self._holes([(offset, len(data))])
            records = list(self._records(holes, offset, data))
            count = -(-sum(length for _, length in holes) // PIECE_BYTES) + len(holes)
            added = sum(length for _, length in holes) + _HEAD.size * count
            if not records or not self._make_room(added):
                return
            if self._end == 0:
                self._first = _FIRST + self._key + os.urandom(_NUMBER_BYTES)
                _write(file, self._first, 0)
                self._end = _BEGIN
            for record, body in records:
                head = _HEAD.pack(_MAGIC, len(body), record[0], record[1])
                _write(file, head + body, self._end)
                self._add(_Record(self._end, record[0], len(body), record[1]))
                self._end += _HEAD.size + len(body)

    def forget(self) -> None:
        """Keep nothing of what was kept."""
        with self._lock:
            self._segments, self._end = [], 0
            self._marked.clear()
            with suppress(OSError):
                self._path.unlink()

    def _records(
        self, holes: Sequence[Range], offset: int, data: bytes
    ) -> Iterator[tuple[tuple[int, bytes], bytes]]:
        for begin, length in holes:
            for at in range(begin, begin + length, PIECE_BYTES):
                until = min(at + PIECE_BYTES, begin + length)
                body = data[at - offset : until - offset]
                yield (at, self._mark(at, body)), body

    def _mark(self, offset: int, body: bytes) -> bytes:
        state = hashlib.sha256(self._key + offset.to_bytes(8, "little"))
        state.update(body)
        return state.digest()[:16]

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        """The log, locked against other processes."""
        file = os.open(self._path, flags | _FLAGS, 0o600)
        try:
            _lock(file)
            yield file
        finally:
            os.close(file)

    def _catch_up(self, file: int) -> None:
        """Learn what others appended; cut off what has no end."""
        size, first = os.fstat(file).st_size, os.pread(file, _BEGIN, 0)
        if first != self._first:  # deleted, and perhaps begun anew by another process
            self._segments, self._end, self._first = [], 0, first
        if self._end == 0:
            if len(first) < _BEGIN or not first.startswith(_FIRST + self._key):
                os.ftruncate(file, 0)
                return
            self._end = _BEGIN
        records: list[_Record] = []
        while len(records) < _RECORDS_MAX and (record := self._next(file, size)):
            records.append(record)
            self._end = record.place + _HEAD.size + record.length
        # The last one of a place was kept because the one before was damaged.
        for record in reversed(records):
            self._add(record)
        if self._end < size:
            os.ftruncate(file, self._end)

    def _next(self, file: int, size: int) -> _Record | None:
        head = os.pread(file, _HEAD.size, self._end)
        if len(head) < _HEAD.size:
            return None
        magic, length, offset, mark = _HEAD.unpack(head)
        if (
            magic != _MAGIC
            or not 0 < length <= PIECE_BYTES
            or offset + length > self._size
            or self._end + _HEAD.size + length > size
        ):
            return None
        return _Record(self._end, offset, length, mark)

    def _body(self, record: _Record) -> bytes | None:
        """Bytes of a record if they are those that were kept; else it is forgotten."""
        body = self._marked.pop(record, None)
        if body is None:
            body = self._stored(record)
            if self._mark(record.offset, body) != record.mark:
                self._segments = [it for it in self._segments if it[2] != record]
                return None
        self._marked[record] = body
        while len(self._marked) > _MARKED:
            del self._marked[next(iter(self._marked))]
        return body

    def _stored(self, record: _Record) -> bytes:
        try:
            file = os.open(self._path, os.O_RDONLY | _FLAGS)
        except OSError:
            return b""
        try:
            return os.pread(file, record.length, record.place + _HEAD.size)
        except OSError:
            return b""
        finally:
            os.close(file)

    def _segment(self, at: int) -> tuple[int, int, _Record] | None:
        place = bisect_right(self._segments, at, key=lambda it: it[0]) - 1
        if place < 0 or self._segments[place][1] <= at:
            return None
        return self._segments[place]

    def _add(self, record: _Record) -> None:
        """Take a record for what no other record is taken for."""
        for begin, length in self._holes([(record.offset, record.length)]):
            place = bisect_left(self._segments, begin, key=lambda it: it[0])
            self._segments.insert(place, (begin, begin + length, record))

    def _holes(self, ranges: Sequence[Range]) -> list[Range]:
        holes: list[Range] = []
        done = 0
        for offset, length in sorted(ranges):
            at, end = max(offset, done), offset + length
            place = bisect_right(self._segments, at, key=lambda it: it[0]) - 1
            if place < 0 or self._segments[place][1] <= at:
                place += 1
            while at < end:
                begin, until = end, end
                if place < len(self._segments) and self._segments[place][0] < end:
                    begin, until = self._segments[place][:2]
                if at < begin:
                    holes.append((at, begin - at))
                at, place = until, place + 1
            done = max(done, end)
        return _joined(holes)


def _joined(holes: Sequence[Range]) -> list[Range]:
    joined: list[Range] = []
    for begin, length in holes:
        if joined and sum(joined[-1]) == begin:
            joined[-1] = (joined[-1][0], joined[-1][1] + length)
        else:
            joined.append((begin, length))
    return joined


def _lock(file: int) -> None:
    """Keep other processes out, and wait for one of them, but not for ever.

    Raises:
        OSError: It does not let go: a stopped process must not stop this one.
    """
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(_LOCK_STEP_S)
        else:
            return


def _write(file: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, place)
        view, place = view[written:], place + written
