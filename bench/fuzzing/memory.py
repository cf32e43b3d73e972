# SPDX-License-Identifier: Apache-2.0
"""A model in memory, whose files refuse to be read outside of what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pedigree.ranges import FileEntry, ModelSource, RangeSource
from pedigree.refs import ModelRef, parse
from pedigree.tensors.checkpoint import Checkpoint

TENSORS_MAX = 6
VALUES_MAX = 1 << 16
"""Values of a tensor that is read; larger ones cost time and show no more."""


class HeldFile:
    """One file.

    A read outside of it is a mistake of the parser: a source over the network would
    ask for bytes that are not there.
    """

    def __init__(self, path: str, data: bytes) -> None:
        self._path, self._data = path, data

    @property
    def path(self) -> str:
        """Path in the model."""
        return self._path

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file."""
        if not 0 <= offset <= offset + length <= len(self._data):
            raise AssertionError(
                f"read {offset} + {length} of a file of {len(self._data)} bytes"
            )
        return self._data[offset : offset + length]

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several ranges."""
        return [self.read(offset, length) for offset, length in ranges]


class HeldModel:
    """A model of files in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)
        self.identity = "held"
        self.bytes_read = 0

    @property
    def ref(self) -> ModelRef:
        """A made-up place."""
        return parse("file:///held")

    def files(self) -> tuple[FileEntry, ...]:
        """The files, sorted by path."""
        return tuple(
            FileEntry(path, len(self._files[path])) for path in sorted(self._files)
        )

    def open(self, path: str) -> RangeSource:
        """One file."""
        return HeldFile(path, self._files[path])


def held(files: Mapping[str, bytes]) -> ModelSource:
    """A model of these files."""
    return HeldModel(files)


def read_all(files: Mapping[str, bytes]) -> None:
    """Open a model and read its first tensors, whole and by lines."""
    opened = Checkpoint.open(held(files))
    for name in list(opened.tensors)[:TENSORS_MAX]:
        info = opened.tensors[name]
        if info.count > VALUES_MAX:
            continue
        opened.read(name)
        if info.shape and info.lines:
            opened.read_lines(name, [0, info.lines - 1])
