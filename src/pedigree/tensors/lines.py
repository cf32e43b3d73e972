# SPDX-License-Identifier: Apache-2.0
"""Lines of a stored tensor, as byte ranges of its file."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import quote
from pedigree.tensors.layout import TensorInfo


def runs(
    wanted: NDArray[np.int64], begin: int, line_bytes: int
) -> list[tuple[int, int]]:
    """Byte ranges of lines, one for each stretch of consecutive ones."""
    if wanted.size == 0:
        return []
    breaks = (np.flatnonzero(wanted[1:] != wanted[:-1] + 1) + 1).tolist()
    firsts = [0, *breaks]
    starts = (begin + wanted[firsts] * line_bytes).tolist()
    ends = [*breaks, wanted.size]
    return [
        (start, (end - first) * line_bytes)
        for start, first, end in zip(starts, firsts, ends, strict=True)
    ]


def check_rows(info: TensorInfo, rows: NDArray[np.int64], height: int) -> None:
    """Refuse a row that is not there.

    Raises:
        IndexError: A row is outside the tensor.
    """
    if rows.size and (int(rows.min()) < 0 or int(rows.max()) >= height):
        _no_row(info, height)


def _no_row(info: TensorInfo, height: int) -> NoReturn:
    raise IndexError(
        f"tensor {quote(info.name)} has rows 0 to {height - 1}, asked was another"
    )
