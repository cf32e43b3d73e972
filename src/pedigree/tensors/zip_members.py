# SPDX-License-Identifier: Apache-2.0
"""The members of a zip archive as PyTorch writes it: one meaning or none.

A zip archive says most things twice: in a directory at its end and before each member.
Readers differ in which they believe, and scanners were passed by archives whose two
halves disagree (CVE-2025-1944, CVE-2025-1945).  Here both are read and must agree, and
members must tile the file: nothing before, between or after them.  Only stored members
are understood, as PyTorch maps their bytes into memory.  Checksums of members are
compared with each other but not computed: PyTorch does not look at them.

Source: APPNOTE.TXT 6.3.10 (PKWARE), sections 4.3 and 4.5.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from pedigree.errors import ArtifactError, quote
from pedigree.ranges import RangeSource

MEMBERS_MAX = 200_000
DIRECTORY_MAX_BYTES = 64 << 20
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTOR = struct.Struct("<4s3L")
_DESCRIPTOR64 = struct.Struct("<4sL2Q")
_LATER = 0x0008
"""Flag: sizes follow the member; PyTorch sets it, and repeats them there."""
_UTF8 = 0x0800
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_WIDE = 0x0001
"""Extra field of sizes that need 64 bits."""
_OTHER_NAME = 0x7075
"""Extra field that gives a member another name for some readers."""
_BATCH = 1_000
"""Members whose own headers are held at once (arbitrary; at most 128 kB each)."""
_ALIENS = {
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One stored member.

    Attributes:
        name: As the archive writes it.
        begin: First byte of its content in the file.
        end: One past the last byte of its content.
    """

    name: str
    begin: int
    end: int


class _Entry(NamedTuple):
    """A member as the directory describes it; ``name`` is as stored."""

    name: bytes
    flags: int
    method: int
    crc: int
    size: int
    offset: int


def read_members(file: RangeSource) -> dict[str, Member]:
    """Read and check the directory of an archive and the headers of its members.

    Args:
        file: The archive.

    Returns:
        Members by name, in the order of their bytes.

    Raises:
        ArtifactError: ``MalformedZip``.
        SourceError: The bytes could not be had.
    """
    path = file.path
    if file.size < _END.size:
        _refuse(path, f"is {file.size} bytes, wanted a zip archive")
    head = file.read(0, 8)
    for magic, what in _ALIENS.items():
        if head.startswith(magic):
            _refuse(path, f"is {what}, wanted a zip archive")
    if head[:4] != b"PK\x03\x04":
        _refuse(path, f"begins with {head[:4]!r}, wanted a member of a zip archive")
    begin, end, count = _directory(file)
    entries = _entries(file.read(begin, end - begin), count, path)
    members: dict[str, Member] = {}
    for first in range(0, len(entries), _BATCH):
        batch = entries[first : first + _BATCH]
        after = first + len(batch)
        ends = [each.offset for each in entries[first + 1 : after + 1]]
        if after == len(entries):
            ends.append(begin)
        for member in _located(file, batch, ends):
            members[member.name] = member
    return members


def _refuse(path: str, got: str) -> NoReturn:
    raise ArtifactError(
        f"file {quote(path)} {got}",
        reason="MalformedZip",
        hint="save it again with torch.save, or better as safetensors",
        path=path,
    )


def _directory(file: RangeSource) -> tuple[int, int, int]:
    """First byte of the directory, one past its last, and its number of members."""
    path, last = file.path, file.size - _END.size
    end = _END.unpack(file.read(last, _END.size))
    if end[0] != b"PK\x05\x06" or end[7] != 0:
        _refuse(
            path,
            "does not end with the end record of a zip archive without comment; "
            "it was cut off, or something follows it",
        )
    stated = (end[1], end[2], end[3], end[4], end[5], end[6])
    directory_end, found = last, stated
    wide = last - _LOCATOR.size - _END64.size
    tail = file.read(wide, _END64.size + _LOCATOR.size) if wide >= 0 else b""
    if tail[_END64.size : _END64.size + 4] == b"PK\x06\x07":
        locator = _LOCATOR.unpack_from(tail, _END64.size)
        record = _END64.unpack_from(tail)
        if locator != (b"PK\x06\x07", 0, wide, 1) or record[:2] != (
            b"PK\x06\x06",
            _END64.size - 12,
        ):
            _refuse(path, "has a 64 bit end record that is not where it says")
        directory_end, found = wide, record[4:]
    elif any(value in (_FULL16, _FULL32) for value in stated):
        _refuse(path, "has an end record that needs a 64 bit one, and has none")
    full = (_FULL16, _FULL16, _FULL16, _FULL16, _FULL32, _FULL32)
    for narrow, value, most in zip(stated, found, full, strict=True):
        if narrow not in (value, most):
            _refuse(path, f"says {narrow} in one end record and {value} in the other")
    disk, directory_disk, here, count, size, offset = found
    if disk or directory_disk or here != count:
        _refuse(path, "is part of a split archive, wanted a whole one")
    if not 0 < count <= MEMBERS_MAX or size > DIRECTORY_MAX_BYTES:
        _refuse(
            path,
            f"has {count} members in a directory of {size} bytes, allowed are 1 to "
            f"{MEMBERS_MAX} and {DIRECTORY_MAX_BYTES}",
        )
    if offset + size != directory_end:
        _refuse(
            path,
            f"has a directory of {size} bytes at {offset}, wanted one that ends at "
            f"{directory_end}",
        )
    return offset, directory_end, count


def _entries(data: bytes, count: int, path: str) -> list[_Entry]:
    """Members by offset; names are unique."""
    found: list[_Entry] = []
    names: set[bytes] = set()
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(data):
            _refuse(path, f"has a directory that ends before its {count} members do")
        record = _CENTRAL.unpack_from(data, at)
        name_end = at + _CENTRAL.size + record[10]
        extra_end = name_end + record[11]
        if record[0] != b"PK\x01\x02" or extra_end > len(data):
            _refuse(path, f"has a malformed member at byte {at} of its directory")
        name = data[at + _CENTRAL.size : name_end]
        if record[12] or record[13]:
            _refuse(path, f"has a comment or a second disk for {quote(name)}")
        extra = _extra(data[name_end:extra_end], path, name)
        flags, method, crc, packed, size, offset = (
            record[3], record[4], record[7], record[8], record[9], record[16],
        )  # fmt: skip
        size, packed, offset = _widened((size, packed, offset), extra, path, name)
        if flags & ~(_LATER | _UTF8):
            _refuse(
                path,
                f"has the flags {flags:#06x} for {quote(name)}, wanted no encryption "
                "nor anything else that readers treat differently",
            )
        if method != 0 or packed != size:
            _refuse(path, f"has the compressed member {quote(name)}, wanted stored")
        if name in names:
            _refuse(path, f"has the member {quote(name)} twice")
        names.add(name)
        found.append(_Entry(name, flags, method, crc, size, offset))
        at = extra_end
    if at != len(data):
        _refuse(path, f"has {len(data) - at} bytes after its {count} members")
    found.sort(key=lambda entry: entry.offset)
    if found[0].offset != 0:
        _refuse(path, f"has {found[0].offset} bytes before its first member")
    return found


def _extra(data: bytes, path: str, name: bytes) -> bytes:
    """Content of the 64 bit field among extra fields; empty without one."""
    at, wide = 0, b""
    while at < len(data):
        if at + 4 > len(data):
            _refuse(path, f"has malformed extra fields for {quote(name)}")
        kind, length = struct.unpack_from("<HH", data, at)
        at += 4
        if at + length > len(data) or kind == _OTHER_NAME or (kind == _WIDE and wide):
            _refuse(
                path,
                f"has extra fields for {quote(name)} that are cut off, repeated or "
                "give it another name",
            )
        if kind == _WIDE:
            wide = data[at : at + length]
        at += length
    return wide


def _widened(
    values: tuple[int, ...], extra: bytes, path: str, name: bytes
) -> tuple[int, ...]:
    """Values of 32 bits, those that are full replaced by those of the extra field."""
    wanted = sum(value == _FULL32 for value in values)
    if len(extra) < 8 * wanted or len(extra) % 8:
        _refuse(path, f"has no 64 bit sizes for {quote(name)}, and needs them")
    wide = iter(struct.unpack_from(f"<{wanted}Q", extra))
    return tuple(next(wide) if value == _FULL32 else value for value in values)


def _located(
    file: RangeSource, entries: Sequence[_Entry], ends: Sequence[int]
) -> list[Member]:
    """Members whose own headers agree with the directory and that fill their place."""
    path = file.path
    for entry, end in zip(entries, ends, strict=True):
        if entry.offset + _LOCAL.size + len(entry.name) + entry.size > end:
            _refuse(path, f"has the member {quote(entry.name)} overlap what follows")
    fixed = file.read_many([(entry.offset, _LOCAL.size) for entry in entries])
    locals_ = [_LOCAL.unpack(data) for data in fixed]
    asked: list[tuple[int, int]] = []
    for entry, local, end in zip(entries, locals_, ends, strict=True):
        begin = entry.offset + _LOCAL.size
        length = local[9] + local[10]
        rest = end - (begin + length + entry.size)
        tail = (0,) if not entry.flags & _LATER else (_DESCRIPTOR.size, 24)
        if rest not in tail:
            _refuse(
                path,
                f"has {rest} bytes between {quote(entry.name)} and what follows, "
                f"wanted {tail[0]}",
            )
        asked += [(begin, length), (begin + length + entry.size, rest)]
    texts = file.read_many(asked)
    found = []
    for index, (entry, local) in enumerate(zip(entries, locals_, strict=True)):
        _check_local(path, entry, local, texts[2 * index], texts[2 * index + 1])
        begin = entry.offset + _LOCAL.size + local[9] + local[10]
        found.append(Member(_name(path, entry.name), begin, begin + entry.size))
    return found


def _check_local(
    path: str, entry: _Entry, local: tuple[Any, ...], text: bytes, tail: bytes
) -> None:
    name, extra = text[: local[9]], text[local[9] :]
    if local[0] != b"PK\x03\x04" or name != entry.name:
        _refuse(
            path,
            f"has the member {quote(entry.name)} in its directory and {quote(name)} "
            "in its place; readers disagree on which counts",
        )
    wide = _extra(extra, path, name)
    size, packed = _widened((local[8], local[7]), wide, path, name)
    crc, flags, method = local[6], local[2], local[3]
    stated = (flags, method, crc, packed, size)
    wanted = (entry.flags, entry.method, entry.crc, entry.size, entry.size)
    later = (entry.flags, entry.method, 0, 0, 0)
    if stated != wanted and not (entry.flags & _LATER and stated == later):
        _refuse(
            path,
            f"has flags, method, checksum and sizes {wanted} for {quote(name)} in its "
            f"directory and {stated} before the member",
        )
    if tail:
        record = (_DESCRIPTOR if len(tail) == 16 else _DESCRIPTOR64).unpack(tail)
        if record != (b"PK\x07\x08", entry.crc, entry.size, entry.size):
            _refuse(path, f"has other sizes after {quote(name)} than in its directory")


def _name(path: str, raw: bytes) -> str:
    try:
        name = raw.decode("ascii")
    except UnicodeDecodeError:
        name = ""
    if not name.isprintable() or not name or "\\" in name:
        _refuse(path, f"has the member {quote(raw)}, wanted a plain ASCII name")
    return name
