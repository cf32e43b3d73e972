# SPDX-License-Identifier: Apache-2.0
"""First and last bytes of files that are not what their names say.

A loader that trusts names and one that trusts bytes read different files; 7z archives
named as checkpoints passed scanners that way (nullifAI, 2025).  Nothing is unpacked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from pedigree.errors import quote
from pedigree.examine.safety.names import (
    ARCHIVE_CONSEQUENCE,
    ARCHIVES,
    CODE,
    CODE_CONSEQUENCE,
    NATIVE,
    NATIVE_CONSEQUENCE,
    PICKLE_CONSEQUENCE,
    PICKLES,
    SCRIPTS,
    suffix_of,
)
from pedigree.examine.safety.sightings import Sighting
from pedigree.tensors.formats import GGUF, SAFETENSORS, format_by_head, format_by_name
from pedigree.tensors.remarks import ERROR

PROGRAM, ARCHIVE, PICKLE, ZIP, WEIGHTS = "program", "archive", "pickle", "zip", "data"


class Magic(NamedTuple):
    """First bytes and what they mean: offset, bytes, kind, name for people."""

    offset: int
    magic: bytes
    kind: str
    name: str


MAGICS = (
    Magic(0, b"\x7fELF", PROGRAM, "an ELF program"),
    Magic(0, b"\xfe\xed\xfa\xce", PROGRAM, "a Mach-O program"),
    Magic(0, b"\xfe\xed\xfa\xcf", PROGRAM, "a Mach-O program"),
    Magic(0, b"\xce\xfa\xed\xfe", PROGRAM, "a Mach-O program"),
    Magic(0, b"\xcf\xfa\xed\xfe", PROGRAM, "a Mach-O program"),
    Magic(0, b"\xca\xfe\xba\xbe", PROGRAM, "a Mach-O program or Java class"),
    Magic(0, b"\0asm", PROGRAM, "a WebAssembly program"),
    Magic(0, b"7z\xbc\xaf\x27\x1c", ARCHIVE, "a 7z archive"),
    Magic(0, b"Rar!\x1a\x07", ARCHIVE, "a RAR archive"),
    Magic(0, b"\x1f\x8b\x08", ARCHIVE, "gzip data"),
    Magic(0, b"\x28\xb5\x2f\xfd", ARCHIVE, "Zstandard data"),
    Magic(0, b"\xfd7zXZ\0", ARCHIVE, "xz data"),
    Magic(4, b"1AY&SY", ARCHIVE, "bzip2 data"),
    Magic(0, b"\x04\x22\x4d\x18", ARCHIVE, "LZ4 data"),
    Magic(0, b"MSCF\0\0\0\0", ARCHIVE, "a cabinet archive"),
    Magic(257, b"ustar", ARCHIVE, "a tar archive"),
    Magic(0, b"PK\x03\x04", ZIP, "a zip archive"),
    Magic(0, b"PK\x05\x06", ZIP, "an empty zip archive"),
    Magic(0, b"\x80\x02", PICKLE, "a pickle"),
    Magic(0, b"\x80\x03", PICKLE, "a pickle"),
    Magic(0, b"\x80\x04", PICKLE, "a pickle"),
    Magic(0, b"\x80\x05", PICKLE, "a pickle"),
    Magic(0, b"\x89HDF\r\n\x1a\n", WEIGHTS, "HDF5 data"),
)
"""From the formats' own descriptions; the longest and surest first."""
_PE_SEEN_BYTES = 64
_TEXTS = frozenset(
    {".json", ".jsonl", ".txt", ".md", ".yaml", ".yml", ".jinja", ".csv", ".toml"}
    | {".model", ".tiktoken", ".html", ".xml", ".ini", ".cfg", ".rst"}
)
"""Names of texts, and of vocabularies, under which no other format is expected."""
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".pdf"})
_STRICT = frozenset({".safetensors", ".gguf"}) | _TEXTS | _PICTURES
"""Names that promise one format, so that every other magic contradicts them."""
_MAY_BE = {
    PROGRAM: NATIVE | CODE | {".llamafile", ".engine", ".plan"},
    ARCHIVE: ARCHIVES | {".nemo", ".joblib", ".mlpackage", ".npz", ".pdparams"},
    ZIP: ARCHIVES
    | PICKLES
    | {".bin", ".npz", ".keras", ".nemo", ".mlmodel", ".pt2", ".onnx", ".ot"}
    | {".docx", ".xlsx", ".pptx", ".llamafile", ".task", ".tflite"},
    PICKLE: PICKLES | {".bin", ".npy", ".nemo", ".pdparams", ".pdopt"},
    WEIGHTS: frozenset({".h5", ".hdf5", ".keras", ".bin", ".weights", ".nc"}),
}
"""Names under which a kind is what was to be expected."""
_MISMATCH = "loaders that go by name and by content disagree on it"


def magic_of(head: bytes) -> Magic | None:
    """What the first bytes of a file betray, or None.

    Args:
        head: First 512 bytes, or all of a shorter file.
    """
    for magic in MAGICS:
        if head.startswith(magic.magic, magic.offset):
            return magic
    # A text may begin with these two letters; the header of a program has zeros.
    if head[:2] == b"MZ" and head.count(0, 0, _PE_SEEN_BYTES) >= 8:
        return Magic(0, b"MZ", PROGRAM, "a Windows program")
    return None


def head_sightings(
    heads: Mapping[str, bytes],
    zip_ends: Collection[str],
    told_already: Collection[str],
) -> Iterator[Sighting]:
    """What first and last bytes say that the names do not announce.

    Args:
        heads: First bytes of each file; empty where they were not read.
        zip_ends: Files that end as a zip archive does.
        told_already: Paths that other findings name, of which nothing is said again
            but what those do not say.
    """
    for path, head in sorted(heads.items()):
        suffix = suffix_of(path)
        magic = magic_of(head)
        if path in zip_ends and (mixed := _polyglot(path, head, magic)):
            yield mixed
        elif magic is not None:
            yield from _by_magic(path, suffix, magic, told_already)
        elif head.startswith(b"#!") and suffix not in SCRIPTS | CODE:
            detail = f"{quote(path, 100)} begins with '#!' as a script does"
            yield Sighting(path, detail, "CodeInModel", CODE_CONSEQUENCE)
        elif head and suffix in (".safetensors", ".gguf"):
            yield from _other_weights(path, head)


def _by_magic(
    path: str, suffix: str, magic: Magic, told_already: Collection[str]
) -> Iterator[Sighting]:
    if suffix in _MAY_BE[magic.kind]:
        pickled = suffix == ".bin" and magic.kind in (PICKLE, ZIP)
        if pickled and path not in told_already:
            quoted = quote(path, 100)
            yield Sighting(path, quoted, "PickleInModel", PICKLE_CONSEQUENCE)
        return
    detail = f"{quote(path, 100)} is {magic.name} by its first bytes"
    # Weights under a name that promises nothing are told as `HiddenWeights`; so is a
    # zip archive that holds some.
    if path in told_already and suffix not in _STRICT and not format_by_name(path):
        return
    promises = suffix in _STRICT or format_by_name(path)
    if magic.kind == PROGRAM and not promises:
        yield Sighting(path, detail, "ExecutableInModel", NATIVE_CONSEQUENCE)
        return
    if magic.kind in (ARCHIVE, ZIP) and not promises:
        yield Sighting(path, detail, "ArchiveInModel", ARCHIVE_CONSEQUENCE)
        return
    yield Sighting(path, detail, "MagicMismatch", _MISMATCH, ERROR)


def _other_weights(path: str, head: bytes) -> Iterator[Sighting]:
    """Safetensors named as GGUF, or the other way."""
    form = format_by_head(head)
    if form in (SAFETENSORS, GGUF) and form != format_by_name(path):
        detail = f"{quote(path, 100)} is {form} by its first bytes"
        yield Sighting(path, detail, "MagicMismatch", _MISMATCH, ERROR)


def _polyglot(path: str, head: bytes, magic: Magic | None) -> Sighting | None:
    first = (
        magic.name
        if magic is not None and magic.kind in (PICKLE, ARCHIVE, WEIGHTS)
        else format_by_head(head)
        if magic is None and suffix_of(path) in (".safetensors", ".gguf")
        else None
    )
    if first is None:
        return None
    return Sighting(
        path,
        f"{quote(path, 100)} begins as {first} and ends as a zip archive",
        "PolyglotFile",
        "loaders disagree on which it is",
        ERROR,
    )
