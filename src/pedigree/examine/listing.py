# SPDX-License-Identifier: Apache-2.0
"""The files of a model hashed, and what kinds of weights are among them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pedigree.digests import Digest
from pedigree.errors import SourceRefused, quote
from pedigree.manifest import Manifest, ManifestFile, is_ignored
from pedigree.ranges import FileEntry, ModelSource
from pedigree.tensors.formats import (
    GGUF,
    NONE,
    SAFETENSORS,
    format_by_head,
    format_by_name,
)
from pedigree.tensors.opening import OPENERS
from pedigree.tensors.remarks import ERROR, WARNING, Remark
from pedigree.tensors.zip_kind import ZIP_HEAD, form_of_zip

_CHUNK_BYTES = 8 << 20
SIZE_MAX_BYTES = 2**53 - 1
"""Of all files: what JSON can tell exactly, and the API server takes."""
HEAD_BYTES = 512
"""First bytes of a file that are kept: a tar archive shows itself at byte 257."""
HELD_FILE_MAX_BYTES = 4 << 20
HELD_MAX_BYTES = 32 << 20
"""Bytes of small files that are kept, for whoever reads them next; a model's texts and
configurations are a few MiB at most."""
FAR_TEXT_MAX_BYTES = 64 << 10
"""Configurations and templates of stated digest are fetched whole up to here, once, for
they are looked at later; real ones have a few thousand bytes."""
FAR_HEADS_MAX = 32
"""Files with stated digests whose first bytes are fetched, one request each."""
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22
_ZIP_TAIL_BYTES = _ZIP_END_BYTES + 0xFFFF
"""Where the end record of a zip archive can begin, counted from the end of the file;
APPNOTE.TXT 4.3.16."""
Progress = Callable[[str, int, int], None]
"""Called with (stage, bytes done, bytes in all); stages: ``hash``, ``fingerprint``."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of a model with their digests.

    Attributes:
        manifest: Files and root digest.
        formats: Weight formats found, sorted; ``("none",)`` without any.
        remarks: Weights in formats that are not read, and hidden ones.
        heads: First ``HEAD_BYTES`` bytes of files, by path; none of safetensors and
            GGUF files whose digest the source states, which their reader checks, and
            of other such files the first ``FAR_HEADS_MAX`` only.
        held: Small files that were read whole, by path.
        zip_ends: Files that were read to be hashed and end as a zip archive does.
    """

    manifest: Manifest
    formats: tuple[str, ...]
    remarks: tuple[Remark, ...]
    heads: Mapping[str, bytes] = field(default_factory=dict)
    held: Mapping[str, bytes] = field(default_factory=dict)
    zip_ends: frozenset[str] = frozenset()


def list_model(source: ModelSource, progress: Progress | None = None) -> Listing:
    """Hash every file of a model whose digest the source does not state.

    Raises:
        SourceRefused: Every file is one that is ignored (``EmptyFolder``), or sizes
            that a place states are more than evidence can tell (``LimitExceeded``).
        SourceError: The bytes could not be had.
    """
    entries = [entry for entry in source.files() if not is_ignored(entry.path)]
    if not entries:
        raise SourceRefused(
            f"{quote(str(source.ref))} holds nothing but version control",
            reason="EmptyFolder",
        )
    if sum(entry.size for entry in entries) > SIZE_MAX_BYTES:
        raise SourceRefused(
            f"{quote(str(source.ref))} says that it has over {SIZE_MAX_BYTES} bytes",
            reason="LimitExceeded",
        )
    total = sum(entry.size for entry in entries if entry.digest is None)
    done = 0
    reader = _Reader(source)
    files: list[ManifestFile] = []
    formats: dict[str, str] = {}
    remarks: list[Remark] = []
    for entry in entries:
        digest = reader.digest(entry)
        files.append(ManifestFile(entry.path, entry.size, digest))
        named = format_by_name(entry.path)
        head = reader.heads.get(entry.path, b"")
        hidden = _hidden_form(source, entry.path, head) if named is None else None
        if hidden is not None:
            remarks.append(_hidden(entry.path, hidden))
        if found := named or hidden:
            formats.setdefault(found, entry.path)
        if entry.digest is None:
            done += entry.size
            if progress is not None:
                progress("hash", done, total)
    remarks.extend(_not_read(formats))
    return Listing(
        manifest=Manifest.of(files),
        formats=tuple(sorted(formats)) or (NONE,),
        remarks=tuple(remarks),
        heads=reader.heads,
        held=reader.held,
        zip_ends=frozenset(reader.zip_ends),
    )


class _Reader:
    """Hashes files and keeps of them what is looked at later."""

    def __init__(self, source: ModelSource) -> None:
        self._source = source
        self._far_heads = 0
        self._held_bytes = 0
        self.heads: dict[str, bytes] = {}
        self.held: dict[str, bytes] = {}
        self.zip_ends: set[str] = set()

    def digest(self, entry: FileEntry) -> Digest:
        """Digest of a file: as stated, or of its bytes."""
        if entry.digest is not None:
            self._look(entry)
            return entry.digest
        file = self._source.open(entry.path)
        state = hashlib.sha256()
        tail = chunk = b""
        for begin in range(0, entry.size, _CHUNK_BYTES):
            chunk = file.read(begin, min(_CHUNK_BYTES, entry.size - begin))
            state.update(chunk)
            if begin == 0:
                self.heads[entry.path] = chunk[:HEAD_BYTES]
            tail = (tail + chunk[-_ZIP_TAIL_BYTES:])[-_ZIP_TAIL_BYTES:]
        if _ends_as_zip(tail):
            self.zip_ends.add(entry.path)
        whole = entry.size <= HELD_FILE_MAX_BYTES and format_by_name(entry.path) is None
        if whole and self._has_room(entry):
            self._hold(entry, chunk)  # the only one
        return Digest(state.hexdigest())

    def _look(self, entry: FileEntry) -> None:
        form = format_by_name(entry.path)
        if form in (SAFETENSORS, GGUF):
            return
        # What hides weights is seen in every file that announces none.
        if form is not None:
            if self._far_heads == FAR_HEADS_MAX:
                return
            self._far_heads += 1
        text = entry.path.endswith((".json", ".jinja"))
        whole = text and entry.size <= FAR_TEXT_MAX_BYTES and self._has_room(entry)
        length = entry.size if whole else min(entry.size, HEAD_BYTES)
        first = self._source.open(entry.path).read(0, length)
        self.heads[entry.path] = first[:HEAD_BYTES]
        if whole:
            self._hold(entry, first)

    def _has_room(self, entry: FileEntry) -> bool:
        return self._held_bytes + entry.size <= HELD_MAX_BYTES

    def _hold(self, entry: FileEntry, content: bytes) -> None:
        self.held[entry.path] = content
        self._held_bytes += entry.size


def _hidden_form(source: ModelSource, path: str, head: bytes) -> str | None:
    """Weight format of a file whose name announces none."""
    if head.startswith(ZIP_HEAD):
        return form_of_zip(source.open(path))
    return format_by_head(head)


def _ends_as_zip(tail: bytes) -> bool:
    """Whether a file's last bytes are the end record of a zip archive.

    Four bytes alone would be found in one of 65,000 files of weights by chance; the
    record's last field, the length of the comment after it, must fit too.
    """
    at = tail.find(_ZIP_END)
    while 0 <= at <= len(tail) - _ZIP_END_BYTES:
        comment = int.from_bytes(tail[at + 20 : at + _ZIP_END_BYTES], "little")
        if at + _ZIP_END_BYTES + comment == len(tail):
            return True
        at = tail.find(_ZIP_END, at + 1)
    return False


def _hidden(path: str, form: str) -> Remark:
    return Remark(
        "HiddenWeights",
        path,
        f"file {quote(path)} looks like {form} but is not named so; "
        "its weights were not compared",
        ERROR if form in (SAFETENSORS, GGUF) else WARNING,
    )


def unread_formats(paths: Iterable[str]) -> list[Remark]:
    """Weights that are not read, by the names of all files; hidden ones are not seen.

    Args:
        paths: Every file of a model.
    """
    formats: dict[str, str] = {}
    for path in paths:
        if not is_ignored(path) and (found := format_by_name(path)):
            formats.setdefault(found, path)
    return _not_read(formats)


def _not_read(formats: dict[str, str]) -> list[Remark]:
    """Told for each format but the one that was read, with one of its files."""
    read = next((form for form in OPENERS if form in formats), None)
    return [
        _beside(path, form, read) if form in OPENERS else _unsupported(path, form, read)
        for form, path in sorted(formats.items())
        if form != read
    ]


def _beside(path: str, form: str, read: str | None) -> Remark:
    return Remark(
        "UnreadFormat",
        path,
        f"weights in {quote(path)} are {form}, which is read where it stands alone; "
        f"of this model only the {read} was compared, name the file in a reference "
        "of its own to compare it too",
    )


def _unsupported(path: str, form: str, read: str | None) -> Remark:
    return Remark(
        "UnsupportedFormat",
        path,
        f"weights in {quote(path)} are {form}, which is not read; "
        + (
            f"only the {read} beside them was compared"
            if read
            else "publish them as safetensors"
        ),
        WARNING if read else ERROR,
    )
