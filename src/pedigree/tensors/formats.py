# SPDX-License-Identifier: Apache-2.0
"""Which weight formats a model's files are in: by name, and by first bytes.

Recognises formats; reads none of them.  Which are read says
:mod:`pedigree.tensors.opening`.
"""

from __future__ import annotations

from pathlib import PurePosixPath

SAFETENSORS = "safetensors"
GGUF = "gguf"
PYTORCH = "pytorch"
ONNX = "onnx"
OTHER = "other"
NONE = "none"
"""What evidence says of a model without any weight file."""

_SUFFIXES = {
    ".safetensors": SAFETENSORS,
    ".gguf": GGUF,
    ".ggml": OTHER,
    ".bin": PYTORCH,
    ".pt": PYTORCH,
    ".pt2": PYTORCH,
    ".pth": PYTORCH,
    ".ckpt": PYTORCH,
    ".pkl": PYTORCH,
    ".pickle": PYTORCH,
    ".joblib": PYTORCH,
    ".onnx": ONNX,
    ".onnx_data": ONNX,
    ".h5": OTHER,
    ".hdf5": OTHER,
    ".keras": OTHER,
    ".msgpack": OTHER,
    ".npz": OTHER,
    ".npy": OTHER,
    ".pb": OTHER,
    ".tflite": OTHER,
    ".ot": OTHER,
    ".mlmodel": OTHER,
    ".nemo": OTHER,
    ".llamafile": OTHER,
    ".engine": OTHER,
}
"""``.pkl`` and its like count as pytorch: the family whose loading runs code."""

HEAD_BYTES = 16
"""How many first bytes :func:`format_by_head` looks at."""


def format_by_name(path: str) -> str | None:
    """Weight format a file's name announces, or None when it announces none."""
    return _SUFFIXES.get(PurePosixPath(path).suffix.lower())


def format_by_head(head: bytes) -> str | None:
    """Weight format the first bytes of a file betray, or None.

    Sure for GGUF, HDF5 and pickles of protocol 2 and later; a zip archive counts as
    pytorch, and :func:`pedigree.tensors.zip_kind.form_of_zip` knows better; safetensors
    is told by a plausible length field before an opening brace.

    Args:
        head: The first ``HEAD_BYTES`` bytes, or all of a shorter file.
    """
    if head[:4] in (b"GGUF", b"FUGG"):
        return GGUF
    if head[:4] == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] in _PICKLES):
        return PYTORCH
    if head[:8] == b"\x89HDF\r\n\x1a\n" or head[:6] == b"\x93NUMPY":
        return OTHER
    length = int.from_bytes(head[:8], "little")
    if len(head) > 8 and length <= 100_000_000 and head[8:].lstrip()[:1] == b"{":
        return SAFETENSORS
    return None


_PICKLES = (b"\x02", b"\x03", b"\x04", b"\x05")
