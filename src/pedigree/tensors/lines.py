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
    breaks = np.flatnonzero(np.diff(wanted) != 1) + 1
    firsts = np.concatenate([[0], breaks])
    lengths = np.diff(np.append(firsts, wanted.size)) * line_bytes
    starts = begin + wanted[firsts] * line_bytes
    return list(zip(starts.tolist(), lengths.tolist(), strict=True))


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
