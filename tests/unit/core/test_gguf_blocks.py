# SPDX-License-Identifier: Apache-2.0
"""GGUF blocks against the reference reader of the format, to the bit."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import quants
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pedigree.errors import ArtifactError
from pedigree.tensors.gguf_blocks import (
    BLOCK_TYPES,
    UNREAD_TYPES,
    BlockCoding,
    BlockType,
    decode_blocks,
)
from pedigree.tensors.gguf_header import PLAIN_TYPES
from pedigree.tensors.layout import Coding, Extent

_HALVES = {
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    **dict.fromkeys(("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S"), (0,)),
    "IQ1_M": (),
    "IQ4_NL": (0,),
    "IQ4_XS": (0,),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
    "MXFP4": (),
    "NVFP4": (),
}
"""Where half-precision scales are in a block."""

_EVERY = pytest.mark.parametrize(
    ("number", "block"), BLOCK_TYPES.items(), ids=[b.name for b in BLOCK_TYPES.values()]
)


def _random(block: BlockType, count: int, seed: int) -> NDArray[np.uint8]:
    """Shape (count, block.bytes): any bytes, but finite scales of any exponent."""
    generator = np.random.default_rng(seed)
    stored = generator.integers(0, 256, (count, block.bytes), np.uint8)
    for at in _HALVES[block.name]:
        # An exponent field of 31 is what is not finite; 30 has one bit less.
        exponent = stored[:, at + 1] & 0x7C
        stored[exponent == 0x7C, at + 1] ^= 0x04
    if block.name == "MXFP4":
        stored[:, 0] %= 253
    if block.name == "IQ1_M":  # its scale is in the highest bits of four words
        stored[stored[:, 55] & 0x70 == 0x70, 55] ^= 0x10
    return stored


def _oracle(stored: NDArray[np.uint8], number: int) -> NDArray[np.float32]:
    kind = gguf.GGMLQuantizationType(number)
    return np.asarray(quants.dequantize(stored, kind), np.float32)


@_EVERY
def test_names_and_sizes_are_those_of_the_format(number: int, block: BlockType) -> None:
    kind = gguf.GGMLQuantizationType(number)
    assert block.name == kind.name
    assert (block.values, block.bytes) == gguf.GGML_QUANT_SIZES[kind]


@_EVERY
def test_values_are_to_the_bit_those_of_the_reference_reader(
    number: int, block: BlockType
) -> None:
    stored = _random(block, 5000, seed=number)
    found = decode_blocks(stored.tobytes(), block)
    wanted = _oracle(stored, number).reshape(-1)
    assert found.dtype == np.float32
    assert found.shape == (5000 * block.values,)
    np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))


@_EVERY
@pytest.mark.parametrize("byte", [0x00, 0x01, 0x7B, 0x80, 0xFB])
def test_blocks_of_one_byte_repeated_are_those_of_the_reference_reader(
    number: int, block: BlockType, byte: int
) -> None:
    stored = np.full((3, block.bytes), byte, np.uint8)
    found = decode_blocks(stored.tobytes(), block)
    wanted = _oracle(stored, number).reshape(-1)
    np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))


@_EVERY
def test_lines_read_alone_are_those_of_the_whole_tensor(
    number: int, block: BlockType
) -> None:
    height, columns, begin = 9, 3 * block.values, 77
    stored = _random(block, height * 3, seed=100 + number).tobytes()
    file = b"#" * begin + stored + b"#" * 50
    coding: Coding = BlockCoding(block, "a.gguf", begin, columns)
    whole = decode_blocks(stored, block).reshape(height, columns)
    for wanted in ([4], [3, 4, 5], [8, 0, 1, 1, 0, 7, 8], [], list(range(height))):
        lines = np.array(wanted, np.int64)
        extents = coding.extents(lines)
        pieces = [file[e.offset : e.offset + e.length] for e in extents]
        found = coding.decode(pieces, lines)
        assert found.shape == (len(wanted), columns)
        np.testing.assert_array_equal(found, whole[lines])


def test_types_that_are_not_decoded_have_the_names_of_the_format() -> None:
    known = {kind.value: kind.name for kind in gguf.GGMLQuantizationType}
    assert {**known, **UNREAD_TYPES} == known
    read = {*BLOCK_TYPES, *PLAIN_TYPES}
    assert read | {*UNREAD_TYPES} == {*known}
    assert not read & {*UNREAD_TYPES}


def test_consecutive_lines_are_one_extent() -> None:
    coding = BlockCoding(BLOCK_TYPES[12], "a.gguf", 1000, 512)
    assert coding.kind == "GGUF Q4_K"
    assert coding.extents(np.array([2, 3, 4, 0])) == [
        Extent("a.gguf", 1000 + 2 * 288, 3 * 288),
        Extent("a.gguf", 1000, 288),
    ]


@_EVERY
@pytest.mark.parametrize("half", [0x7C00, 0xFC00, 0x7E00, 0x7D01])
def test_scales_that_are_not_finite_give_values_that_are_not(
    number: int, block: BlockType, half: int
) -> None:
    for at in _HALVES[block.name]:
        stored = _random(block, 4, seed=number)
        stored[:, at : at + 2] = np.array([half], "<u2").view(np.uint8)
        found = decode_blocks(stored.tobytes(), block).reshape(4, block.values)
        # An infinity times 0 is not a number, so none of the values can be finite.
        assert not np.isfinite(found).any()


def test_the_largest_exponents_of_mxfp4_overflow_without_a_warning() -> None:
    stored = np.full((1, 17), 0x77, np.uint8)
    stored[:, 0] = 255
    assert np.isposinf(decode_blocks(stored.tobytes(), BLOCK_TYPES[39])).all()


@_EVERY
def test_bytes_that_are_not_whole_blocks_are_refused(
    number: int, block: BlockType
) -> None:
    for length in (1, block.bytes - 1, block.bytes + 1):
        with pytest.raises(ArtifactError, match="wanted a multiple of") as caught:
            decode_blocks(bytes(length), block)
        assert caught.value.reason == "MalformedValue"


@_EVERY
def test_bytes_of_fewer_or_more_lines_are_refused(
    number: int, block: BlockType
) -> None:
    coding = BlockCoding(block, "a.gguf", 0, 2 * block.values)
    lines = np.array([0, 3])
    for blocks in (0, 2, 3, 5):
        with pytest.raises(ArtifactError, match="bytes for 2 lines") as caught:
            coding.decode([bytes(block.bytes)] * blocks, lines)
        assert caught.value.reason == "MalformedValue"


@pytest.mark.parametrize("columns", [-32, 0, 1, 255, 257])
def test_lines_that_are_not_whole_blocks_are_refused(columns: int) -> None:
    with pytest.raises(ArtifactError, match="wanted a multiple of 256") as caught:
        BlockCoding(BLOCK_TYPES[14], "a.gguf", 0, columns)
    assert caught.value.reason == "MalformedValue"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=700), st.sampled_from(list(BLOCK_TYPES.values())))
def test_any_bytes_give_values_or_a_refusal(raw: bytes, block: BlockType) -> None:
    if len(raw) % block.bytes:
        with pytest.raises(ArtifactError):
            decode_blocks(raw, block)
    else:
        values = decode_blocks(raw, block)
        assert values.size * block.bytes == len(raw) * block.values
