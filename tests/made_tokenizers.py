# SPDX-License-Identifier: Apache-2.0
"""One vocabulary, written in each of the formats that tokenizers are stored in."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

DATA = Path(__file__).parent / "data" / "tokenizers"
SPECIALS = ("<|end|>", "<|pad|>")


def byte_tokens(seed: int = 3, more: int = 300) -> list[bytes]:
    """All single bytes, then longer tokens: what a byte-level BPE has."""
    random = np.random.default_rng(seed)
    found = dict.fromkeys(bytes([byte]) for byte in range(256))
    words = b"abcdefghij \n\xc3\xa9\xf0"
    while len(found) < 256 + more:
        picked = random.integers(0, len(words), int(random.integers(2, 7)))
        found[bytes(words[place] for place in picked)] = None
    return list(found)


def spelled(token: bytes) -> str:
    """A token in GPT-2's alphabet: what is no printable Latin-1 goes up from U+0100."""
    hidden = [b for b in range(256) if b <= 0x20 or 0x7F <= b <= 0xA0 or b == 0xAD]
    return "".join(
        chr(0x100 + hidden.index(byte)) if byte in hidden else chr(byte)
        for byte in token
    )


def tokenizer_json(
    vocab: Mapping[str, int] | Sequence[Sequence[object]],
    kind: str,
    decoder: str,
    added: Mapping[str, int] | None = None,
) -> bytes:
    model: dict[str, Any] = {"type": kind, "vocab": vocab, "merges": []}
    tokens = [{"id": number, "content": text} for text, number in (added or {}).items()]
    document = {
        "added_tokens": tokens, "decoder": {"type": decoder}, "model": model,
    }  # fmt: skip
    return json.dumps(document).encode()


def byte_level_json(tokens: Sequence[bytes], specials: Sequence[str] = ()) -> bytes:
    vocab = {spelled(token): number for number, token in enumerate(tokens)}
    added = {text: len(tokens) + place for place, text in enumerate(specials)}
    return tokenizer_json(vocab, "BPE", "ByteLevel", added)


def ranks(tokens: Sequence[bytes]) -> bytes:
    lines = [
        base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)
    ]
    return b"".join(lines)


def tekken(
    tokens: Sequence[bytes], specials: Sequence[str] | None, room: int, **config: Any
) -> bytes:
    document: dict[str, Any] = {
        "config": {
            "default_vocab_size": room + len(tokens),
            "default_num_special_tokens": room,
            **config,
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode()}
            for rank, token in enumerate(tokens)
        ],
    }
    if specials is not None:
        document["special_tokens"] = [
            {"rank": rank, "token_str": text, "is_control": True}
            for rank, text in enumerate(specials)
        ]
    return json.dumps(document).encode()


def gguf_file(
    folder: Path,
    spelling: str,
    tokens: Sequence[str],
    kinds: Sequence[int] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """A file as the writer of the format's own library makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    writer.add_tokenizer_model(spelling)
    writer.add_token_list(list(tokens))
    if kinds is not None:
        writer.add_token_types(list(kinds))
    writer.add_token_merges(["a b"] * 3)
    for name, values in (tensors or {"t": np.ones((2, 32), np.float32)}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def varint(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def field(number: int, content: bytes) -> bytes:
    """A field of counted bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def piece(text: str | bytes, kind: int = 1) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    score = b"\x15" + struct.pack("<f", -1.5)
    return field(1, field(1, raw) + score + b"\x18" + varint(kind))
