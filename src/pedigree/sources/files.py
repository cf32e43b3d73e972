# SPDX-License-Identifier: Apache-2.0
"""``file://``: a folder of files, or one file, that this process can read.

The folder's writer may be hostile and may change it at any moment.  So the tree is
listed once with what each file was at that time; each file is then opened beneath the
folder without following any link, and every read checks that it is still that file.

Links to files inside the model's folder are followed, with the link's path as name;
links that leave it, links to folders, and anything that is neither file nor folder
are refused.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NoReturn

from pedigree.digests import json_digest
from pedigree.errors import ArtifactError, SourceRefused, SourceUnavailable, quote
from pedigree.limits import Limits
from pedigree.ranges import FileEntry, read_spans
from pedigree.refs import ModelRef
from pedigree.sources.settings import SourceSettings

_GAP_BYTES = 64 << 10
_SPAN_MAX_BYTES = 32 << 20
_DEPTH_MAX = 32
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class _Seen:
    """One file as it was when listed."""

    path: str
    real: tuple[str, ...]
    """Path components beneath the root, free of links."""
    size: int
    stamp: tuple[int, int, int, int]
    """Device, inode, modification and change time in ns.  The change time cannot be
    set back by the file's owner, the modification time can."""


def open_model(ref: ModelRef, settings: SourceSettings) -> FileSource:
    """List a folder; see :func:`pedigree.sources.open_source`."""
    return FileSource(ref, settings)


def resolve(ref: ModelRef, settings: SourceSettings) -> tuple[ModelRef, str]:
    """See :func:`pedigree.sources.resolve_identity`."""
    return ref, FileSource(ref, settings).identity


class FileSource:
    """One model in a folder: a :class:`~pedigree.ranges.ModelSource`."""

    def __init__(self, ref: ModelRef, settings: SourceSettings) -> None:
        """List the folder.

        Raises:
            SourceRefused: ``NotFound``, ``Forbidden``, ``OutsideRoots``,
                ``EmptyFolder``, ``LinkOutside``, ``SpecialFile``, ``MalformedName`` or
                ``LimitExceeded``.
            SourceUnavailable: The file system failed.
        """
        self._ref = ref
        self._bytes_read = 0
        real = _resolve(ref.location)
        _check_roots(ref, real, settings.file_roots)
        with _translated(ref.location):
            info = real.lstat()
        if stat.S_ISREG(info.st_mode):
            name = PurePosixPath(ref.location).name
            self._root = real.parent
            self._seen = {name: _seen(name, (real.name,), info)}
        elif stat.S_ISDIR(info.st_mode):
            self._root = real
            self._seen = {seen.path: seen for seen in _walk(real, settings.limits)}
        else:
            _refuse("SpecialFile", ref.location, "is neither a file nor a folder", "")
        if not self._seen:
            _refuse(
                "EmptyFolder",
                ref.location,
                "is an empty folder",
                "check that the volume is mounted and the download has finished",
            )
        self._entries = tuple(
            FileEntry(path, self._seen[path].size) for path in sorted(self._seen)
        )

    @property
    def ref(self) -> ModelRef:
        """The reference; a folder cannot be pinned."""
        return self._ref

    @property
    def identity(self) -> str:
        """Digest over path, size, modification and change time of every file."""
        rows = [
            [seen.path, str(seen.size), str(seen.stamp[2]), str(seen.stamp[3])]
            for _, seen in sorted(self._seen.items())
        ]
        return f"stat:{json_digest(rows)}"

    @property
    def bytes_read(self) -> int:
        """Bytes read so far."""
        return self._bytes_read

    def files(self) -> tuple[FileEntry, ...]:
        """The files, sorted by path."""
        return self._entries

    def open(self, path: str) -> _FileRange:
        """Ranged reads of one listed file.

        Raises:
            KeyError: The path was not listed.
        """
        return _FileRange(self, self._seen[path])

    @contextmanager
    def opened(self, seen: _Seen) -> Iterator[Callable[[int, int], bytes]]:
        """Ranged reads of a file that must be what it was until the last of them."""
        with _translated(seen.path):
            descriptor = _open_beneath(self._root, seen.real)
        try:
            _check_unchanged(seen, os.fstat(descriptor))
            yield lambda offset, length: self._read(descriptor, seen, offset, length)
            _check_unchanged(seen, os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int, seen: _Seen, offset: int, length: int) -> bytes:
        with _translated(seen.path):
            data = _read_exactly(descriptor, offset, length)
        self._bytes_read += len(data)
        if len(data) != length:
            _check_unchanged(seen, os.fstat(descriptor))
            raise ArtifactError(
                f"file {quote(seen.path)} gave {len(data)} bytes from byte {offset}, "
                f"wanted {length} of its {seen.size}",
                reason="TruncatedFile",
                path=seen.path,
            )
        return data


class _FileRange:
    """Ranged reads of one file; see :class:`~pedigree.ranges.RangeSource`."""

    def __init__(self, source: FileSource, seen: _Seen) -> None:
        self._source = source
        self._seen = seen

    @property
    def path(self) -> str:
        return self._seen.path

    @property
    def size(self) -> int:
        return self._seen.size

    def read(self, offset: int, length: int) -> bytes:
        with self._source.opened(self._seen) as read:
            return read(offset, length)

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        with self._source.opened(self._seen) as read:
            return read_spans(
                read, ranges, gap_bytes=_GAP_BYTES, span_max_bytes=_SPAN_MAX_BYTES
            )


def _refuse(reason: str, path: str, got: str, hint: str) -> NoReturn:
    raise SourceRefused(f"{quote(path)} {got}", reason=reason, hint=hint or None)


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Say what an operating system error means for whoever wrote the reference."""
    try:
        yield
    except OSError as error:
        what = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise SourceRefused(
                f"{quote(path)} was not found",
                reason="NotFound",
                hint="check the path and that the volume is mounted",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise SourceRefused(
                f"{quote(path)} may not be read: {what}",
                reason="Forbidden",
                hint=f"let user {os.geteuid()} read it",
            ) from error
        if error.errno == errno.ELOOP:
            raise SourceRefused(
                f"{quote(path)} is a link where a file or folder was listed",
                reason="LinkOutside",
            ) from error
        if error.errno == errno.ENAMETOOLONG:
            raise SourceRefused(
                f"{quote(path)} is too long a path", reason="NotFound"
            ) from error
        raise SourceUnavailable(
            f"{quote(path)} could not be read: {what}", reason="ReadFailed"
        ) from error


def _resolve(location: str) -> Path:
    with _translated(location):
        try:
            return Path(os.path.realpath(location, strict=True))
        except ValueError as error:  # such as a NUL in the path
            raise SourceRefused(
                f"{quote(location)} is no path: {error}", reason="NotFound"
            ) from error


def _check_roots(ref: ModelRef, real: Path, roots: tuple[Path, ...] | None) -> None:
    if roots is None:
        return
    for root in roots:
        top = os.path.realpath(root)
        if os.path.commonpath([top, real]) == top:
            return
    names = ", ".join(str(root) for root in roots) or "none"
    raise SourceRefused(
        f"{quote(ref.location)} is outside the folders models may be in ({names})",
        reason="OutsideRoots",
        hint="move the model there, or have the folder allowed",
    )


def _seen(path: str, real: tuple[str, ...], info: os.stat_result) -> _Seen:
    stamp = (info.st_dev, info.st_ino, info.st_mtime_ns, info.st_ctime_ns)
    return _Seen(path, real, info.st_size, stamp)


def _walk(root: Path, limits: Limits) -> Iterator[_Seen]:
    """Files beneath a folder, bounded in number, depth and length of path."""
    pending: list[tuple[str, ...]] = [()]
    count = 0
    while pending:
        folder = pending.pop()
        here = root.joinpath(*folder)
        with _translated("/".join(folder) or str(root)), os.scandir(here) as entries:
            some = islice(entries, limits.files_max + 1)  # more are refused below
            found = sorted(some, key=lambda entry: entry.name)
        for entry in found:
            parts = (*folder, entry.name)
            path = _checked_path(parts, limits)
            count += 1
            if count > limits.files_max:
                _refuse(
                    "LimitExceeded",
                    str(root),
                    f"has over {limits.files_max} files and folders",
                    "refer to the model's own folder",
                )
            if entry.is_dir(follow_symlinks=False):
                pending.append(parts)
                continue
            yield _look(root, parts, path)


def _checked_path(parts: tuple[str, ...], limits: Limits) -> str:
    path = "/".join(parts)
    if len(path) > limits.path_max_chars or len(parts) > _DEPTH_MAX:
        _refuse(
            "LimitExceeded",
            path,
            f"has {len(path)} characters and {len(parts)} parts, allowed are "
            f"{limits.path_max_chars} and {_DEPTH_MAX}",
            "",
        )
    if not path.isprintable():
        # Also every name that is not UTF-8: such bytes become lone surrogates.
        _refuse(
            "MalformedName",
            path,
            "is not a printable UTF-8 name",
            "rename the file",
        )
    return path


def _look(root: Path, parts: tuple[str, ...], path: str) -> _Seen:
    full = root.joinpath(*parts)
    with _translated(path):
        info = full.lstat()
        if stat.S_ISLNK(info.st_mode):
            target = Path(os.path.realpath(full, strict=True))
            if os.path.commonpath([root, target]) != str(root):
                _refuse(
                    "LinkOutside",
                    path,
                    "is a link that leaves the model's folder",
                    "copy the file there; a Hub cache can be copied with "
                    "'hf download --local-dir'",
                )
            info = target.lstat()
            parts = target.relative_to(root).parts
            if stat.S_ISDIR(info.st_mode):
                _refuse("SpecialFile", path, "is a link to a folder", "copy the folder")
    if not stat.S_ISREG(info.st_mode):
        _refuse("SpecialFile", path, "is neither a file nor a folder", "remove it")
    return _seen(path, parts, info)


def _open_beneath(root: Path, parts: tuple[str, ...]) -> int:
    """Open a file below a folder, following no link on the way."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _OPEN | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], _OPEN, dir_fd=folder)
    finally:
        os.close(folder)


def _check_unchanged(seen: _Seen, info: os.stat_result) -> None:
    now = _seen(seen.path, seen.real, info)
    if now != seen:
        raise SourceUnavailable(
            f"file {quote(seen.path)} changed while it was being read: it was "
            f"{seen.size} bytes when listed and is {now.size} now",
            reason="ChangedWhileReading",
            hint="try again when the copy has finished",
        )


def _read_exactly(descriptor: int, offset: int, length: int) -> bytes:
    pieces: list[bytes] = []
    left = length
    while left > 0:
        piece = os.pread(descriptor, min(left, 1 << 30), offset + length - left)
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
