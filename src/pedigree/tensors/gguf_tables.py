# SPDX-License-Identifier: Apache-2.0
"""Blocks of GGUF files whose numbers stand for values of a short list.

Layouts: structures ``block_iq4_*``, ``block_tq*`` and ``block_mxfp4`` of
``ggml-common.h`` in ggml.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pedigree.tensors.gguf_fields import Stored, fields, grouped, half

_NONLINEAR = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113],
    np.int8,
)
"""What the 4-bit numbers of IQ4 types stand for.  Source: ``kvalues_iq4nl``."""


def iq4_nl(stored: Stored) -> NDArray[np.float32]:
    """Half d, 16 bytes as in Q4_0: d times a value of the list."""
    numbers = _NONLINEAR[fields(stored[:, 2:], 1, 0, 4) & 15].astype(np.float32)
    values: NDArray[np.float32] = half(stored, 0) * numbers
    return values


def iq4_xs(stored: Stored) -> NDArray[np.float32]:
    """Half d, 2 + 4 bytes of eight scales, 128 bytes of 4-bit numbers as in IQ4_NL.

    A scale has 6 bits less 32: the high 2 bits of each are in two bytes, the low 4 in
    four, in order from the lowest bit on.
    """
    count = len(stored)
    pairs = stored[:, 2:4, None] >> np.array([0, 2, 4, 6], np.uint8) & 3
    nibbles = stored[:, 4:8, None] >> np.array([0, 4], np.uint8) & 15
    joined = nibbles.reshape(count, 8) | pairs.reshape(count, 8) << 4
    scales = joined.view(np.int8) - np.int8(32)
    numbers = _NONLINEAR[fields(stored[:, 8:], 8, 0, 4) & 15]
    return grouped(half(stored, 0) * scales.astype(np.float32), numbers)


def tq1_0(stored: Stored) -> NDArray[np.float32]:
    """32 and 16 bytes of five ternary digits, 4 bytes of four, half d: d * (digit - 1).

    A byte is a fraction of 256 in base three, rounded up: times three, what goes beyond
    a byte is its first digit.
    """
    digits = [
        _digits(stored[:, :32], 5),
        _digits(stored[:, 32:48], 5),
        _digits(stored[:, 48:52], 4),
    ]
    numbers = np.hstack(digits).view(np.int8) - np.int8(1)
    return half(stored, 52) * numbers.astype(np.float32)


def _digits(stored: Stored, count: int) -> Stored:
    """Shape (n, count * width): the first digit of all bytes, then the second ..."""
    powers = np.array([3**place for place in range(count)], np.uint8)
    left = stored[:, None, :] * powers[:, None]  # (n, count, width), modulo 256
    found = (left.astype(np.uint16) * 3 >> 8).astype(np.uint8)
    return found.reshape(len(stored), count * stored.shape[1])


def tq2_0(stored: Stored) -> NDArray[np.float32]:
    """64 bytes of four 2-bit numbers, half d: d * (q - 1)."""
    numbers = (fields(stored[:, :64], 2, 0, 2, 4, 6) & 3).view(np.int8) - np.int8(1)
    return half(stored, 64) * numbers.astype(np.float32)


_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])
"""By bit pattern.  Source: OCP Microscaling Formats 1.0, table 5."""
_SCALES = np.array(
    [
        0.0
        if byte in (0, 0x7F)
        else np.ldexp(byte & 7, -10)
        if byte & 0x78 == 0
        else np.ldexp(8 + (byte & 7), (byte >> 3 & 15) - 11)
        for byte in range(256)
    ],
    np.float32,
)
"""Half of an 8-bit float of 4 bits of exponent and 3 of fraction, the sign passed over,
as ggml has it."""
_DOUBLED = (2 * _E2M1).astype(np.int8)


def nvfp4(stored: Stored) -> NDArray[np.float32]:
    """Four scale bytes, four times 8 bytes as in Q4_0 of 4-bit floats."""
    numbers = _DOUBLED[fields(stored[:, 4:], 4, 0, 4) & 15]
    return grouped(_SCALES[stored[:, :4]], numbers)


def mxfp4(stored: Stored) -> NDArray[np.float32]:
    """Exponent byte e, 16 bytes as in Q4_0 of 4-bit floats: 2**(e - 127) * q.

    As ggml has it, e = 255 is 2**128 and not, as in OCP's paper, not a number: such
    a block is finite where its numbers are below 1.
    """
    numbers = _E2M1[fields(stored[:, 1:], 1, 0, 4) & 15]
    values: NDArray[np.float64] = np.ldexp(
        numbers, stored[:, :1].astype(np.int32) - 127
    )
    return values.astype(np.float32)
