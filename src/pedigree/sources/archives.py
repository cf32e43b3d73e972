# SPDX-License-Identifier: Apache-2.0
"""Members of a tar archive that is read by ranges, found by walking its headers.

Only what two readers understand alike: regular files with plain relative paths, once
each.  Links, devices, sparse files and archives that go on after their end are refused.
POSIX (``ustar``, ``pax``) and GNU long names are understood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from pedigree.errors import ArtifactError, quote
from pedigree.limits import Limits

_BLOCK = 512
_WINDOW = 16 << 10
_EXTRA_MAX = 64 << 10
"""Bytes of one extended header; real ones have hundreds."""
_END = bytes(_BLOCK)
_REGULAR = (b"0", b"\x00")
_EMPTY = (b"1", b"2", b"3", b"4", b"5", b"6")
"""Links, devices, folders and pipes have no content."""

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file: its path, first byte within the archive, and bytes."""

    path: str
    begin: int
    size: int


@dataclass(slots=True)
class Image:
    """Layers over one another, of which one folder of the top is the model.

    What lies elsewhere, of whatever kind, is passed over, unless unpacking it could
    change the model: paths that lead out, and files behind links.

    Attributes:
        folder: Name of the folder.
        links: Paths of links seen elsewhere.
    """

    folder: str
    links: set[str] = field(default_factory=set)

    def counts(self, path: str) -> bool:
        """Whether an entry can be of the model, or take something of it away."""
        top = _bare(path).split("/")[0]
        taken = (f".wh.{self.folder}", ".wh..wh..opq")
        return top in (self.folder, *taken, "", ".", "..")


def members(
    read: Read,
    size: int,
    *,
    name: str,
    limits: Limits,
    image: Image | None = None,
) -> list[Member]:
    """Regular files of an archive, in its order.

    Args:
        read: ``read(offset, length)`` of the archive.
        size: Bytes of the archive.
        name: The archive in messages.
        limits: Bounds on files and paths.
        image: Of which archives this is one layer; None if all of it counts.

    Raises:
        ArtifactError: ``MalformedArchive``, ``UnsafePath``, ``SpecialFile``,
            ``DuplicatePath`` or ``LimitExceeded``.
    """
    walk = _Walk(read, size, name)
    found: dict[str, Member] = {}
    at, extra = 0, _Extra()
    for _ in range(3 * limits.files_max + 2):
        block = walk.block(at)
        if block is None or block == _END:
            if extra != _Extra() or (
                block and walk.block(at + _BLOCK) not in (None, _END)
            ):
                walk.refuse("MalformedArchive", f"goes on after its end at byte {at}")
            return list(found.values())
        walk.check_sum(block, at)
        kind = block[156:157]
        length = walk.number(block[124:136], at)
        begin = at + _BLOCK
        if kind in (b"x", b"g", b"L"):
            extra = walk.extended(kind, begin, length, extra)
        else:
            length = length if extra.size is None else extra.size
            path = extra.path if extra.path is not None else walk.plain_name(block, at)
            if image is not None and not image.counts(path):
                _pass_over(walk, image, kind, path, length)
            elif kind in _REGULAR and not path.endswith("/"):
                member = Member(_checked(walk, path, limits), begin, length)
                if member.path in found:
                    walk.refuse("DuplicatePath", f"has {quote(path)} twice")
                found[member.path] = member
            elif kind == b"5" or (kind in _REGULAR and length == 0):
                length = 0
            else:
                walk.refuse("SpecialFile", f"has {quote(path)} of kind {quote(kind)}")
            extra = _Extra()
        if begin + length > size:
            walk.refuse("MalformedArchive", f"ends within the file at byte {at}")
        if len(found) > limits.files_max:
            break
        at = begin + -(-length // _BLOCK) * _BLOCK
    return walk.refuse("LimitExceeded", f"has over {limits.files_max} files")


def _pass_over(walk: _Walk, image: Image, kind: bytes, path: str, length: int) -> None:
    """Refuse what lies elsewhere in an image and may mean something in the model."""
    parts = _bare(path).rstrip("/").split("/")
    if ".." in parts or kind not in (*_REGULAR, *_EMPTY):
        walk.refuse("UnsafePath", f"has {quote(path)} of the kind {quote(kind)}")
    if kind in _EMPTY and length:
        walk.refuse("SpecialFile", f"has {quote(path)} with content")
    above = ("/".join(parts[:end]) for end in range(1, len(parts)))
    if any(folder in image.links for folder in above):
        walk.refuse("UnsafePath", f"has {quote(path)}, which goes through a link")
    if kind == b"2":
        image.links.add("/".join(parts))


@dataclass(frozen=True, slots=True)
class _Extra:
    """What an extended header says of the next file."""

    path: str | None = None
    size: int | None = None


class _Walk:
    """Blocks of one archive, with what messages need."""

    def __init__(self, read: Read, size: int, name: str) -> None:
        self._read, self._size, self._name = read, size, name
        self._at, self._window = 0, b""

    def refuse(self, reason: str, got: str) -> NoReturn:
        raise ArtifactError(
            f"archive {quote(self._name)} {got}, wanted regular files, once each",
            reason=reason,
            path=self._name,
        )

    def block(self, at: int) -> bytes | None:
        """The block at a place, or None at the end."""
        if at >= self._size:
            return None
        if at + _BLOCK > self._size:
            self.refuse("MalformedArchive", f"ends within a block at byte {at}")
        if not self._at <= at <= self._at + len(self._window) - _BLOCK:
            self._at = at
            self._window = self._read(at, min(_WINDOW, self._size - at))
        return self._window[at - self._at : at - self._at + _BLOCK]

    def check_sum(self, block: bytes, at: int) -> None:
        blank = block[:148] + b" " * 8 + block[156:]
        if self.number(block[148:156], at) != sum(blank):
            self.refuse("MalformedArchive", f"has no header at byte {at}")

    def number(self, field: bytes, at: int) -> int:
        """Octal text, or GNU's base 256 for large sizes."""
        if field[0] == 0x80:
            return int.from_bytes(field[1:], "big")
        text = field.strip(b" \x00")
        if not all(0x30 <= digit <= 0x37 for digit in text):
            self.refuse("MalformedArchive", f"has no number at byte {at}")
        return int(text or b"0", 8)

    def text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse("UnsafePath", f"has the path {quote(raw, 64)}")

    def plain_name(self, block: bytes, at: int) -> str:
        name = self.text(block[:100].partition(b"\x00")[0])
        if block[257:263] == b"ustar\x00":
            prefix = self.text(block[345:500].partition(b"\x00")[0])
            return f"{prefix}/{name}" if prefix else name
        return name

    def extended(self, kind: bytes, begin: int, length: int, before: _Extra) -> _Extra:
        """What a ``pax`` or GNU header adds."""
        if length > min(_EXTRA_MAX, self._size - begin):
            self.refuse("MalformedArchive", f"has {length} bytes of extended header")
        data = self._read(begin, length) if length else b""
        if kind == b"L":
            return _Extra(self.text(data.rstrip(b"\x00")), before.size)
        path, size = before.path, before.size
        while data:
            digits, _, _ = data.partition(b" ")
            count = int(digits) if digits.isdigit() and len(digits) < 6 else 0
            record = data[len(digits) + 1 : count]
            if count <= len(digits) + 1 or count > len(data) or record[-1:] != b"\n":
                self.refuse("MalformedArchive", f"has a bad record at byte {begin}")
            key, _, value = record[:-1].partition(b"=")
            if key.startswith(b"GNU.sparse"):
                self.refuse("SpecialFile", "has a sparse file")
            if kind == b"g" and key in (b"path", b"size"):
                self.refuse("MalformedArchive", "names all files alike")
            if key == b"path":
                path = self.text(value)
            elif key == b"size":
                if not (value.isdigit() and len(value) < 19):
                    self.refuse("MalformedArchive", f"has the size {quote(value, 32)}")
                size = int(value)
            data = data[count:]
        return _Extra(path, size)


def _checked(walk: _Walk, path: str, limits: Limits) -> str:
    plain = _bare(path)
    if not is_plain(plain, limits.path_max_chars):
        walk.refuse("UnsafePath", f"has the path {quote(path)}")
    return plain


def _bare(path: str) -> str:
    while path.startswith("./"):
        path = path[2:]
    return path


def is_plain(path: str, chars_max: int) -> bool:
    """Whether a path is relative, printable, and stays below where it begins."""
    return (
        0 < len(path) <= chars_max
        and path.isprintable()
        and "\\" not in path
        and all(part not in ("", ".", "..") for part in path.split("/"))
    )
