# SPDX-License-Identifier: Apache-2.0
"""GGUF files whose lengths and counts broke the readers of others, by their numbers."""

from __future__ import annotations

import struct
import time
import tracemalloc
from pathlib import Path

import pytest

import made_gguf
import made_models
from pedigree.errors import ArtifactError

entry, file_of, pair, text = (
    made_gguf.entry,
    made_gguf.file_of,
    made_gguf.pair,
    made_gguf.text,
)
HEAD = b"GGUF" + struct.pack("<I", 3)
SECONDS_MAX = 2.0
BYTES_MAX = 8 << 20
_STRING, _ARRAY = 8, 9


def _counts(tensors: int, keys: int) -> bytes:
    return HEAD + struct.pack("<QQ", tensors, keys)


def _value(kind: int, raw: bytes) -> bytes:
    return _counts(0, 1) + text("a") + struct.pack("<I", kind) + raw


def _array(kind: int, length: int) -> bytes:
    return _value(_ARRAY, struct.pack("<IQ", kind, length))


def _dims(*dims: int, count: int | None = None) -> bytes:
    """A tensor of these dimensions, of which it may say that they are more."""
    head = text("t") + struct.pack("<I", len(dims) if count is None else count)
    return (
        _counts(1, 0) + head + struct.pack(f"<{len(dims)}QIQ", *dims, 0, 0) + bytes(64)
    )


CASES = [
    # A length of 2**64 - 1 plus the final zero was no bytes at all.
    ("CVE-2024-23496", _counts(0, 1) + struct.pack("<Q", 2**64 - 1), "TruncatedFile"),
    ("CVE-2024-23496", _value(_STRING, struct.pack("<Q", 2**64 - 1)), "TruncatedFile"),
    ("CVE-2024-23496", _counts(1, 0) + struct.pack("<Q", 2**64 - 1), "TruncatedFile"),
    ("CVE-2024-23496", _array(12, 2**61), "TruncatedFile"),
    ("ollama 16189", _array(_STRING, 2**31), "TruncatedFile"),
    ("ollama 16189", _array(0, 2**40), "TruncatedFile"),
    ("ollama 16189", _value(_STRING, struct.pack("<Q", 2**30)), "TruncatedFile"),
    ("ollama 16189", _array(_ARRAY, 1), "MalformedGguf"),
    ("llama.cpp 25378", _dims(count=1_000_000), "MalformedGguf"),
    ("llama.cpp 25378", _dims(count=2**32 - 1), "MalformedGguf"),
    ("llama.cpp 25378", _dims(4194305, 4194305, 211106198978564), "MalformedGguf"),
    ("llama.cpp 25378", _dims(2**32, 2**32, 1), "MalformedGguf"),
    ("llama.cpp 27188", _array(_STRING, 2**63), "TruncatedFile"),
    ("llama.cpp 27188", _array(0, 2**63), "TruncatedFile"),
    ("llama.cpp 27188", _counts(2**63, 0), "LimitExceeded"),
    ("llama.cpp 27188", _counts(0, 2**63), "LimitExceeded"),
    ("llama.cpp 27188", _value(_STRING, struct.pack("<Q", 2**63)), "TruncatedFile"),
    ("ggml 1516", file_of([pair("general.alignment", 1 << 30)], []), "MalformedGguf"),
]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(data, reason, id=f"{number}-{reason}")
        for number, data, reason in CASES
    ],
)
def test_a_length_that_broke_a_reader_is_refused_at_once(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    (tmp_path / "m.gguf").write_bytes(data)
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError) as caught:
            made_models.checkpoint(tmp_path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.reason == reason
    assert time.process_time() - began < SECONDS_MAX
    assert most < BYTES_MAX


def test_the_hanging_file_of_llama_cpp_27188_is_as_short_as_it_was() -> None:
    assert len(_array(_STRING, 2**63)) == 49
