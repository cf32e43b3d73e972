# SPDX-License-Identifier: Apache-2.0
"""JSON documents beside the weights, read bounded and strictly."""

from __future__ import annotations

from typing import Any

from pedigree.ranges import ModelSource
from pedigree.tensors.documents import json_map, whole_file

_MAX_BYTES = 64 << 20
"""The largest vocabularies in use are written in about 35 MB."""
_VALUES_MAX = 8_000_000
"""A merge counts thrice; the largest vocabularies have about 500,000 of them."""


def read_document(source: ModelSource, path: str) -> dict[str, Any] | None:
    """One JSON map of a model; None if the model has no such file.

    Args:
        source: The model.
        path: Relative to its root.

    Raises:
        ArtifactError: It is too large (``LimitExceeded``), or not a JSON map with one
            meaning (``MalformedConfig``, ``DuplicateKey``, ``MalformedName``).
        SourceError: The bytes could not be had.
    """
    size = next((entry.size for entry in source.files() if entry.path == path), None)
    if size is None:
        return None
    text = whole_file(source, path, size, _MAX_BYTES)
    return json_map(text, path, values_max=_VALUES_MAX)
