# SPDX-License-Identifier: Apache-2.0
"""What the names of a model's files say that no server of weights needs.

Only names are looked at; what first bytes say is told in :mod:`.heads`, what texts
hold in :mod:`.credentials`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath

from pedigree.errors import quote
from pedigree.examine.safety.sightings import Sighting
from pedigree.tensors.remarks import ERROR, WARNING

ARCHIVES = frozenset(
    {".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".lz4"}
    | {".7z", ".rar", ".whl", ".jar", ".egg", ".mar", ".cab", ".iso", ".deb", ".rpm"}
)
NATIVE = frozenset(
    {".exe", ".so", ".dll", ".dylib", ".pyd", ".msi", ".com", ".scr", ".elf", ".o"}
    | {".a", ".appimage", ".ko", ".wasm"}
)
PICKLES = frozenset(
    {".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth", ".ckpt"}
    | {".p", ".pck", ".pcl"}
)
SCRIPTS = frozenset(
    {".py", ".pyw", ".sh", ".bash", ".zsh", ".bat", ".cmd", ".ps1", ".js", ".mjs"}
    | {".ts", ".rb", ".pl", ".lua", ".php", ".vbs", ".awk"}
)
CODE = SCRIPTS | {".pyc", ".pyo", ".pyx", ".ipynb", ".class", ".cu", ".cpp", ".c"}

CODE_CONSEQUENCE = "a server that trusts remote code would run it"
NATIVE_CONSEQUENCE = "no server of weights needs native programs"
ARCHIVE_CONSEQUENCE = "what it holds was not looked at"
PICKLE_CONSEQUENCE = "loading a pickle can run any code"
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters by their category that show as nothing: fillers and the empty Braille."""
_SCRIPTS_ALIKE = ("CYRILLIC ", "GREEK ", "ARMENIAN ", "CHEROKEE ", "FULLWIDTH ")
"""Beginnings of the Unicode names of letters that are drawn like Latin ones."""


def suffix_of(path: str) -> str:
    """Last suffix of a name in lower case, also past a shared object's version."""
    name = PurePosixPath(path).name.lower().rstrip(". ")
    stem, _, version = name.partition(".so.")
    if stem and version and version.replace(".", "").isdigit():
        return ".so"
    return PurePosixPath(name).suffix


def name_sightings(
    paths: Collection[str], told_already: Collection[str]
) -> Iterator[Sighting]:
    """What names alone say.

    Args:
        paths: Paths relative to the model's root.
        told_already: Paths that other findings name as weights.
    """
    for path in sorted(paths):
        suffix, quoted = suffix_of(path), quote(path, 100)
        if suffix in CODE:
            yield Sighting(path, quoted, "CodeInModel", CODE_CONSEQUENCE)
        elif suffix in NATIVE:
            yield Sighting(path, quoted, "ExecutableInModel", NATIVE_CONSEQUENCE)
        elif suffix in ARCHIVES:
            yield Sighting(path, quoted, "ArchiveInModel", ARCHIVE_CONSEQUENCE)
        elif suffix in PICKLES and path not in told_already:
            yield Sighting(path, quoted, "PickleInModel", PICKLE_CONSEQUENCE)
    yield from _deceptive(paths)
    yield from _colliding(paths)


def _deceptive(paths: Iterable[str]) -> Iterator[Sighting]:
    for path in sorted(paths):
        if path.isascii() and path.isprintable():
            continue
        quoted = ascii(path) if len(path) <= 100 else ascii(path[:97]) + "..."
        if hidden := next((char for char in path if _is_hidden(char)), None):
            yield Sighting(
                path,
                f"name {quoted} holds the character U+{ord(hidden):04X}",
                "DeceptiveName",
                "people see another name than programs do",
                ERROR,
            )
        elif alike := next((part for part in path.split("/") if _mixed(part)), None):
            letter = next(char for char in alike if _is_alike(char))
            yield Sighting(
                path,
                f"name {quoted} mixes Latin letters with U+{ord(letter):04X}",
                "DeceptiveName",
                "letters that look alike make one name pass for another",
                WARNING,
            )


def _is_hidden(char: str) -> bool:
    """Control, format (which has the bidi and zero-width ones), half of a pair."""
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") or (
        char in _INVISIBLE
    )


def _is_alike(char: str) -> bool:
    return not char.isascii() and unicodedata.name(char, "").startswith(_SCRIPTS_ALIKE)


def _mixed(part: str) -> bool:
    return any(c.isascii() and c.isalpha() for c in part) and any(map(_is_alike, part))


def _colliding(paths: Iterable[str]) -> Iterator[Sighting]:
    """Names that some file systems take for one."""
    folded: dict[str, str] = {}
    for path in sorted(paths):
        key = unicodedata.normalize("NFC", path).casefold()
        other = folded.setdefault(key, path)
        if other != path:
            yield Sighting(
                path,
                f"{quote(other, 70)} and {quote(path, 70)}",
                "CollidingNames",
                "file systems that ignore case keep one of the two",
            )
