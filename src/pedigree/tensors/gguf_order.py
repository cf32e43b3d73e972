# SPDX-License-Identifier: Apache-2.0
"""Rows of attention matrices in the order their model was published with.

Converters to GGUF turn the two halves of each head, (heads, 2, d / 2), into pairs,
(heads, d / 2, 2), for architectures whose rotary embedding ggml applies to neighbours.
Here the order is undone as lines are looked up, so that nothing is read twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.tensors.dtypes import DTYPES, decode
from pedigree.tensors.layout import Coding, Extent
from pedigree.tensors.lines import runs

PERMUTED = frozenset(
    {
        "arctic",
        "baichuan",
        "granite",
        "granitemoe",
        "internlm2",
        "llama",
        "minicpm",
        "olmo",
        "xverse",
    }
)
"""Values of ``general.architecture`` whose converter reorders q and k."""


@dataclass(frozen=True, slots=True)
class PlainCoding:
    """Values stored one by one, line after line.

    Attributes:
        dtype: A key of ``DTYPES``, of whole bytes.
        path: File.
        begin: First byte in the file.
        columns: Values of a line.
    """

    dtype: str
    path: str
    begin: int
    columns: int

    @property
    def kind(self) -> str:
        """Name for people."""
        return f"GGUF {self.dtype}"

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """Bytes of some lines."""
        size = self.columns * DTYPES[self.dtype].bits // 8
        return [Extent(self.path, *each) for each in runs(lines, self.begin, size)]

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Shape (k, columns)."""
        return decode(b"".join(pieces), self.dtype).reshape(lines.size, self.columns)


@dataclass(frozen=True, slots=True)
class HalvedHeads:
    """Rows of a matrix, or values of a bias, whose heads are stored as pairs.

    Attributes:
        within: How values are stored.
        head: Rows of a head; even.
        columns: Values of the only line of a bias; 0 for a matrix.
    """

    within: Coding
    head: int
    columns: int = 0

    @property
    def kind(self) -> str:
        """Name for people."""
        return self.within.kind

    def extents(self, lines: NDArray[np.int64]) -> Sequence[Extent]:
        """Bytes of some lines."""
        return self.within.extents(lines if self.columns else self._stored(lines))

    def decode(
        self, pieces: Sequence[bytes], lines: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Shape (k, columns)."""
        if self.columns:
            order = self._stored(np.arange(self.columns, dtype=np.int64))
            return self.within.decode(pieces, lines)[:, order]
        return self.within.decode(pieces, self._stored(lines))

    def _stored(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Stored place of each published row."""
        head, inner = np.divmod(wanted, self.head)
        half, place = np.divmod(inner, self.head // 2)
        stored: NDArray[np.int64] = head * self.head + 2 * place + half
        return stored
