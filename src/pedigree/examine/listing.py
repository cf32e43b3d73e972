# SPDX-License-Identifier: Apache-2.0
"""The files of a model hashed, and what kinds of weights are among them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from pedigree.digests import Digest
from pedigree.errors import SourceRefused, quote
from pedigree.manifest import Manifest, ManifestFile, is_ignored
from pedigree.ranges import FileEntry, ModelSource
from pedigree.tensors.formats import (
    GGUF,
    HEAD_BYTES,
    NONE,
    SAFETENSORS,
    format_by_head,
    format_by_name,
)
from pedigree.tensors.opening import OPENERS
from pedigree.tensors.remarks import ERROR, WARNING, Remark

_CHUNK_BYTES = 8 << 20
Progress = Callable[[str, int, int], None]
"""Called with (stage, bytes done, bytes in all); stages: ``hash``, ``fingerprint``."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of a model with their digests.

    Attributes:
        manifest: Files and root digest.
        formats: Weight formats found, sorted; ``("none",)`` without any.
        remarks: Weights in formats that are not read, and hidden ones.
    """

    manifest: Manifest
    formats: tuple[str, ...]
    remarks: tuple[Remark, ...]


def list_model(source: ModelSource, progress: Progress | None = None) -> Listing:
    """Hash every file of a model whose digest the source does not state.

    Raises:
        SourceRefused: Every file is one that is ignored (``EmptyFolder``).
        SourceError: The bytes could not be had.
    """
    entries = [entry for entry in source.files() if not is_ignored(entry.path)]
    if not entries:
        raise SourceRefused(
            f"{quote(str(source.ref))} holds nothing but version control",
            reason="EmptyFolder",
        )
    total = sum(entry.size for entry in entries if entry.digest is None)
    done = 0
    files: list[ManifestFile] = []
    formats: dict[str, str] = {}
    remarks: list[Remark] = []
    for entry in entries:
        digest, head = _hash(source, entry)
        files.append(ManifestFile(entry.path, entry.size, digest))
        named = format_by_name(entry.path)
        hidden = format_by_head(head) if named is None else None
        if hidden is not None:
            remarks.append(_hidden(entry.path, hidden))
        if found := named or hidden:
            formats.setdefault(found, entry.path)
        if entry.digest is None:
            done += entry.size
            if progress is not None:
                progress("hash", done, total)
    remarks.extend(_unsupported(formats))
    return Listing(
        Manifest.of(files), tuple(sorted(formats)) or (NONE,), tuple(remarks)
    )


def _hash(source: ModelSource, entry: FileEntry) -> tuple[Digest, bytes]:
    """Digest, and the first bytes where the name does not say what the file is."""
    file = source.open(entry.path)
    if entry.digest is not None:
        if format_by_name(entry.path) is not None:
            return entry.digest, b""
        return entry.digest, file.read(0, min(entry.size, HEAD_BYTES))
    state = hashlib.sha256()
    head = b""
    for begin in range(0, entry.size, _CHUNK_BYTES):
        chunk = file.read(begin, min(_CHUNK_BYTES, entry.size - begin))
        state.update(chunk)
        head = head or chunk[:HEAD_BYTES]
    return Digest(state.hexdigest()), head


def _hidden(path: str, form: str) -> Remark:
    return Remark(
        "HiddenWeights",
        path,
        f"file {quote(path)} looks like {form} but is not named so; "
        "its weights were not compared",
        ERROR if form in (SAFETENSORS, GGUF) else WARNING,
    )


def _unsupported(formats: dict[str, str]) -> list[Remark]:
    read = next((form for form in OPENERS if form in formats), None)
    return [
        Remark(
            "UnsupportedFormat",
            path,
            f"weights in {quote(path)} are {form}, which was not read; "
            + (
                f"only the {read} beside them were compared"
                if read
                else "publish them as safetensors"
            ),
            WARNING if read else ERROR,
        )
        for form, path in sorted(formats.items())
        if form != read
    ]
