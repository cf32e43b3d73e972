# SPDX-License-Identifier: Apache-2.0
"""PyTorch checkpoints byte by byte, so that they can be wrong in one way at a time."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
ORDERED = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + len(raw).to_bytes(4, "little") + raw


def integer(value: int) -> bytes:
    """BININT."""
    return b"J" + value.to_bytes(4, "little", signed=True)


def numbers(*values: int) -> bytes:
    """A tuple of integers."""
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(key: str, count: int, kind: str = "FloatStorage") -> bytes:
    """A storage by its persistent id."""
    name = f"ctorch\n{kind}\n".encode()
    return (
        b"(" + text("storage") + name + text(key) + text("cpu") + integer(count) + b"tQ"
    )


def tensor(
    held: bytes, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0
) -> bytes:
    """A call that makes a tensor."""
    place = integer(offset) + numbers(*shape) + numbers(*stride)
    return REBUILD + b"(" + held + place + b"\x89" + ORDERED + b"tR"


def matrix(key: str = "0") -> bytes:
    """A tensor of two rows and three columns."""
    return tensor(storage(key, 6), (2, 3), (3, 1))


def mapping(items: Mapping[str, bytes]) -> bytes:
    """A dictionary of what the values make."""
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def program(body: bytes) -> bytes:
    """A whole pickle."""
    return b"\x80\x02" + body + b"."


SIX = np.arange(6, dtype="<f4").tobytes()


def archive(members: Mapping[str, bytes], root: str = "archive") -> bytes:
    """A zip archive of stored members."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as opened:
        for name, content in members.items():
            opened.writestr(f"{root}/{name}", content)
    return target.getvalue()


def checkpoint(body: bytes, **data: bytes) -> bytes:
    """An archive around the body of a pickle; storage 0 holds six numbers."""
    held = {"0": SIX} | data
    return archive(
        {"data.pkl": program(body), "byteorder": b"little"}
        | {f"data/{key}": content for key, content in held.items()}
        | {"version": b"3\n"}
    )


def contiguous(weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """A right checkpoint of float32 tensors."""
    items, data = {}, {}
    for number, (name, values) in enumerate(weights.items()):
        key = str(number)
        data[key] = np.ascontiguousarray(values, "<f4").tobytes()
        steps = tuple(int(step) // 4 for step in np.empty(values.shape, "<f4").strides)
        items[name] = tensor(storage(key, values.size), values.shape, steps)
    return checkpoint(mapping(items), **data)


def write(folder: Path, content: bytes, name: str = "pytorch_model.bin") -> Path:
    """Write one file into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder
