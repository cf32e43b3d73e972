# SPDX-License-Identifier: Apache-2.0
"""The quantisers that tests use to write GGUF files."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import quants
from numpy.typing import NDArray

from made_quants import LATTICE, NUMBERS, quantise
from pedigree.tensors.gguf_blocks import BLOCK_TYPES, decode_blocks


def _weights(rows: int, columns: int, seed: int = 1) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    weights = generator.standard_normal((rows, columns)).astype(np.float32) * 0.02
    weights[0] = 0
    weights[1] += 1
    weights[2] = -np.abs(weights[2])
    return weights


def _back(raw: bytes, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return decode_blocks(raw, BLOCK_TYPES[NUMBERS[name]]).reshape(shape)


def _steps(raw: bytes, name: str) -> NDArray[np.float64]:
    """Shape (n, 1): distance of neighbours in each block or group of 32 values."""
    stored = np.frombuffer(raw, np.uint8)
    if name != "Q4_K":
        width = BLOCK_TYPES[NUMBERS[name]].bytes
        scales = stored.reshape(-1, width)[:, :2].copy().view("<f2")
        return np.abs(scales.astype(np.float64))
    # The same blocks with all numbers 0 and with all numbers 1.
    low, high = stored.reshape(-1, 144).copy(), stored.reshape(-1, 144).copy()
    low[:, 16:], high[:, 16:] = 0, 0x11
    steps = _back(high.tobytes(), name, (-1, 32)) - _back(low.tobytes(), name, (-1, 32))
    return steps[:, :1].astype(np.float64)


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "MXFP4"])
def test_simple_blocks_are_those_of_the_reference_writer(name: str) -> None:
    weights = _weights(40, 512)
    wanted = quants.quantize(weights, gguf.GGMLQuantizationType[name])
    assert quantise(weights, name) == wanted.tobytes()


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q4_K"])
def test_values_come_back_within_half_a_step(name: str) -> None:
    weights = _weights(64, 768)
    raw = quantise(weights, name)
    error = np.abs(_back(raw, name, weights.shape) - weights).reshape(-1, 32)
    # A scale rounded to half precision moves the farthest number by this much.
    slack = {"Q8_0": 127 / 2048, "Q4_0": 8 / 2048, "Q4_K": 1e-3}[name]
    steps = _steps(raw, name)
    allowed = np.broadcast_to((0.5 + slack) * steps, error.shape).copy()
    if name == "Q4_0":
        # What is opposite to the largest value and above 7.5 steps is cut to 7.
        far = np.abs(weights.reshape(-1, 32)) > (7.5 - slack) * steps
        allowed[far] = ((1 + slack) * np.broadcast_to(steps, error.shape))[far]
    assert (error <= allowed).all()
    assert error.max() > 0


def test_numbers_of_the_uneven_lattice_come_back_as_the_nearest() -> None:
    weights = _weights(64, 768)
    raw = quantise(weights, "IQ4_NL")
    scales = np.frombuffer(raw, np.uint8).reshape(-1, 18)[:, :2].copy().view("<f2")
    numbers = scales.astype(np.float32) * LATTICE  # (n, 16)
    blocks = weights.reshape(-1, 32)
    nearest = np.abs(blocks[..., None] - numbers[:, None]).min(axis=-1)
    error = np.abs(_back(raw, "IQ4_NL", blocks.shape) - blocks)
    slack = 127 / 2048 * np.abs(scales.astype(np.float32))
    assert (error <= nearest + slack).all()
    assert error.max() > 0


@pytest.mark.parametrize("name", NUMBERS)
def test_zeros_come_back_as_zeros(name: str) -> None:
    zeros = np.zeros((2, 256), np.float32)
    assert not _back(quantise(zeros, name), name, zeros.shape).any()


def test_columns_that_are_not_whole_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted a multiple of 256"):
        quantise(np.zeros((2, 128), np.float32), "Q4_K")
