# SPDX-License-Identifier: Apache-2.0
"""Targets: formats that hold weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from bench.fuzzing.memory import HeldFile, read_all
from bench.fuzzing.target import JSON, Frame, Target

import made_gguf
import made_models
import made_packed
import made_packed_float
import made_torch
from artifact_world.weights import file_of, index_of, matrix, weights
from pedigree.limits import DEFAULT
from pedigree.tensors.dtypes import DTYPES
from pedigree.tensors.gguf_blocks import BLOCK_TYPES, decode_blocks
from pedigree.tensors.gguf_header import read_gguf_header
from pedigree.tensors.header import parse_header
from pedigree.tensors.pickle_walk import walk
from pedigree.tensors.shards import with_index
from pedigree.tensors.state_dict import flattened
from pedigree.tensors.strictjson import load
from pedigree.tensors.strided import located
from pedigree.tensors.zip_kind import form_of_zip
from pedigree.tensors.zip_members import Member, read_members

_TINY = Path(__file__).parents[2] / "tests" / "data" / "pytorch" / "tiny.pt"
_DTYPE_WORDS = tuple(f'"{name}"'.encode() for name in DTYPES)
_HEADER_WORDS = (b'"dtype"', b'"shape"', b'"data_offsets"', b'"__metadata__"',
                 b'"F32"', b"[0,0]", b"{}", *_DTYPE_WORDS)  # fmt: skip
_PICKLE_WORDS = (
    b"\x80\x02", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n",
    b"ctorch\nFloatStorage\n", b"cos\nsystem\n", b"}", b"(", b"u", b"t", b"Q", b"R",
    b".", b"q\x00", b"h\x00", b"X\x01\x00\x00\x00a", b"J\x01\x00\x00\x00", b"e", b"]",
    b"\x94", b"\x93", b"\x8a\x08", b"0", b"2", b"s", b"a", b"b",
)  # fmt: skip


def _split_header(data: bytes) -> tuple[bytes, bytes, bytes]:
    length = int.from_bytes(data[:8], "little")
    if length > len(data):
        length = len(data)
    return data[:8], data[8 : 8 + length], data[8 + length :]


def _join_header(before: bytes, text: bytes, after: bytes) -> bytes:
    del before  # the length follows the text, else nothing behind it is ever reached
    return len(text).to_bytes(8, "little") + text + after


HEADER: Frame = (_split_header, _join_header)


def _header(data: bytes) -> None:
    parse_header(data, path="m", file_size=len(data), limits=DEFAULT)


def _header_seeds() -> list[bytes]:
    return [
        weights({"a": matrix(2, 2), "b": matrix(1, 3)}),
        file_of({"__metadata__": {"format": "pt"}, "a": {
            "dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, b"\0"),
        file_of({}),
        file_of({"e": {"dtype": "I8", "shape": [0], "data_offsets": [0, 0]}}),
    ]  # fmt: skip


def _model(data: bytes) -> None:
    read_all({"model.safetensors": data})


def _model_seeds() -> list[bytes]:
    seeds = [weights({"a": matrix(2, 2), "b": matrix(1, 3)})]
    for name, dtype in DTYPES.items():
        count = 8
        raw = bytes(range(count * dtype.bits // 8))
        entry = {"dtype": name, "shape": [2, 4], "data_offsets": [0, len(raw)]}
        seeds.append(file_of({"a": entry}, raw))
    return seeds


def _split_packed(data: bytes) -> tuple[bytes, bytes]:
    """Configuration and weights of an input: two bytes of length, then both."""
    length = int.from_bytes(data[:2], "little")
    return data[2 : 2 + length], data[2 + length :]


def _packed(data: bytes) -> None:
    config, rest = _split_packed(data)
    read_all({"config.json": config, "model.safetensors": rest})


def _packed_seeds() -> list[bytes]:
    random = np.random.default_rng(1)
    values = {"model.layers.0.mlp.up_proj.weight": random.normal(
        0, 0.02, (32, 32)).astype(np.float32)}  # fmt: skip
    settings = {"group_size": 16, "bits": 4}
    gptq, _ = made_packed.gptq(values, group_size=16, order="act")
    three, _ = made_packed.gptq(values, bits=3, group_size=16)
    seven, _ = made_packed.gptq(values, bits=7, group_size=16, split=True)
    awq, _ = made_packed.awq(values, group_size=16)
    found = [
        ({"quant_method": "gptq", "desc_act": True, **settings}, gptq),
        ({"quant_method": "gptq", "group_size": 16, "bits": 3}, three),
        ({"checkpoint_format": "gptq_p", "group_size": 16, "bits": 7}, seven),
        ({"quant_method": "awq", "version": "gemm", **settings}, awq),
    ]
    made = []
    for config, stored in found:
        made.append(_with_config(config, made_packed.stored_file(stored)))
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [8, 8]}
    text = np.frombuffer(json.dumps(state).encode(), np.uint8)
    nf4: dict[str, np.ndarray] = {
        "a.weight": np.zeros((32, 1), np.uint8),
        "a.weight.absmax": np.ones(1, np.float32),
        "a.weight.quant_map": np.linspace(-1, 1, 16, dtype=np.float32),
        "a.weight.quant_state.bitsandbytes__nf4": text,
    }
    parts = {name: made_packed_float.stored(array) for name, array in nf4.items()}
    words, _ = made_packed_float.packed("a.weight", (4, 16), random, 4, 8, True, True)
    compressed: dict[str, object] = {
        "format": "pack-quantized",
        "quant_method": "compressed-tensors",
    }
    made.append(_with_config({}, _file(parts)))
    made.append(_with_config(compressed, _file(words)))
    plain: list[dict[str, tuple[str, tuple[int, ...]]]] = [
        {"a.weight": ("F8_E4M3", (2, 4)), "a.weight_scale_inv": ("F32", (1, 1))},
        {"a_blocks": ("U8", (1, 2, 1, 16)), "a_scales": ("U8", (1, 2, 1))},
        {"a.weight_packed": ("U8", (2, 8)), "a.weight_scale": ("F8_E4M3", (2, 1)),
         "a.weight_global_scale": ("F32", (1,))},
        {"a.weight": ("U8", (2, 8)), "a.weight_scale": ("F8_E4M3", (2, 1)),
         "a.weight_scale_2": ("F32", ())},
        {"a.weight": ("I8", (2, 4)), "a.SCB": ("F32", (2,))},
    ]  # fmt: skip
    block: dict[str, object] = {"quant_method": "fp8", "weight_block_size": [2, 4]}
    made += [_with_config(block, _file(_made(each))) for each in plain]
    return made


Parts = dict[str, tuple[str, tuple[int, ...], bytes]]


def _made(shapes: dict[str, tuple[str, tuple[int, ...]]]) -> Parts:
    return {
        name: (dtype, shape, b"?" * (math.prod(shape) * DTYPES[dtype].bits // 8))
        for name, (dtype, shape) in shapes.items()
    }


def _file(parts: Parts) -> bytes:
    header, body = {}, b""
    for name, (dtype, shape, raw) in parts.items():
        place = [len(body), len(body) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": place}
        body += raw
    return file_of(header, body)


def _with_config(settings: dict[str, object], rest: bytes) -> bytes:
    text = json.dumps({"quantization_config": settings}).encode()
    return len(text).to_bytes(2, "little") + text + rest


def _index(data: bytes) -> None:
    listed = ["a.safetensors", "b.safetensors", "sub/c.safetensors", "config.json"]
    with_index("model.safetensors.index.json", data, listed, DEFAULT)


def _index_seeds() -> list[bytes]:
    return [
        index_of({"a": "a.safetensors", "b": "b.safetensors"}),
        index_of({"a": "sub/c.safetensors", "b": "../b.safetensors"}),
    ]


def _json(data: bytes) -> None:
    for constants in (False, True):
        load(data, what="text", path="m", constants=constants)


def _json_seeds() -> list[bytes]:
    return [b'{"a":[1,2.5,"\\u00e9",null,true],"b":{"c":-1e3}}', b"[NaN,Infinity]",
            b'"\\ud83d\\ude00"', b'{"a":1,"a":2}']  # fmt: skip


def _gguf(data: bytes) -> None:
    read_gguf_header(HeldFile("m.gguf", data), DEFAULT)


def _gguf_seeds() -> list[bytes]:
    pair, entry = made_gguf.pair, made_gguf.entry
    return [
        made_gguf.file_of([pair("a", 1)], [entry("t", [4, 2], 0, 0)], bytes(32)),
        made_gguf.file_of(
            [pair("k", "v"), pair("b", True), pair("l", ["x", "yy"])],
            [entry("t", [32, 1], 2, 0), entry("u", [4], 1, 32)],
            bytes(64),
        ),
        made_gguf.file_of([pair("general.alignment", 64)], [], b""),
    ]


_GGUF_WORDS = (
    b"GGUF", b"general.architecture", b"llama", b"general.alignment", b"split.count",
    b"split.no", b"tokenizer.ggml.tokens", b"blk.0.attn_q.weight", b"token_embd.weight",
    *(number.to_bytes(4, "little") for number in range(13)),
)  # fmt: skip


def _gguf_model(data: bytes) -> None:
    read_all({"m.gguf": data})


def _gguf_model_seeds() -> list[bytes]:
    values = {
        "token_embd.weight": np.ones((4, 8), np.float32),
        "blk.0.attn_q.weight": np.ones((8, 8), np.float32),
    }
    entries, body = [], b""
    for name, array in values.items():
        entries.append(made_gguf.entry(name, list(array.shape[::-1]), 0, len(body)))
        body += array.astype("<f4").tobytes()
    pairs = [made_gguf.pair(*item) for item in made_gguf.llama_keys(2, 1, 1).items()]
    seeds = [made_gguf.file_of(pairs, entries, body)]
    for number, block in BLOCK_TYPES.items():
        entry = made_gguf.entry("blk.0.ffn_up.weight", [block.values, 1], number, 0)
        seeds.append(
            made_gguf.file_of(pairs[:1], [entry], bytes(-(-block.bytes // 32) * 32))
        )
    return seeds


def _blocks(data: bytes) -> None:
    if data:
        kinds = list(BLOCK_TYPES.values())
        decode_blocks(data[1:], kinds[data[0] % len(kinds)])


def _blocks_seeds() -> list[bytes]:
    return [
        bytes([at]) + bytes(range(block.bytes % 256)).ljust(block.bytes, b"\xff")
        for at, block in enumerate(BLOCK_TYPES.values())
    ]


def _zip(data: bytes) -> None:
    read_members(HeldFile("m.bin", data))


def _zip_seeds() -> list[bytes]:
    return [
        made_torch.checkpoint(made_torch.mapping({"a": made_torch.matrix()})),
        made_torch.archive({"data.pkl": b"x"}),
    ]


def _zip_kind(data: bytes) -> None:
    form_of_zip(HeldFile("m.dat", data))


_ZIP_WORDS = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06",
              b"PK\x06\x07", b"PK\x07\x08", b"archive/data.pkl", b"\xff\xff",
              b"\xff\xff\xff\xff")  # fmt: skip


def _pickle(data: bytes) -> None:
    walk(data, path="m.bin")


def _pickle_seeds() -> list[bytes]:
    made = made_torch
    bodies = [
        made.mapping({"a": made.matrix(), "b": made.matrix("1")}),
        made.mapping({"state_dict": made.mapping({"a": made.matrix()})}),
        made.ORDERED + b"(" + made.text("x") + b"Nu",
        b"](NNe",
    ]
    return [made.program(body) for body in bodies]


def _state(data: bytes) -> None:
    """What a pickle describes, placed in a member of as many bytes as it says."""
    size = int.from_bytes(data[:2], "little")
    value, _ = walk(data[2:], path="m.bin")
    found = flattened(value, path="m.bin", limits=DEFAULT)
    for name, tensor in found.items():
        located(name, tensor, Member("m", 64, 64 + size), "m.bin", DEFAULT)


def _state_seeds() -> list[bytes]:
    made = made_torch
    transposed = made.tensor(made.storage("0", 6), (2, 3), (1, 2))
    bodies = [{"a": made.matrix()}, {"t": transposed}, {"a": made.matrix(),
              "b": made.tensor(made.storage("0", 6), (2,), (1,), 4)}]  # fmt: skip
    return [
        (24).to_bytes(2, "little") + made.program(made.mapping(body)) for body in bodies
    ]


def _torch(data: bytes) -> None:
    read_all({"pytorch_model.bin": data})


def _torch_seeds() -> list[bytes]:
    small = made_models.llama(1, layers=0, width=4, tokens=4)
    return [*_zip_seeds(), made_torch.contiguous(small), _TINY.read_bytes()]


TARGETS = (
    Target("safetensors-header", _header, _header_seeds, _HEADER_WORDS, HEADER),
    Target("safetensors-model", _model, _model_seeds, _HEADER_WORDS, HEADER),
    Target("packed-weights", _packed, _packed_seeds, _HEADER_WORDS, bytes_max=8192),
    Target("shards-index", _index, _index_seeds,
           (b'"weight_map"', b"a.safetensors", b"..", b"/", b"\\\\"), JSON),
    Target("strict-json", _json, _json_seeds,
           (b"{", b"[", b'"', b"\\u", b"NaN", b"null", b"1e999", b"-"), JSON),
    Target("gguf-header", _gguf, _gguf_seeds, _GGUF_WORDS),
    Target("gguf-model", _gguf_model, _gguf_model_seeds, _GGUF_WORDS),
    Target("gguf-blocks", _blocks, _blocks_seeds),
    Target("zip-members", _zip, _zip_seeds, _ZIP_WORDS),
    Target("zip-kind", _zip_kind, _zip_seeds, _ZIP_WORDS),
    Target("pickle-walk", _pickle, _pickle_seeds, _PICKLE_WORDS),
    Target("state-dict", _state, _state_seeds, _PICKLE_WORDS),
    Target("pytorch-model", _torch, _torch_seeds, _ZIP_WORDS + _PICKLE_WORDS,
           bytes_max=8192),
)  # fmt: skip
"""In the order of the formats in ``docs/formats.md``."""
