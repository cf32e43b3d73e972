# SPDX-License-Identifier: Apache-2.0
"""The small JSON documents beside the weights, read bounded and with one meaning.

One reader for all who look at them, so that none understands what another refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pedigree.errors import ArtifactError, quote
from pedigree.ranges import ModelSource
from pedigree.tensors.strictjson import load

CONFIG = "config.json"
CONFIG_MAX_BYTES = 4 << 20
"""A configuration is a few thousand bytes; this leaves room for label maps."""
VALUES_MAX = 2_000_000
_NESTED = ("text_config", "llm_config", "language_config")
"""Where models of several kinds of input keep what belongs to the language model."""


def whole_file(source: ModelSource, path: str, size: int, most_bytes: int) -> bytes:
    """All bytes of a small file.

    Args:
        source: The model.
        path: Relative to its root.
        size: Bytes it has, as the source lists it.
        most_bytes: Bytes it may have.

    Raises:
        ArtifactError: It is too large (``LimitExceeded``).
        SourceError: The bytes could not be had.
    """
    check_size(path, size, most_bytes)
    return source.open(path).read(0, size)


def check_size(path: str, size: int, most_bytes: int) -> None:
    """Refuse a file that is too large to be read whole.

    Raises:
        ArtifactError: It is (``LimitExceeded``).
    """
    if size > most_bytes:
        raise ArtifactError(
            f"file {quote(path)} is {size} bytes, allowed are {most_bytes}",
            reason="LimitExceeded",
            path=path,
        )


def json_value(data: bytes, path: str, *, values_max: int = VALUES_MAX) -> Any:
    """What a document says; ``NaN`` and ``Infinity`` count, as Python writes them.

    Raises:
        ArtifactError: It is not JSON of one meaning (``MalformedConfig``,
            ``DuplicateKey``, ``MalformedName``), or has too many values
            (``LimitExceeded``).
    """
    return load(
        data,
        what="configuration",
        path=path,
        values_max=values_max,
        constants=True,
        malformed="MalformedConfig",
    )


def json_map(data: bytes, path: str, *, values_max: int = VALUES_MAX) -> dict[str, Any]:
    """What a document says that must be a map.

    Raises:
        ArtifactError: As :func:`json_value`; it is no map (``MalformedConfig``).
    """
    found = json_value(data, path, values_max=values_max)
    if not isinstance(found, dict):
        raise ArtifactError(
            f"configuration {quote(path)} is {quote(found, 64)}, wanted a map",
            reason="MalformedConfig",
            path=path,
        )
    return found


def nested_maps(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The maps in a configuration that speak of its language model."""
    return [config[key] for key in _NESTED if isinstance(config.get(key), dict)]
