# SPDX-License-Identifier: Apache-2.0
"""Whether a zip archive of any name holds weights, by the names of its members.

Loaders of PyTorch find members in the directory at the end alone, whatever stands
before the members.  So this reads the directory too.  An archive whose end can be read
in two ways counts as a checkpoint: this may only ever call harmless what is plain.

Source: APPNOTE.TXT 6.3.10 (PKWARE), sections 4.3 and 4.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pedigree.ranges import RangeSource
from pedigree.tensors.formats import OTHER, PYTORCH, format_by_name

ZIP_HEAD = b"PK\x03\x04"
DIRECTORY_MAX_BYTES = 4 << 20
"""Some 40,000 members; longer directories are not read and count as not plain."""
_END_MARK, _ENTRY_MARK = b"PK\x05\x06", b"PK\x01\x02"
_END = struct.Struct("<4s4H2LH")
_LOCATOR_MARK, _LOCATOR_BYTES = b"PK\x06\x07", 20
"""Of a second end record, which counts for those who look for it whatever the first
says."""
_ENTRY = struct.Struct("<4s6H3L5H2L")
_TAIL_BYTES = _END.size + 0xFFFF
"""Where the end record can begin: its last field is a comment."""
_PICKLE = b"data.pkl"


def form_of_zip(file: RangeSource) -> str | None:
    """Weight format of what a zip archive holds, or None if it holds no weights.

    Args:
        file: A file that begins as a zip archive.

    Returns:
        pytorch for ``data.pkl`` below one folder, where PyTorch keeps it, and for an
        archive that is not plain; other for a member named as weights are.

    Raises:
        SourceError: The bytes could not be had.
    """
    directory = _directory(file)
    if directory is None:
        return PYTORCH
    data, count = directory
    names = list(_names(data))
    if len(names) != count or any(_is_pickle(name) for name in names):
        return PYTORCH
    announced = (format_by_name(name.decode("utf-8", "replace")) for name in names)
    return OTHER if any(announced) else None


def _is_pickle(name: bytes) -> bool:
    """PyTorch compares without regard to case, below whatever the one folder is."""
    return name.partition(b"/")[2].lower() == _PICKLE


def _directory(file: RangeSource) -> tuple[bytes, int] | None:
    """Bytes of the directory and its number of members, or None if it is not plain.

    Plain is one end record, on one disk, directly behind the directory, with sizes
    that need no second record of 64 bits.
    """
    begin = max(0, file.size - _TAIL_BYTES)
    tail = file.read(begin, file.size - begin)
    at = next(_ends(tail), -1)
    # Readers that look from the end take the last mark, others the first that fits.
    if at < 0 or tail.rfind(_END_MARK) != at:
        return None
    _, disk, first, here, count, size, offset, _ = _END.unpack_from(tail, at)
    wide = tail[max(0, at - _LOCATOR_BYTES) : at].startswith(_LOCATOR_MARK)
    if wide or (disk, first, here) != (0, 0, count) or size > DIRECTORY_MAX_BYTES:
        return None
    return (file.read(offset, size), count) if offset + size == begin + at else None


def _ends(tail: bytes) -> Iterator[int]:
    """Where records stand whose comment ends where the file does."""
    at = tail.find(_END_MARK)
    while 0 <= at <= len(tail) - _END.size:
        comment = int.from_bytes(tail[at + _END.size - 2 : at + _END.size], "little")
        if at + _END.size + comment == len(tail):
            yield at
        at = tail.find(_END_MARK, at + 1)


def _names(directory: bytes) -> Iterator[bytes]:
    """Names of members, until the directory ends or what follows is no entry."""
    at = 0
    while at + _ENTRY.size <= len(directory):
        entry = _ENTRY.unpack_from(directory, at)
        name, extra, comment = entry[10:13]
        end = at + _ENTRY.size + name + extra + comment
        if entry[0] != _ENTRY_MARK or end > len(directory):
            return
        yield directory[at + _ENTRY.size : at + _ENTRY.size + name]
        at = end
