# SPDX-License-Identifier: Apache-2.0
"""Configurations of models and adapters: architecture, and the base of an adapter.

An adapter in a folder of a model belongs to it only if there is nothing else: where
the model has weights or an adapter of its own, what one beside it was trained on says
nothing of the model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from pedigree.examine.claims.fields import Field, is_value, taken
from pedigree.tensors import adapter_files
from pedigree.tensors.formats import GGUF, SAFETENSORS, format_by_name
from pedigree.tensors.remarks import Declared

CONFIG = "config.json"
ADAPTER_CONFIG = adapter_files.ADAPTER_CONFIG
_PYTORCH, _INDEX = "pytorch_model", ".index.json"


def config_declarations(config: dict[str, Any]) -> Iterator[Declared]:
    """What a model's configuration declares.

    Args:
        config: The parsed file.
    """
    architectures = config.get("architectures")
    if isinstance(architectures, list):
        yield from taken(Field.ARCHITECTURE, architectures, CONFIG)
    yield from taken(Field.SOURCE_URI, config.get("_name_or_path"), CONFIG)


def adapter_declarations(
    config: dict[str, Any], path: str = ADAPTER_CONFIG, *, beside: bool = False
) -> Iterator[Declared]:
    """What an adapter's configuration declares.

    Args:
        config: The parsed file.
        path: The file.
        beside: Whether the adapter lies beside the model and is no part of it.
    """
    base = config.get("base_model_name_or_path")
    if not is_value(base):
        return
    if beside:
        yield from taken(Field.ADAPTER_BASE, base, path)
        return
    yield from taken(Field.BASE_MODEL, base, path)
    yield Declared(Field.RELATION.value, "adapter", path)
    yield from taken(Field.BASE_REVISION, config.get("revision"), path)


def adapters_below(paths: Collection[str]) -> list[str]:
    """Configurations of adapters in folders of a model, the nearest first."""
    found = [path for path in paths if path.endswith(f"/{ADAPTER_CONFIG}")]
    return sorted(found, key=lambda path: (path.count("/"), path))


def has_own_weights(paths: Collection[str]) -> bool:
    """Whether a model has weights apart from adapters in folders, or is one itself."""
    folders = {path.rpartition("/")[0] for path in adapters_below(paths)}
    return ADAPTER_CONFIG in paths or any(
        _is_weights(path) for path in paths if path.rpartition("/")[0] not in folders
    )


def _is_weights(path: str) -> bool:
    """Whether a name means weights; of PyTorch's many things have such names."""
    named = format_by_name(path) in (SAFETENSORS, GGUF)
    name = path.rpartition("/")[2]
    return named or name.startswith(_PYTORCH) or name.endswith(_INDEX)
