# SPDX-License-Identifier: Apache-2.0
"""Reads every file that declares something of the model, bounded.

Executes nothing: JSON through the strict reader, YAML as nodes.  Declarations are
claims to be compared, never believed; a file that cannot be understood is a remark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pedigree.errors import ArtifactError, quote
from pedigree.examine.claims import card, configs, gguf, mlflow, nodes, packages
from pedigree.limits import Limits
from pedigree.ranges import ModelSource
from pedigree.tensors.documents import CONFIG_MAX_BYTES, json_map, whole_file
from pedigree.tensors.remarks import ERROR, INFO, WARNING, Declared, Remark

_JSON: tuple[tuple[str, Callable[[dict[str, Any]], Iterable[Declared]], str], ...] = (
    (configs.ADAPTER_CONFIG, configs.adapter_declarations, ERROR),
    (configs.CONFIG, configs.config_declarations, ERROR),
    (packages.MODEL_CONFIG, packages.modelpack_declarations, WARNING),
    (packages.MODEL_ARTIFACT, packages.kubeflow_declarations, WARNING),
)
"""JSON files, and how it weighs if one is malformed: servers read the first two."""
ADAPTERS_MAX = 8
"""Configurations of adapters in folders that are read; more say no more."""
_YAML: tuple[tuple[str, Callable[[bytes], Iterable[Declared]]], ...] = (
    (mlflow.MLMODEL, mlflow.mlflow_declarations),
    (packages.KITFILE, packages.kitfile_declarations),
)


def read_declarations(
    source: ModelSource,
    limits: Limits,
    metadata: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[list[Declared], list[Remark]]:
    """Read what the files declare.

    Args:
        source: The model.
        limits: Bounds.
        metadata: What files of weights say of themselves, by path, if they were read.

    Returns:
        Declarations in order of file and field, and remarks.  A file that cannot be
        understood is a remark, never an error.

    Raises:
        SourceError: The bytes could not be had.
    """
    sizes = {entry.path: entry.size for entry in source.files()}
    declared: list[Declared] = []
    remarks: list[Remark] = []
    for path, reader, severity in _JSON:
        if path in sizes:
            try:
                declared.extend(reader(_read_json(source, path, sizes[path], limits)))
            except ArtifactError as error:
                remarks.append(_remark(error, path, severity))
    for items, told in _adapters_below(source, sizes, limits):
        declared.extend(items)
        remarks.extend(told)
    if card.CARD in sizes:
        text = _beginning(source, card.CARD, sizes[card.CARD])
        try:
            declared.extend(card.card_declarations(text))
        except ArtifactError as error:
            remarks.append(_remark(error, card.CARD, WARNING))
        if len(text) < sizes[card.CARD] and not card.is_whole(text):
            remarks.append(_too_long(card.CARD, sizes[card.CARD]))
    for path, read in _YAML:
        if path in sizes:
            try:
                if sizes[path] > nodes.READ_BYTES:
                    remarks.append(_too_long(path, sizes[path]))
                else:
                    declared.extend(read(_beginning(source, path, sizes[path])))
            except ArtifactError as error:
                remarks.append(_remark(error, path, WARNING))
    declared.extend(_of_weights(metadata or {}))
    return declared, remarks


def _adapters_below(
    source: ModelSource, sizes: Mapping[str, int], limits: Limits
) -> Iterator[tuple[list[Declared], list[Remark]]]:
    """What adapters in folders of the model declare; the first of many."""
    paths = configs.adapters_below(sizes)
    beside = configs.has_own_weights(sizes)
    for path in paths[:ADAPTERS_MAX]:
        try:
            config = _read_json(source, path, sizes[path], limits)
        except ArtifactError as error:
            yield [], [_remark(error, path, WARNING if beside else ERROR)]
        else:
            yield list(configs.adapter_declarations(config, path, beside=beside)), []
    if len(paths) > ADAPTERS_MAX:
        message = (
            f"what {quote(paths[ADAPTERS_MAX])} declares was not read: the model has "
            f"{len(paths)} adapters in folders, and {ADAPTERS_MAX} are"
        )
        yield [], [Remark("DeclarationsNotRead", paths[ADAPTERS_MAX], message, INFO)]


def _of_weights(metadata: Mapping[str, Mapping[str, str]]) -> Iterator[Declared]:
    """What GGUF files say, each thing once: shards repeat it."""
    told: set[tuple[str, str]] = set()
    for path, keys in sorted(metadata.items()):
        if path.lower().endswith(gguf.SUFFIX):
            for item in gguf.gguf_declarations(keys, path):
                if (item.field, item.value) not in told:
                    told.add((item.field, item.value))
                    yield item


def _beginning(source: ModelSource, path: str, size: int) -> bytes:
    return source.open(path).read(0, min(size, nodes.READ_BYTES))


def _read_json(
    source: ModelSource, path: str, size: int, limits: Limits
) -> dict[str, Any]:
    allowed = min(CONFIG_MAX_BYTES, limits.json_max_bytes)
    return json_map(whole_file(source, path, size, allowed), path)


def _remark(error: ArtifactError, path: str, severity: str) -> Remark:
    return Remark(str(error.reason), path, error.message, severity)


def _too_long(path: str, size: int) -> Remark:
    return Remark(
        "DeclarationsNotRead",
        path,
        f"what {quote(path)} declares was not read: it has {size} bytes, and nothing "
        f"ends within the {nodes.READ_BYTES} that are",
        INFO,
    )
