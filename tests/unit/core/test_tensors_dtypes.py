# SPDX-License-Identifier: Apache-2.0
"""Every storage type decodes to the exact values it stands for."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedigree.errors import ArtifactError
from pedigree.tensors.dtypes import DTYPES, decode


def _minifloat(bits: int, exponent: int, mantissa: int, bias: int) -> float:
    """Value of a small float without infinities, from its definition."""
    sign = -1.0 if bits >> (exponent + mantissa) else 1.0
    e = (bits >> mantissa) & ((1 << exponent) - 1)
    m = bits & ((1 << mantissa) - 1)
    if e == 0:
        return sign * math.ldexp(m, 1 - bias - mantissa)
    return sign * math.ldexp((1 << mantissa) + m, e - bias - mantissa)


def _pack(values: list[int], bits: int) -> bytes:
    word = sum(value << (bits * index) for index, value in enumerate(values))
    return word.to_bytes(bits * len(values) // 8, "little")


def test_there_are_the_22_types_of_the_format() -> None:
    assert len(DTYPES) == 22


def test_every_bf16_pattern_is_the_upper_half_of_its_float32() -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    found = decode(patterns.tobytes(), "BF16")
    wanted = patterns.view(ml_dtypes.bfloat16).astype(np.float32)
    assert found.dtype == np.float32
    assert np.array_equal(found, wanted, equal_nan=True)
    assert np.array_equal(found.view(np.uint32) >> 16, patterns)


def test_every_f16_pattern_is_exact() -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    found = decode(patterns.tobytes(), "F16")
    assert np.array_equal(found, patterns.view(np.float16), equal_nan=True)


@pytest.mark.parametrize(
    ("dtype", "bits", "exponent", "mantissa", "bias"),
    [
        ("F4", 4, 2, 1, 1),
        ("F6_E2M3", 6, 2, 3, 1),
        ("F6_E3M2", 6, 3, 2, 3),
    ],
)
def test_sub_byte_floats_follow_their_definition_and_packing(
    dtype: str, bits: int, exponent: int, mantissa: int, bias: int
) -> None:
    patterns = list(range(1 << bits))
    found = decode(_pack(patterns, bits), dtype)
    wanted = [_minifloat(p, exponent, mantissa, bias) for p in patterns]
    assert found.tolist() == wanted


def test_the_low_half_of_a_byte_is_the_first_f4_value() -> None:
    assert decode(b"\x21", "F4").tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("dtype", "exponent", "mantissa", "bias", "nans"),
    [
        ("F8_E4M3", 4, 3, 7, {0x7F, 0xFF}),
        ("F8_E4M3FNUZ", 4, 3, 8, {0x80}),
        ("F8_E5M2FNUZ", 5, 2, 16, {0x80}),
        ("F8_E5M2", 5, 2, 15, {*range(0x7C, 0x80), *range(0xFC, 0x100)}),
    ],
)
def test_eight_bit_floats_follow_their_definition(
    dtype: str, exponent: int, mantissa: int, bias: int, nans: set[int]
) -> None:
    found = decode(bytes(range(256)), dtype)
    for pattern in range(256):
        if pattern in nans:
            assert not math.isfinite(found[pattern])
        else:
            assert found[pattern] == _minifloat(pattern, exponent, mantissa, bias)


def test_e8m0_is_a_power_of_two() -> None:
    found = decode(bytes(range(255)), "F8_E8M0")
    assert found.tolist() == [math.ldexp(1.0, p - 127) for p in range(255)]
    assert math.isnan(decode(b"\xff", "F8_E8M0")[0])


@pytest.mark.parametrize(
    ("dtype", "numpy"),
    [
        ("U8", "u1"), ("I8", "i1"), ("I16", "<i2"), ("U16", "<u2"), ("I32", "<i4"),
        ("U32", "<u4"), ("I64", "<i8"), ("U64", "<u8"), ("F32", "<f4"), ("F64", "<f8"),
    ],
)  # fmt: skip
@given(raw=st.binary(min_size=64, max_size=64))
def test_plain_types_are_rounded_to_the_nearest_float32(
    dtype: str, numpy: str, raw: bytes
) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = np.frombuffer(raw, numpy).astype(np.float32)
    assert np.array_equal(decode(raw, dtype), wanted, equal_nan=True)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
def test_any_not_a_number_stays_one_without_a_warning(dtype: str) -> None:
    size = DTYPES[dtype].bits // 8
    fill = {"F16": 0x7C01, "BF16": 0x7F81, "F32": 0x7F800001}
    signalling = fill.get(dtype, 0x7FF0000000000001)
    assert math.isnan(decode(signalling.to_bytes(size, "little"), dtype)[0])


def test_the_result_does_not_share_memory_with_the_file() -> None:
    raw = bytes(16)
    for dtype in ("F32", "BF16", "U8"):
        values = decode(raw, dtype)
        values[:] = 1
    assert raw == bytes(16)


def test_a_bool_is_nought_or_one() -> None:
    assert decode(b"\x00\x01", "BOOL").tolist() == [0.0, 1.0]
    with pytest.raises(ArtifactError, match="byte 7") as caught:
        decode(b"\x00\x07", "BOOL")
    assert caught.value.reason == "MalformedValue"


def test_complex_weights_are_not_compared() -> None:
    with pytest.raises(ArtifactError) as caught:
        decode(bytes(8), "C64")
    assert caught.value.reason == "UnsupportedDtype"
    assert not DTYPES["C64"].comparable


def test_every_type_decodes_or_says_that_it_does_not() -> None:
    for name, dtype in DTYPES.items():
        raw = bytes(24)
        if dtype.comparable:
            assert decode(raw, name).shape == (len(raw) * 8 // dtype.bits,)
