# SPDX-License-Identifier: Apache-2.0
"""Configurations of models and adapters: architecture, and the base of an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pedigree.examine.claims.fields import Field, is_value, taken
from pedigree.tensors import adapter_files
from pedigree.tensors.remarks import Declared

CONFIG = "config.json"
ADAPTER_CONFIG = adapter_files.ADAPTER_CONFIG


def config_declarations(config: dict[str, Any]) -> Iterator[Declared]:
    """What a model's configuration declares.

    Args:
        config: The parsed file.
    """
    architectures = config.get("architectures")
    if isinstance(architectures, list):
        yield from taken(Field.ARCHITECTURE, architectures, CONFIG)
    yield from taken(Field.SOURCE_URI, config.get("_name_or_path"), CONFIG)


def adapter_declarations(config: dict[str, Any]) -> Iterator[Declared]:
    """What an adapter's configuration declares.

    Args:
        config: The parsed file.
    """
    base = config.get("base_model_name_or_path")
    if not is_value(base):
        return
    yield from taken(Field.BASE_MODEL, base, ADAPTER_CONFIG)
    yield Declared(Field.RELATION.value, "adapter", ADAPTER_CONFIG)
    yield from taken(Field.BASE_REVISION, config.get("revision"), ADAPTER_CONFIG)
