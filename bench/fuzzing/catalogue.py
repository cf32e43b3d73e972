# SPDX-License-Identifier: Apache-2.0
"""All targets by name, and the corpus of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from bench.fuzzing import layers, looks, remote, stored, texts, weights
from bench.fuzzing.target import Target

CORPUS = Path(__file__).parents[2] / "tests" / "data" / "corpus"
TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for module in (weights, texts, looks, stored, remote, layers)
        for target in module.TARGETS
    }
)


def corpus(target: Target) -> list[bytes]:
    """Inputs that are kept for a target, by name of their files."""
    folder = CORPUS / target.name
    if not folder.is_dir():
        return []
    return [path.read_bytes() for path in sorted(folder.iterdir())]
