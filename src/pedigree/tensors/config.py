# SPDX-License-Identifier: Apache-2.0
"""What a model's own files declare: base model, relation, licence, architecture.

Reads ``config.json``, ``adapter_config.json`` and the front matter of ``README.md``,
bounded, and executes nothing: JSON through the strict reader, YAML as nodes without
any constructor.  Declarations are claims to be compared, never believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pedigree.errors import ArtifactError, quote
from pedigree.limits import Limits
from pedigree.ranges import ModelSource
from pedigree.tensors.remarks import ERROR, Declared, Remark
from pedigree.tensors.strictjson import load

if TYPE_CHECKING:
    import yaml

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
CARD = "README.md"

_VALUE_MAX_CHARS = 256
_VALUES_MAX = 8
"""Values taken of one list, such as the base models of a merge."""
_CONFIG_MAX_BYTES = 4 << 20
"""A configuration is a few thousand bytes; this leaves room for label maps."""
_CARD_READ_BYTES = 64 << 10
"""Front matter beyond this is not read; the slow YAML reader sets the bound."""
_CARD_FIELDS = {
    "base_model": "baseModel",
    "base_model_relation": "relation",
    "license": "license",
}


def read_declarations(
    source: ModelSource, limits: Limits
) -> tuple[list[Declared], list[Remark]]:
    """Read what the files declare.

    Args:
        source: The model.
        limits: Bounds.

    Returns:
        Declarations in order of file and field, and remarks.  A file that cannot be
        understood is a remark, never an error.

    Raises:
        SourceError: The bytes could not be had.
    """
    sizes = {entry.path: entry.size for entry in source.files()}
    declared: list[Declared] = []
    remarks: list[Remark] = []
    for path, reader in (
        (ADAPTER_CONFIG, _adapter_declarations),
        (CONFIG, _config_declarations),
    ):
        if path not in sizes:
            continue
        try:
            config = _read_config(source, path, sizes[path], limits)
        except ArtifactError as error:
            remarks.append(Remark(str(error.reason), path, error.message, ERROR))
            continue
        declared.extend(reader(config))
    if CARD in sizes:
        try:
            text = source.open(CARD).read(0, min(sizes[CARD], _CARD_READ_BYTES))
            declared.extend(card_declarations(text))
        except ArtifactError as error:
            remarks.append(Remark(str(error.reason), CARD, error.message))
    return declared, remarks


def card_declarations(text: bytes) -> list[Declared]:
    """Declarations in the YAML front matter of a model card.

    Args:
        text: The card's first bytes.

    Raises:
        ArtifactError: The front matter is not YAML, or nested too deeply
            (``MalformedModelCard``).
    """
    front = _front_matter(text.decode("utf-8", "replace"))
    if front is None:
        return []
    import yaml  # loading it takes longer than comparing two models without cards

    try:
        node = yaml.compose(front, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ArtifactError(
            f"front matter of {CARD!r} is not YAML: {type(error).__name__}",
            reason="MalformedModelCard",
            path=CARD,
        ) from error
    if not isinstance(node, yaml.MappingNode):
        return []
    return [
        Declared(_CARD_FIELDS[key.value], value, CARD)
        for key, item in node.value
        if isinstance(key, yaml.ScalarNode) and key.value in _CARD_FIELDS
        for value in _scalars(item)
    ]


def _front_matter(text: str) -> str | None:
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != "---":
        return None
    for index, line in enumerate(lines[1:], 1):
        if line.rstrip() == "---":
            return "\n".join(lines[1:index])
    return None


def _scalars(node: yaml.Node) -> Iterator[str]:
    import yaml

    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for item in items[:_VALUES_MAX]:
        if isinstance(item, yaml.ScalarNode) and _is_value(item.value):
            yield item.value


def _is_value(value: object) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= _VALUE_MAX_CHARS
        and value.isprintable()
    )


def _read_config(
    source: ModelSource, path: str, size: int, limits: Limits
) -> dict[str, Any]:
    allowed = min(_CONFIG_MAX_BYTES, limits.json_max_bytes)
    if size > allowed:
        raise ArtifactError(
            f"file {quote(path)} is {size} bytes, allowed are {allowed}",
            reason="LimitExceeded",
            path=path,
        )
    config = load(
        source.open(path).read(0, size),
        what="configuration",
        path=path,
        constants=True,
        malformed="MalformedConfig",
    )
    if not isinstance(config, dict):
        raise ArtifactError(
            f"configuration {quote(path)} is {quote(config, 64)}, wanted a map",
            reason="MalformedConfig",
            path=path,
        )
    return config


def _config_declarations(config: dict[str, Any]) -> Iterator[Declared]:
    architectures = config.get("architectures")
    if isinstance(architectures, list):
        for value in architectures[:_VALUES_MAX]:
            if _is_value(value):
                yield Declared("architecture", value, CONFIG)


def _adapter_declarations(config: dict[str, Any]) -> Iterator[Declared]:
    base = config.get("base_model_name_or_path")
    if _is_value(base):
        yield Declared("baseModel", str(base), ADAPTER_CONFIG)
        yield Declared("relation", "adapter", ADAPTER_CONFIG)
