# SPDX-License-Identifier: Apache-2.0
"""Quantised matrices of bitsandbytes, of 8 bit floats and of compressed-tensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from made_packed_float import Held, Stored, bnb4, fp8, held, packed, stored
from pedigree.errors import ArtifactError
from pedigree.tensors import packed_bnb, packed_compressed, packed_fp4, packed_fp8
from pedigree.tensors.layout import TensorInfo

NAME = "model.layers.0.self_attn.q_proj.weight"
STATE = f"{NAME}.quant_state.bitsandbytes__nf4"
Values = NDArray[np.float32]
FINDERS = (packed_bnb, packed_fp4, packed_fp8, packed_compressed)


def found(parts: Stored, hints: dict[str, Any] | None = None) -> list[Any]:
    box = held(parts)
    return [
        each
        for finder in FINDERS
        for each in finder.find(box.infos, hints or {}, box.read)
    ]


def lines_of(box: Held, info: TensorInfo, lines: NDArray[np.int64]) -> Values:
    assert info.coding is not None
    extents = info.coding.extents(lines)
    for _, offset, length in extents:
        assert offset >= 24
        assert 0 < length <= len(box.data) - offset
    pieces = [box.data[offset : offset + length] for _, offset, length in extents]
    return info.coding.decode(pieces, lines)


def int8_lines(
    rng: np.random.Generator, shape: tuple[int, int], tail: str
) -> tuple[Stored, Values]:
    codes = rng.integers(-127, 128, shape).astype(np.int8)
    scale = rng.random(shape[0]).astype(np.float32)
    stem = NAME.removesuffix("weight")
    if tail == "SCB":
        values = codes.astype(np.float32) * scale[:, None] / np.float32(127)
        layout = ("U8", (), b"\0")
        parts = {f"{stem}SCB": stored(scale), f"{stem}weight_format": layout}
        return {NAME: stored(codes), **parts}, values
    values = codes.astype(np.float32) * scale[:, None]
    return {NAME: stored(codes), f"{NAME}_scale": stored(scale[:, None])}, values


E2M1 = np.array(
    [0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32
)


def fp4_lines(
    rng: np.random.Generator, shape: tuple[int, int], tail: str
) -> tuple[Stored, Values]:
    """4 bit floats of an even width: NVFP4 of two writers, or MXFP4."""
    wide = 32 if tail == "mx" else 16
    shape = (shape[0], -(-shape[1] // wide) * wide)
    codes = rng.integers(0, 16, shape).astype(np.uint8)
    values = E2M1[codes].reshape(shape[0], -1, wide)
    one, halves = np.float32(rng.random() + 0.5), codes[:, ::2] | codes[:, 1::2] << 4
    if tail == "mx":
        powers = rng.integers(100, 140, (shape[0], shape[1] // wide)).astype(np.uint8)
        scale = np.exp2(powers.astype(np.float32) - 127)
        parts = {f"{NAME}_packed": stored(halves), f"{NAME}_scale": stored(powers)}
    else:
        small = rng.random((shape[0], shape[1] // wide)) * 8
        held8 = small.astype(ml_dtypes.float8_e4m3fn)
        scale = held8.astype(np.float32)
        scale = scale / one if tail == "global" else scale * one
        name = f"{NAME}_packed" if tail == "global" else NAME
        beside = f"{NAME}_{'global_scale' if tail == 'global' else 'scale_2'}"
        parts = {name: stored(halves), f"{NAME}_scale": stored(held8)}
        parts[beside] = stored(one.reshape(1))
    return parts, (values * scale[:, :, None]).reshape(shape).astype(np.float32)


def blocks(shape: tuple[int, int]) -> tuple[int, int]:
    return -(-shape[0] // 128), -(-shape[1] // 128)


Maker = Callable[[np.random.Generator, tuple[int, int]], tuple[Stored, Values]]
MAKERS: dict[str, Maker] = {
    "bnb": lambda rng, shape: bnb4(NAME, shape, rng),
    "bnb nested": lambda rng, shape: bnb4(NAME, shape, rng, nested=True),
    "bnb 8": lambda rng, shape: int8_lines(rng, shape, "SCB"),
    "fp8 block": lambda rng, shape: fp8(NAME, shape, rng, blocks(shape), inverse=True),
    "fp8 line": lambda rng, shape: fp8(NAME, shape, rng, (shape[0], 1)),
    "fp8 one": lambda rng, shape: fp8(NAME, shape, rng, ()),
    "ct 4": lambda rng, shape: packed(NAME, shape, rng, 4, shape[1]),
    "ct 8": lambda rng, shape: packed(NAME, shape, rng, 8, shape[1]),
    "ct zero": lambda rng, shape: packed(NAME, shape, rng, 4, shape[1], zeros=True),
    "ct 8 zero": lambda rng, shape: packed(NAME, shape, rng, 8, shape[1], zeros=True),
    "mxfp4": lambda rng, shape: fp4_lines(rng, shape, "mx"),
    "nvfp4 divided": lambda rng, shape: fp4_lines(rng, shape, "global"),
    "nvfp4 multiplied": lambda rng, shape: fp4_lines(rng, shape, "scale_2"),
    "ct int": lambda rng, shape: int8_lines(rng, shape, "scale"),
}
SHAPES = [(128, 128), (130, 200), (7, 9), (33, 129), (1, 5), (300, 257)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("maker", MAKERS)
def test_every_layout_gives_exactly_its_values(
    maker: str, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(7)
    parts, wanted = MAKERS[maker](rng, shape)
    box = held(parts)
    ((info, used),) = found(parts)
    assert (info.name, info.shape, used) == (NAME, wanted.shape, frozenset(parts))
    assert info.dtype == info.coding.kind
    whole = lines_of(box, info, np.arange(shape[0]))
    assert whole.dtype == np.float32
    assert np.array_equal(whole, wanted)
    some = rng.integers(0, shape[0], 11)
    assert np.array_equal(lines_of(box, info, some), wanted[some])
    middle = np.arange(shape[0] // 3, shape[0])
    assert np.array_equal(lines_of(box, info, middle), wanted[middle])
    assert lines_of(box, info, np.arange(0)).shape == (0, wanted.shape[1])


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize(("bits", "group", "wide"), [(4, 32, 96), (8, 128, 300)])
def test_groups_of_columns_are_as_the_settings_say(
    bits: int, group: int, wide: int, zeros: bool, order: bool
) -> None:
    rng = np.random.default_rng(3)
    parts, wanted = packed(NAME, (37, wide), rng, bits, group, zeros, order)
    hints = {"config_groups": {"group_0": {"weights": {"group_size": group}}}}
    ((info, used),) = found(parts, hints)
    assert used == frozenset(parts)
    lines = rng.permutation(37)
    assert np.array_equal(lines_of(held(parts), info, lines), wanted[lines])


def test_blocks_of_another_size_are_taken_from_the_settings() -> None:
    rng = np.random.default_rng(3)
    parts, wanted = fp8(NAME, (70, 50), rng, (3, 4), block=(32, 16))
    assert found(parts) == []
    ((info, _),) = found(parts, {"weight_block_size": [32, 16]})
    assert np.array_equal(lines_of(held(parts), info, np.arange(70)), wanted)


@pytest.mark.parametrize(
    "said",
    [
        {"shape": [1 << 62, 1 << 62]},
        {"shape": [-8, -64]},
        {"shape": [8.0, 64]},
        {"shape": [True, 512]},
        {"shape": None},
        {"blocksize": -64},
        {"blocksize": 0},
        {"blocksize": 1},
        {"blocksize": "64"},
        {"blocksize": 10**60},
        {"nested_blocksize": 0},
        {"nested_offset": float("nan")},
        {"nested_offset": 10**60},
        {"nested_offset": "1"},
    ],
    ids=str,
)
def test_a_state_that_does_not_fit_is_left_out(said: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    parts, _ = bnb4(NAME, (8, 64), rng, nested=True, said=said)
    assert found(parts) == []


def test_a_block_larger_than_the_matrix_is_one_block() -> None:
    rng = np.random.default_rng(1)
    parts, wanted = bnb4(NAME, (3, 5), rng, said={"blocksize": 10**60})
    ((info, _),) = found(parts)
    assert np.array_equal(lines_of(held(parts), info, np.arange(3)), wanted)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_group_with_a_part_of_wrong_length_is_left_out(maker: str) -> None:
    rng = np.random.default_rng(1)
    parts, _ = MAKERS[maker](rng, (24, 80))
    for name, (dtype, shape, raw) in parts.items():
        if name.endswith(("q_proj.weight", "_packed")) or name == STATE:
            continue
        size = len(raw) // max(1, int(np.prod(shape)))
        longer = (dtype, (int(np.prod(shape)) + 1,), raw + b"\0" * size)
        assert found(parts | {name: longer}) == [], name


@pytest.mark.parametrize("maker", MAKERS)
def test_pieces_that_were_cut_are_malformed(maker: str) -> None:
    parts, _ = MAKERS[maker](np.random.default_rng(1), (24, 80))
    ((info, _),) = found(parts)
    box, lines = held(parts), np.arange(24)
    extents = info.coding.extents(lines)
    pieces = [box.data[at : at + length] for _, at, length in extents]
    for place in range(len(pieces)):
        cut = [*pieces[:place], pieces[place][:-1], *pieces[place + 1 :]]
        with pytest.raises(ArtifactError) as caught:
            info.coding.decode(cut, lines)
        assert caught.value.reason == "MalformedValue"


def test_a_column_of_no_group_is_malformed() -> None:
    rng = np.random.default_rng(1)
    parts, _ = packed(NAME, (8, 64), rng, 4, 32, order=True)
    parts[f"{NAME}_g_idx"] = stored(np.full(64, 2, np.int32))
    ((info, _),) = found(parts)
    with pytest.raises(ArtifactError, match="names the group 2, wanted 0 to 1"):
        lines_of(held(parts), info, np.arange(8))


def test_scales_that_are_not_numbers_are_given_to_the_reader() -> None:
    parts, _ = bnb4(NAME, (8, 64), np.random.default_rng(1))
    parts[f"{NAME}.absmax"] = stored(np.full(8, np.nan, np.float32))
    ((info, _),) = found(parts)
    assert np.isnan(lines_of(held(parts), info, np.arange(8))).all()


def test_columns_reordered_for_old_devices_are_left_out() -> None:
    parts, _ = MAKERS["bnb 8"](np.random.default_rng(1), (8, 64))
    parts[NAME.removesuffix("weight") + "weight_format"] = ("U8", (), b"\1")
    assert found(parts) == []


def test_scales_of_two_layouts_are_those_the_settings_name() -> None:
    one, _ = MAKERS["bnb 8"](np.random.default_rng(1), (8, 64))
    two, _ = MAKERS["ct int"](np.random.default_rng(1), (8, 64))
    ((first, _),) = found(one | two, {"quant_method": "bitsandbytes"})
    ((second, _),) = found(one | two)
    assert first.dtype == "bitsandbytes 8 bit"
    assert second.dtype == "compressed-tensors 8 bit"


NUMBERS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)
)
SAID = st.one_of(NUMBERS, st.lists(NUMBERS, max_size=3))


@settings(max_examples=150, deadline=None)
@given(
    maker=st.sampled_from(sorted(MAKERS)),
    state=st.one_of(
        st.binary(max_size=40),
        st.dictionaries(
            st.sampled_from(["shape", "blocksize", "nested_blocksize"]), SAID
        ).map(lambda said: json.dumps(said).encode()),
    ),
    said=st.dictionaries(
        st.sampled_from(["weight_block_size", "config_groups", "quant_method"]), SAID
    ),
    data=st.data(),
)
def test_any_bytes_and_shapes_give_values_or_an_error(
    maker: str, state: bytes, said: dict[str, Any], data: st.DataObject
) -> None:
    parts, _ = MAKERS[maker](np.random.default_rng(1), (6, 20))
    if STATE in parts and data.draw(st.booleans()):
        parts[STATE] = ("U8", (len(state),), state)
    name = data.draw(st.sampled_from(sorted(parts)))
    dtype, shape, raw = parts[name]
    noise = data.draw(st.binary(min_size=len(raw), max_size=len(raw)))
    flat = data.draw(st.sampled_from([shape, (int(np.prod(shape)),), (1, *shape)]))
    parts[name] = (dtype, flat, noise)
    box = held(parts)
    for info, used in found(parts, said):
        assert used <= parts.keys()
        lines = np.array(data.draw(st.lists(st.integers(0, info.shape[0] - 1))), int)
        try:
            values = lines_of(box, info, lines)
        except ArtifactError:
            continue
        assert values.shape == (lines.size, info.shape[1])


def test_what_already_has_a_coding_is_not_taken_again() -> None:
    parts, _ = MAKERS["fp8 line"](np.random.default_rng(1), (8, 64))
    box = held(parts)
    ((info, _),) = found(parts)
    box.infos[NAME] = replace(box.infos[NAME], coding=info.coding)
    assert all(f.find(box.infos, {}, box.read) == [] for f in FINDERS)
