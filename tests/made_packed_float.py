# SPDX-License-Identifier: Apache-2.0
"""Packers of quantised matrices: stored tensors, and the values they stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pedigree.tensors.layout import TensorInfo

Stored = dict[str, tuple[str, tuple[int, ...], bytes]]
"""By name: dtype, shape, bytes."""

_NAMES = {
    np.dtype(np.float32): "F32",
    np.dtype(np.uint8): "U8",
    np.dtype(np.int8): "I8",
    np.dtype(np.int32): "I32",
    np.dtype(np.uint32): "I32",
    np.dtype(np.int64): "I64",
    np.dtype(ml_dtypes.bfloat16): "BF16",
    np.dtype(ml_dtypes.float8_e4m3fn): "F8_E4M3",
}


def stored(array: NDArray[Any]) -> tuple[str, tuple[int, ...], bytes]:
    """An array as a safetensors file holds it."""
    return _NAMES[array.dtype], array.shape, array.tobytes()


@dataclass
class Held:
    """Stored tensors, placed one after another in one made-up file."""

    infos: dict[str, TensorInfo]
    data: bytes

    def read(self, info: TensorInfo) -> bytes:
        """Bytes of a stored tensor."""
        return self.data[info.begin : info.end]


def held(parts: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> Held:
    """Place stored tensors in a file."""
    infos, data = {}, b"\0" * 24
    for name, (dtype, shape, raw) in parts.items():
        begin, data = len(data), data + raw
        infos[name] = TensorInfo(name, dtype, shape, "m.safetensors", begin, len(data))
    return Held(infos, data)


def bnb4(
    name: str,
    shape: tuple[int, int],
    rng: np.random.Generator,
    nested: bool = False,
    block: int = 64,
    said: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Stored, NDArray[np.float32]]:
    """A random 4 bit matrix as bitsandbytes stores it, and its values."""
    count = shape[0] * shape[1]
    codes = rng.integers(0, 16, count, dtype=np.uint8)
    book = np.sort(rng.standard_normal(16)).astype(np.float32)
    blocks = -(-count // block)
    padded = np.append(codes, np.zeros(count % 2, np.uint8)).reshape(-1, 2)
    state: dict[str, Any] = {"quant_type": "nf4", "blocksize": block}
    state |= {"dtype": "bfloat16", "shape": list(shape)}
    parts: Stored = {
        name: stored((padded[:, :1] << 4) | padded[:, 1:]),
        f"{name}.quant_map": stored(book),
    }
    if nested:
        small = rng.integers(0, 256, blocks, dtype=np.uint8)
        map256 = np.sort(rng.standard_normal(256)).astype(np.float32)
        above = rng.random(-(-blocks // 256)).astype(np.float32)
        state |= {"nested_blocksize": 256, "nested_offset": 0.0625}
        state |= {"nested_dtype": "float32"}
        parts[f"{name}.absmax"] = stored(small)
        parts[f"{name}.nested_absmax"] = stored(above)
        parts[f"{name}.nested_quant_map"] = stored(map256)
        scales = np.array(
            [
                map256[code] * above[i // 256] + np.float32(0.0625)
                for i, code in enumerate(small)
            ],
            np.float32,
        )
    else:
        scales = rng.random(blocks).astype(np.float32)
        parts[f"{name}.absmax"] = stored(scales)
    text = json.dumps(state | dict(said)).encode()
    parts[f"{name}.quant_state.bitsandbytes__nf4"] = ("U8", (len(text),), text)
    values = [book[code] * scales[i // block] for i, code in enumerate(codes)]
    return parts, np.array(values, np.float32).reshape(shape)


def fp8(
    name: str,
    shape: tuple[int, int],
    rng: np.random.Generator,
    scale_shape: tuple[int, ...],
    block: tuple[int, int] = (128, 128),
    inverse: bool = False,
) -> tuple[Stored, NDArray[np.float32]]:
    """A random 8 bit float matrix with scales, and its values."""
    codes = rng.standard_normal(shape).astype(ml_dtypes.float8_e4m3fn)
    scale = rng.random(scale_shape).astype(np.float32)
    spread = scale.reshape(-1, 1) if len(scale_shape) < 2 else scale
    if len(scale_shape) == 2 and scale_shape not in ((shape[0], 1), (1, 1)):
        spread = np.repeat(np.repeat(scale, block[0], 0), block[1], 1)
        spread = spread[: shape[0], : shape[1]]
    tail = "_scale_inv" if inverse else "_scale"
    parts = {name: stored(codes), f"{name}{tail}": stored(scale)}
    return parts, codes.astype(np.float32) * spread


def packed(
    name: str,
    shape: tuple[int, int],
    rng: np.random.Generator,
    bits: int,
    group: int,
    zeros: bool = False,
    order: bool = False,
) -> tuple[Stored, NDArray[np.float32]]:
    """A random matrix as ``pack-quantized`` stores it, and its values."""
    half, groups = 1 << (bits - 1), -(-shape[1] // group)
    codes = rng.integers(-half, half, shape)
    scale = rng.random((shape[0], groups)).astype(ml_dtypes.bfloat16)
    place = np.arange(shape[1]) // group
    parts: Stored = {
        f"{name}_packed": stored(packed_words(codes, bits)),
        f"{name}_scale": stored(scale),
        f"{name}_shape": stored(np.array(shape, np.int64)),
    }
    if order:
        place = rng.permutation(place)
        parts[f"{name}_g_idx"] = stored(place.astype(np.int32))
    zero = np.zeros((shape[0], groups), np.int64)
    if zeros:
        zero = rng.integers(-half, half, zero.shape)
        words = np.ascontiguousarray(packed_words(zero.T, bits).T)
        parts[f"{name}_zero_point"] = stored(words)
    values = (codes - zero[:, place]).astype(np.float32)
    return parts, values * scale.astype(np.float32)[:, place]


def packed_words(codes: NDArray[np.int64], bits: int) -> NDArray[np.uint32]:
    """Pack along lines, the first value in the lowest bits."""
    per_word, height = 32 // bits, codes.shape[0]
    wide = -(-codes.shape[1] // per_word)
    padded = np.zeros((height, wide * per_word), np.uint64)
    padded[:, : codes.shape[1]] = codes + (1 << (bits - 1))
    words = np.zeros((height, wide), np.uint64)
    for place in range(per_word):
        words |= padded[:, place::per_word] << np.uint64(place * bits)
    return words.astype(np.uint32)
