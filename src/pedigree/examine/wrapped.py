# SPDX-License-Identifier: Apache-2.0
"""A model source around another one: passes on everything but what is changed."""

from __future__ import annotations

from pedigree.ranges import FileEntry, ModelSource, RangeSource
from pedigree.refs import ModelRef


class WrappedSource:
    """Passes on what a source says of itself; how files are opened is told elsewhere.

    Args:
        source: The source within.
    """

    def __init__(self, source: ModelSource) -> None:
        self._source = source

    @property
    def ref(self) -> ModelRef:
        """The pinned reference."""
        return self._source.ref

    @property
    def identity(self) -> str:
        """The source's identity."""
        return self._source.identity

    @property
    def bytes_read(self) -> int:
        """Bytes read so far."""
        return self._source.bytes_read

    def files(self) -> tuple[FileEntry, ...]:
        """The files, sorted by path."""
        return self._source.files()


class WrappedRange:
    """Passes on what a file says of itself; how it is read is told elsewhere."""

    def __init__(self, file: RangeSource) -> None:
        self._file = file

    @property
    def path(self) -> str:
        """Path relative to the model's root."""
        return self._file.path

    @property
    def size(self) -> int:
        """Bytes."""
        return self._file.size
