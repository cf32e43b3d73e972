# SPDX-License-Identifier: Apache-2.0
"""The check that every weight is a number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import ArtifactError, quote


def check_finite(values: NDArray[np.float32], *, name: str, path: str) -> None:
    """Refuse NaN and infinities: nothing can be compared with them.

    Args:
        values: Any shape, float32.
        name: Tensor, for the message.
        path: File, for the message.

    Raises:
        ArtifactError: A value is not finite (``NonFiniteTensor``).
    """
    # One dot product finds nearly every finite array in one pass without a mask; it
    # may overflow for huge but finite values, so a positive is looked at again.
    flat = values.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.dot(flat, flat)):
            return
    bad = int(np.count_nonzero(~np.isfinite(flat)))
    if bad:
        first = int(np.argmax(~np.isfinite(flat)))
        raise ArtifactError(
            f"tensor {quote(name)} of file {quote(path)} has {bad} values that are "
            f"not finite, the first is {flat[first]} at index {first}; "
            "wanted finite weights",
            reason="NonFiniteTensor",
            path=path,
        )
