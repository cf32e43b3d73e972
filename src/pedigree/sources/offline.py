# SPDX-License-Identifier: Apache-2.0
"""``hf://`` without a network: what was kept of a commit, and the Hub client's folder.

A commit whose files were listed once with the cache on is known with all its files;
their bytes come from the cache, or from ``models--org--name/snapshots/<commit>`` in the
folder of the Hub's own client (``HF_HUB_CACHE``, ``HF_HOME``).  A commit that is only
there has the files that were downloaded, which need not be all: its identity says so.

Bytes of that folder are hashed like those of any local folder; no digest is believed
because a file is named after it.  Who may write there is trusted not to change files
while they are read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from pedigree.digests import Digest, canonical_json, json_digest
from pedigree.errors import ArtifactError, SourceUnavailable, quote
from pedigree.ranges import FileEntry, Usage
from pedigree.refs import ModelRef
from pedigree.sources.extents import ExtentFolder
from pedigree.sources.kept import key_of, place_of
from pedigree.sources.settings import SourceSettings
from pedigree.sources.spans import FarFile
from pedigree.tensors.strictjson import load

_REF_MAX_BYTES = 64
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class OfflineSource:
    """One commit as it is known here; see :class:`~pedigree.ranges.ModelSource`.

    Args:
        ref: A reference of the Hub.
        settings: With a cache, the client's folder, or both.

    Raises:
        SourceUnavailable: Neither knows the commit (``Offline``).
    """

    def __init__(self, ref: ModelRef, settings: SourceSettings) -> None:
        folder = settings.hub_folder.expanduser()
        self._repo = folder / f"models--{ref.location.replace('/', '--')}"
        commit = ref.revision if ref.pinned else _branch(self._repo, ref.revision)
        if commit is None:
            _refuse(
                ref,
                f"no commit is known for {quote(ref.revision or 'main')}",
                "name the commit: hf://org/repo@<40 hex digits>",
            )
        self._ref = replace(ref, revision=commit)
        self._bytes_read = 0
        self._here = _snapshot(self._repo, commit, settings.limits.files_max)
        listed = noted_listing(self._ref, settings)
        self._complete = listed is not None
        if listed is None:
            listed = tuple(
                FileEntry(path, size)
                for path, (_, size, _) in sorted(self._here.items())
            )
        if not listed:
            _refuse(
                ref,
                f"nothing of commit {commit} was kept or downloaded",
                "read it once with a network and --cache, or use 'hf download'",
            )
        self._listed = {entry.path: entry for entry in listed}
        self._connections = settings.connections

    @property
    def ref(self) -> ModelRef:
        """The reference, pinned to a commit."""
        return self._ref

    @property
    def identity(self) -> str:
        """The commit; with the files that are here where no list of all was kept."""
        if self._complete:
            return f"commit:{self._ref.revision}"
        rows = [
            [path, str(size), str(changed)]
            for path, (_, size, changed) in sorted(self._here.items())
        ]
        return f"snapshot:{self._ref.revision}:{json_digest(rows)}"

    @property
    def bytes_read(self) -> int:
        """Bytes read from the client's folder so far."""
        return self._bytes_read

    @property
    def usage(self) -> Usage:
        """No request."""
        return Usage(bytes_read=self._bytes_read)

    def files(self) -> tuple[FileEntry, ...]:
        """The files, without digests of those that are read from a folder."""
        return tuple(
            replace(entry, digest=None) if self._is_here(entry) else entry
            for _, entry in sorted(self._listed.items())
        )

    def open(self, path: str) -> FarFile:
        """Ranged reads of one listed file.

        Raises:
            KeyError: The path was not listed.
        """
        entry = self._listed[path]
        here = self._is_here(entry)
        pin = str(entry.digest or f"commit:{self._ref.revision}/{path}")
        return FarFile(
            entry,
            self._reading(entry) if here else self._missing(entry),
            connections=1 if here else self._connections,
            pin="" if here else pin,
            digest=entry.digest,
        )

    def _is_here(self, entry: FileEntry) -> bool:
        return entry.path in self._here and self._here[entry.path][1] == entry.size

    def _reading(self, entry: FileEntry) -> Callable[[int, int], bytes]:
        blob = self._here[entry.path][0]

        def read(offset: int, length: int) -> bytes:
            try:
                file = os.open(blob, _FLAGS)
                try:
                    data = os.pread(file, length, offset)
                finally:
                    os.close(file)
            except OSError as error:
                what = os.strerror(error.errno or 0)
                _refuse(self._ref, f"{quote(entry.path)} cannot be read: {what}", "")
            self._bytes_read += len(data)
            if len(data) != length:
                raise SourceUnavailable(
                    f"file {quote(entry.path)} of {quote(str(self._ref))} changed "
                    "while it was being read",
                    reason="ChangedWhileReading",
                )
            return data

        return read

    def _missing(self, entry: FileEntry) -> Callable[[int, int], bytes]:
        def read(offset: int, length: int) -> bytes:
            _refuse(
                self._ref,
                f"{length} bytes of {quote(entry.path)} from byte {offset} were not "
                "kept",
                "read the model once with a network and the same cache",
            )

        return read


def note_listing(
    ref: ModelRef, settings: SourceSettings, entries: tuple[FileEntry, ...]
) -> None:
    """Keep the list of files of a commit, if there is a cache.

    Raises:
        ConfigError: The cache folder cannot be used.
    """
    path = _note(ref, settings)
    if path is None:
        return
    rows = [[it.path, it.size, str(it.digest or "")] for it in entries]
    fresh = path.with_suffix(f".{os.getpid()}.new")
    with suppress(OSError):  # a full disk only means that less is kept
        fresh.write_bytes(canonical_json(rows))
        fresh.replace(path)


def noted_listing(
    ref: ModelRef, settings: SourceSettings
) -> tuple[FileEntry, ...] | None:
    """The list of files that was kept of a commit, for this access."""
    path = _note(ref, settings)
    if path is None:
        return None
    try:
        if path.stat().st_size > settings.limits.json_max_bytes:
            return None
        rows = load(path.read_bytes(), what="kept file list", path=str(ref))
        return tuple(_entry(row) for row in rows)
    except (OSError, ArtifactError, TypeError, ValueError):
        return None


def _entry(row: Any) -> FileEntry:
    path, size, digest = row
    if not isinstance(path, str) or type(size) is not int or size < 0:
        raise ValueError("kept file list has a row that is none")
    return FileEntry(path, size, Digest.parse(digest) if digest else None)


def _note(ref: ModelRef, settings: SourceSettings) -> Path | None:
    if settings.cache is None:
        return None
    folder = ExtentFolder(settings.cache)
    key = key_of(place_of(ref, settings, folder), "listing", ref.revision or "")
    return folder.path / f"{key.hex()}.json"


def _branch(repo: Path, revision: str | None) -> str | None:
    """The commit that a branch or tag meant when it was last downloaded."""
    parts = (revision or "main").split("/")
    if any(part in ("", ".", "..") for part in parts):
        return None
    try:
        with repo.joinpath("refs", *parts).open("rb") as file:
            text = file.read(_REF_MAX_BYTES + 1).decode("ascii").strip()
    except (OSError, ValueError):
        return None
    whole = len(text) == 40 and all(sign in "0123456789abcdef" for sign in text)
    return text if whole else None


def _snapshot(
    repo: Path, commit: str, files_max: int
) -> dict[str, tuple[Path, int, int]]:
    """Path, size and time of change of each file of a commit in the client's folder.

    Links are followed into the repository's own ``blobs`` alone.
    """
    top = repo / "snapshots" / commit
    blobs = Path(os.path.realpath(repo / "blobs"))
    found: dict[str, tuple[Path, int, int]] = {}
    for name in islice(_names(top, files_max), files_max):
        with suppress(OSError):
            real = Path(os.path.realpath(top / name, strict=True))
            info = real.lstat()
            inside = real.parent == blobs or real == Path(os.path.realpath(top)) / name
            if inside and stat.S_ISREG(info.st_mode) and name.isprintable():
                found[name] = (real, info.st_size, info.st_mtime_ns)
    return found


def _names(top: Path, most: int) -> list[str]:
    names: list[str] = []
    for folder, folders, files in os.walk(top):
        here = Path(folder).relative_to(top)
        folders.sort()
        names.extend((here / name).as_posix() for name in files)
        if len(names) > most or len(here.parts) > 32:
            break
    return names


def _refuse(ref: ModelRef, why: str, hint: str) -> NoReturn:
    raise SourceUnavailable(
        f"{quote(str(ref))} cannot be read without a network: {why}",
        reason="Offline",
        hint=hint or None,
    )
