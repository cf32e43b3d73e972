# SPDX-License-Identifier: Apache-2.0
"""Every bound on untrusted input, with its unit in the name.

Numbers without a source are guesses with room: they are far above what real
models need and far below what would hurt.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that hostile input meets before it meets an algorithm."""

    header_max_bytes: int = 25_000_000
    """Safetensors header.  The format allows 100,000,000; the Hub's own client
    stops at 25,000,000, and nearly all real headers are below 100,000."""
    tensors_max: int = 200_000
    """Tensors in one model; large expert models have about 100,000."""
    tensor_name_max_chars: int = 512
    rank_max: int = 8
    """Dimensions of one tensor; real weights have at most 5."""
    files_max: int = 10_000
    """Files of one model."""
    path_max_chars: int = 1024
    json_max_bytes: int = 25_000_000
    """config.json, model.safetensors.index.json and their like."""
    read_max_bytes: int = 512_000_000
    """Bytes held in memory at once while one model is read."""


DEFAULT = Limits()
