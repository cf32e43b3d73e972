# SPDX-License-Identifier: Apache-2.0
"""How much of a 7B-class model an examination reads over a slow network.

Serves a Llama-2-7B-shaped bfloat16 model of random weights from a Hub-compatible server
on this machine, with a delay before every answer.  Weights are made when they are asked
for, so nothing is stored.  With ``--cache`` it is examined through a cache, and once
more with what that has kept.  Prints one JSON document::

    python -m bench.remote_examination [--delay 0.2] [--layers 32] [--cache]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from bench.machine import machine_facts

from pedigree.examine import ExamineSettings, examine
from pedigree.refs import parse
from pedigree.sources import SourceSettings
from pedigree.sources.settings import CacheSettings

WIDTH, NEURONS, TOKENS = 4096, 11008, 32000
COMMIT = "7b" * 20
BLOCK = 1 << 16
"""Bytes made at once."""


class MadeModel:
    """A model of several shards whose bytes follow from their place."""

    def __init__(self, layers: int) -> None:
        self.small = {
            "config.json": json.dumps(
                {
                    "model_type": "llama",
                    "num_attention_heads": 32,
                    "num_key_value_heads": 32,
                    "num_hidden_layers": layers,
                }
            ).encode()
        }
        shards = _shards(layers)
        placement = {}
        self.headers, self.sizes = {}, {}
        for number, tensors in enumerate(shards, 1):
            name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            header, data = _header(tensors)
            self.headers[name] = header
            self.sizes[name] = len(header) + data
            placement.update(dict.fromkeys(tensors, name))
        self.small["model.safetensors.index.json"] = json.dumps(
            {"metadata": {}, "weight_map": placement}
        ).encode()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values()) + sum(map(len, self.small.values()))

    def read(self, path: str, begin: int, end: int) -> bytes:
        """Bytes of a file, the last one included."""
        if path in self.small:
            return self.small[path][begin : end + 1]
        header = self.headers[path]
        first = begin // BLOCK
        made = b"".join(_block(path, block) for block in range(first, end // BLOCK + 1))
        data = bytearray(made[begin - first * BLOCK : end + 1 - first * BLOCK])
        if begin < len(header):
            head = header[begin : end + 1]
            data[: len(head)] = head
        return bytes(data)


def _shards(layers: int) -> list[dict[str, tuple[int, ...]]]:
    every: list[dict[str, tuple[int, ...]]] = []
    for layer in range(layers):
        stem = f"model.layers.{layer}."
        attention = {
            f"{stem}self_attn.{name}_proj.weight": (WIDTH, WIDTH) for name in "qkvo"
        }
        every.append(
            {
                stem + "input_layernorm.weight": (WIDTH,),
                stem + "post_attention_layernorm.weight": (WIDTH,),
                **attention,
                stem + "mlp.gate_proj.weight": (NEURONS, WIDTH),
                stem + "mlp.up_proj.weight": (NEURONS, WIDTH),
                stem + "mlp.down_proj.weight": (WIDTH, NEURONS),
            }
        )
    ends = {
        "model.embed_tokens.weight": (TOKENS, WIDTH),
        "model.norm.weight": (WIDTH,),
        "lm_head.weight": (TOKENS, WIDTH),
    }
    half = len(every) // 2
    first: dict[str, tuple[int, ...]] = {}
    second: dict[str, tuple[int, ...]] = dict(ends)
    for tensors in every[:half]:
        first |= tensors
    for tensors in every[half:]:
        second |= tensors
    return [first, second]


def _header(tensors: dict[str, tuple[int, ...]]) -> tuple[bytes, int]:
    described, offset = {}, 0
    for name, shape in tensors.items():
        size = 2 * int(np.prod(shape))
        described[name] = {
            "dtype": "BF16",
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, offset


def _block(path: str, block: int) -> bytes:
    """Random normal bfloat16 values; the file and the place are the seed."""
    seed = int.from_bytes(
        hashlib.sha256(f"{path}/{block}".encode()).digest()[:8], "big"
    )
    random = np.random.default_rng(seed)
    values = random.standard_normal(BLOCK // 2, np.float32) * np.float32(0.02)
    return (values.view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes()


class Counts:
    """What was asked of the server."""

    def __init__(self) -> None:
        self.requests = 0
        self.sent = 0
        self.lock = threading.Lock()


@contextmanager
def served(model: MadeModel, delay_s: float) -> Iterator[tuple[str, Counts]]:
    """A Hub with that one model."""
    counts = Counts()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: Any) -> None:
            del args

        def do_GET(self) -> None:
            time.sleep(delay_s)
            path = unquote(urlsplit(self.path).path)
            if path.startswith("/api/models/"):
                body, status = _listing(model, path), 200
                self._answer(status, body, {})
                return
            name = path.partition(f"/resolve/{COMMIT}/")[2]
            size = model.sizes.get(name) or len(model.small[name])
            wanted = self.headers.get("range")
            if wanted is None:
                self._answer(200, model.read(name, 0, size - 1), {})
                return
            begin, end = map(int, wanted.removeprefix("bytes=").split("-"))
            extra = {"content-range": f"bytes {begin}-{end}/{size}"}
            self._answer(206, model.read(name, begin, end), extra)

        def _answer(self, status: int, body: bytes, extra: dict[str, str]) -> None:
            with counts.lock:
                counts.requests += 1
                counts.sent += len(body)
            self.send_response(status)
            for name, value in {**extra, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", counts
    finally:
        server.shutdown()
        server.server_close()


def _listing(model: MadeModel, path: str) -> bytes:
    if "/tree/" not in path:
        return json.dumps({"sha": COMMIT}).encode()
    rows: list[dict[str, Any]] = [
        {"type": "file", "path": name, "size": len(text)}
        for name, text in model.small.items()
    ]
    for name, size in model.sizes.items():
        # What the Hub would say; nobody reads these files whole.
        oid = hashlib.sha256(name.encode()).hexdigest()
        lfs = {"oid": oid, "size": size}
        rows.append({"type": "file", "path": name, "size": size, "lfs": lfs})
    return json.dumps(rows).encode()


def _run(
    model: MadeModel, sources: SourceSettings, counts: Counts
) -> dict[str, int | float | list[str]]:
    """Examine once, and tell what the server was asked."""
    requests, sent = counts.requests, counts.sent
    begun = time.perf_counter()
    settings = ExamineSettings(sources=sources)
    found = examine(parse("hf://made/seven"), settings=settings, now=datetime.now(UTC))
    seconds = time.perf_counter() - begun
    read = counts.sent - sent
    return {
        "parameters": found.evidence.parameters,
        "requests": counts.requests - requests,
        "bytesSent": read,
        "shareRead": round(read / model.size, 6),
        "bytesKept": found.usage.bytes_kept,
        "seconds": round(seconds, 2),
        "findings": [finding.reason for finding in found.evidence.findings],
    }


def main() -> None:
    """Serve, examine, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--delay", type=float, default=0.2, help="seconds, each answer")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--cache", action="store_true", help="and once more, warm")
    given = parser.parse_args()
    model = MadeModel(given.layers)
    with (
        served(model, given.delay) as (endpoint, counts),
        tempfile.TemporaryDirectory() as folder,
    ):
        cache = CacheSettings(folder=Path(folder)) if given.cache else None
        sources = SourceSettings(hub_endpoint=endpoint, cache=cache)
        runs = [_run(model, sources, counts) for _ in range(2 if given.cache else 1)]
    result = {
        "schema": "pedigree.dev/bench/remote-examination/v1",
        "machine": machine_facts(),
        "modelBytes": model.size,
        "delaySeconds": given.delay,
        **runs[0],
    }
    if given.cache:
        result["warm"] = runs[1]
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
