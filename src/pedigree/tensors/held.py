# SPDX-License-Identifier: Apache-2.0
"""Pieces of files that several reads of coded tensors share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pedigree.ranges import RangeSource
from pedigree.tensors.layout import Extent

HELD_BYTES = 64 << 20
"""Scales of a layer are far below this, and so are most packed matrices; what is
larger is read again (arbitrary)."""


class HeldPieces:
    """Reads extents, and keeps the last ones.

    Rows of a coded tensor share scales, and where values are packed down the columns
    even all bytes, so that without this every sample would read them again.
    """

    def __init__(self, most_bytes: int = HELD_BYTES) -> None:
        self._most = most_bytes
        self._held: dict[Extent, bytes] = {}
        self._bytes = 0

    def read(
        self, files: Mapping[str, RangeSource], extents: Sequence[Extent]
    ) -> list[bytes]:
        """The bytes of each extent, in the order asked; one call for each file.

        Raises:
            ArtifactError: A file is shorter than it said (``TruncatedFile``).
            SourceError: The bytes could not be had.
        """
        wanted = dict.fromkeys(extents)
        found = {
            extent: self._held[extent] for extent in wanted if extent in self._held
        }
        missing: dict[str, list[Extent]] = {}
        for extent in wanted:
            if extent not in found:
                missing.setdefault(extent.path, []).append(extent)
        for path, those in missing.items():
            pieces = files[path].read_many([(e.offset, e.length) for e in those])
            found.update(zip(those, pieces, strict=True))
        for extent in wanted:
            self._keep(extent, found[extent])
        return [found[extent] for extent in extents]

    def _keep(self, extent: Extent, piece: bytes) -> None:
        if self._held.pop(extent, None) is not None:
            self._bytes -= len(piece)
        if len(piece) > self._most:
            return
        self._held[extent] = piece  # the last in order is the last used
        self._bytes += len(piece)
        while self._bytes > self._most:
            oldest = self._held.pop(next(iter(self._held)))
            self._bytes -= len(oldest)
