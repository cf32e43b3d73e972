# SPDX-License-Identifier: Apache-2.0
"""Words that pickles of PyTorch use, and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class StorageType:
    """Class of storages of one type."""

    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class TensorType:
    """Type of tensors."""

    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A stretch of bytes that tensors share.

    Attributes:
        key: Name of the member that holds it.
        dtype: Name in :mod:`pedigree.tensors.dtypes`; ``U8`` where it has no type.
        count: Number of values of that type.
    """

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Strided:
    """A tensor as a pickle describes it; nothing of it is checked but its types.

    Attributes:
        storage: What it is part of.
        dtype: Name in :mod:`pedigree.tensors.dtypes`.
        offset: First value, in values.
        shape: Dimensions.
        stride: Values from one index to the next, for each dimension.
    """

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


STORAGES = {
    "FloatStorage": "F32",
    "DoubleStorage": "F64",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
}
"""Classes of ``torch``, and what they are in :mod:`pedigree.tensors.dtypes`."""

TORCH_DTYPES = {
    "float32": "F32",
    "float64": "F64",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
}
"""Types of ``torch``, and what they are in :mod:`pedigree.tensors.dtypes`."""

OPCODES = {
    ord("c"): "GLOBAL",
    0x93: "STACK_GLOBAL",
    ord("0"): "POP",
    ord("1"): "POP_MARK",
    ord("2"): "DUP",
    ord("F"): "FLOAT",
    ord("I"): "INT",
    ord("L"): "LONG",
    ord("S"): "STRING",
    ord("T"): "BINSTRING",
    ord("U"): "SHORT_BINSTRING",
    ord("V"): "UNICODE",
    ord("B"): "BINBYTES",
    ord("C"): "SHORT_BINBYTES",
    ord("P"): "PERSID",
    ord("g"): "GET",
    ord("p"): "PUT",
    ord("i"): "INST",
    ord("o"): "OBJ",
    ord("d"): "DICT",
    ord("l"): "LIST",
    0x81: "NEWOBJ",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    0x8E: "BINBYTES8",
    0x8F: "EMPTY_SET",
    0x90: "ADDITEMS",
    0x91: "FROZENSET",
    0x92: "NEWOBJ_EX",
    0x96: "BYTEARRAY8",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}
"""Instructions that are refused, or for what they name, by name for messages."""
