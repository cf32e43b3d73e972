# SPDX-License-Identifier: Apache-2.0
"""The stored tensors that one logical tensor is made of: which bytes, which values.

Quantised layouts keep a matrix as several stored tensors.  The codes are read line by
line, of the scales only what lies between the first and the last wanted one, and
small scales whole, so that every read of the same tensor asks for the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError, quote
from pedigree.tensors.dtypes import decode
from pedigree.tensors.layout import Extent, TensorInfo
from pedigree.tensors.lines import runs

SCALE_DTYPES = frozenset({"F32", "BF16", "F16", "F8_E8M0"})
"""Types in which scales are stored."""

_WHOLE_BYTES = 1 << 20
"""A part of at most this size is read whole (arbitrary)."""


def line_extents(info: TensorInfo, lines: NDArray[np.int64]) -> list[Extent]:
    """Bytes of some lines of a matrix whose lines are whole bytes."""
    line_bytes = info.nbytes // info.lines
    return [Extent(info.path, *each) for each in runs(lines, info.begin, line_bytes)]


def joined(pieces: Sequence[bytes], wanted: int, info: TensorInfo) -> bytes:
    """Pieces as one.

    Raises:
        ArtifactError: They are not the wanted number of bytes (``MalformedValue``).
    """
    raw = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if len(raw) != wanted:
        raise ArtifactError(
            f"part {quote(info.name)} gave {len(raw)} bytes, wanted {wanted}",
            reason="MalformedValue",
            path=info.path,
        )
    return raw


@dataclass(frozen=True, slots=True)
class Part:
    """A small stored tensor seen as rows of equal size.

    Attributes:
        info: Where it is stored.
        rows: Number of rows; divides the number of stored values.
    """

    info: TensorInfo
    rows: int

    def _span(self, wanted: NDArray[np.int64]) -> tuple[int, int]:
        """First row and number of rows read for some rows."""
        if self.info.nbytes <= _WHOLE_BYTES:
            return 0, self.rows
        first = int(wanted.min())
        return first, int(wanted.max()) + 1 - first

    def extent(self, wanted: NDArray[np.int64]) -> Extent:
        """The stretch that holds some rows, at least one."""
        first, count = self._span(wanted)
        row_bytes = self.info.nbytes // self.rows
        begin = self.info.begin + first * row_bytes
        return Extent(self.info.path, begin, count * row_bytes)

    def raw(
        self, piece: bytes, wanted: NDArray[np.int64]
    ) -> tuple[bytes, NDArray[np.int64]]:
        """Bytes of the stretch, and the rows wanted counted from its first row.

        Raises:
            ArtifactError: ``MalformedValue``.
        """
        first, count = self._span(wanted)
        size = count * (self.info.nbytes // self.rows)
        return joined([piece], size, self.info), wanted - first

    def take(self, piece: bytes, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
        """Values of some rows.

        Args:
            piece: The bytes of :meth:`extent` for the same rows.
            wanted: Shape (k,) or any other.

        Returns:
            Shape (*wanted.shape, values per row).

        Raises:
            ArtifactError: ``MalformedValue``.
        """
        raw, places = self.raw(piece, wanted)
        width = self.info.count // self.rows
        return decode(raw, self.info.dtype).reshape(-1, width)[places]


def is_matrix(info: TensorInfo) -> bool:
    """Whether a stored tensor has two dimensions and holds something."""
    return len(info.shape) == 2 and info.count > 0 and info.coding is None


def is_scale(info: TensorInfo | None) -> bool:
    """Whether a stored tensor can be scales."""
    return (
        info is not None
        and info.coding is None
        and info.dtype in SCALE_DTYPES
        and info.count > 0
    )


def whole(number: Any) -> int | None:
    """An outside value as an integer above 0, or None."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        return None
    return number


def group_settings(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What ``config_groups`` says of weights, for each group; at most 64 groups."""
    groups = settings.get("config_groups")
    if not isinstance(groups, Mapping):
        return []
    found = []
    for group in list(groups.values())[:64]:
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            found.append(weights)
    return found
