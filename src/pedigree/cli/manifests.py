# SPDX-License-Identifier: Apache-2.0
"""Reads Kubernetes manifests from files, as strictly as the API server does."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pedigree.errors import ConfigError, quote
from pedigree.evidence import API_VERSION, GROUP

MANIFEST_MAX_BYTES = 4_000_000
"""Above the 1.5 MB that etcd takes for one object."""
DOCUMENTS_MAX = 1000
ALIASES_MAX = 20
"""Aliases in one file: with twenty, a document of nested ones still grows less than a
thousandfold."""
DEPTH_MAX = 100
"""A Pod template has about fifteen levels."""
KINDS = frozenset(
    {"ModelDeployment", "ClusterLineagePolicy", "LineagePolicy", "ReferenceModel"}
)
MODEL_FIELDS: Mapping[str, frozenset[str]] = {
    "": frozenset({"name", "role", "source", "expectedDigest", "claims"}),
    ".source": frozenset({"uri", "huggingFace", "credentialsSecret"}),
    ".claims": frozenset({"baseModel", "relation", "license"}),
}
"""Fields of a model and of its parts, as the CRD has them."""


_NO_YAML = (
    yaml.YAMLError,
    AttributeError,  # this and the next two of values that are not what their tag says
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What reading YAML can end with."""


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a manifest.

    Attributes:
        kind: Its kind, one of ``KINDS``.
        obj: The object.
        origin: File and number, for messages.
    """

    kind: str
    obj: dict[str, Any]
    origin: str


def read_manifests(path: str) -> list[Document]:
    """Read the objects of this API group in a file; others are left out.

    Args:
        path: A file, or ``-`` for standard input.

    Raises:
        ConfigError: The file cannot be read, is no YAML, is too big, or holds an
            object of this group in a version or with a field nobody knows.
    """
    documents = list(_documents(path, _read(path)))
    return [
        Document(item["kind"], item, f"{path}#{number}")
        for number, item in documents
        if _is_ours(item, f"{path}#{number}")
    ]


def check_model_fields(document: Document) -> None:
    """Refuse fields of models that the API does not have.

    The API server refuses them too; here a misspelt ``expectedDigest`` would otherwise
    be a check that silently does not happen.

    Raises:
        ConfigError: There is such a field.
    """
    spec = document.obj.get("spec")
    models = spec.get("models") if isinstance(spec, Mapping) else None
    for index, model in enumerate(models if isinstance(models, list) else ()):
        for part, known in MODEL_FIELDS.items():
            within = (
                model.get(part[1:]) if part and isinstance(model, Mapping) else model
            )
            for key in within if isinstance(within, Mapping) else ():
                if key not in known:
                    raise ConfigError(
                        f"{document.origin}: spec.models[{index}]{part} has the field "
                        f"{quote(key, 80)}, known are {', '.join(sorted(known))}",
                        reason="ManifestInvalid",
                    )


def _read(path: str) -> bytes:
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MANIFEST_MAX_BYTES + 1)
        else:
            with Path(path).open("rb") as stream:
                data = stream.read(MANIFEST_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"manifest {quote(path)} cannot be read: {error.strerror}",
            reason="ManifestUnreadable",
        ) from error
    if len(data) > MANIFEST_MAX_BYTES:
        raise _invalid(path, f"is longer than {MANIFEST_MAX_BYTES} bytes")
    return data


def _documents(path: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    try:
        _check_shape(path, data)
        # _Loader is a SafeLoader: it builds nothing but plain values.
        for loaded in yaml.load_all(data, Loader=_Loader):
            for item in _flatten(loaded):
                number += 1
                if number > DOCUMENTS_MAX:
                    raise _invalid(path, f"has more than {DOCUMENTS_MAX} objects")
                if not isinstance(item, dict):
                    raise _invalid(
                        path, f"has {quote(item, 80)} as object {number}, wanted a map"
                    )
                yield number, item
    except _NO_YAML as error:
        problem = " ".join(str(error).split())
        raise _invalid(path, f"is no YAML: {problem[:200]}") from error


def _check_shape(path: str, data: bytes) -> None:
    """Bound what building the values would cost, before any is built."""
    aliases = depth = 0
    for event in yaml.parse(data):
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if aliases > ALIASES_MAX:
            raise _invalid(path, f"has more than {ALIASES_MAX} aliases")
        if depth > DEPTH_MAX:
            raise _invalid(path, f"is nested deeper than {DEPTH_MAX} levels")


def _flatten(loaded: object) -> Iterator[object]:
    if loaded is None:
        return
    if isinstance(loaded, dict) and loaded.get("kind") == "List":
        items = loaded.get("items")
        yield from items if isinstance(items, list) else ()
    else:
        yield loaded


def _is_ours(item: Mapping[str, Any], origin: str) -> bool:
    version, kind = item.get("apiVersion"), item.get("kind")
    if not isinstance(version, str) or version.partition("/")[0] != GROUP:
        return False
    if version != API_VERSION:
        raise _invalid(origin, f"has apiVersion {quote(version)}, wanted {API_VERSION}")
    return isinstance(kind, str) and kind in KINDS


def _invalid(path: str, problem: str) -> ConfigError:
    return ConfigError(f"manifest {quote(path)} {problem}", reason="ManifestInvalid")


class _Loader(yaml.SafeLoader):
    """Plain values only, and no key twice: the last one would win unseen."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {quote(key, 80)} is there twice",
                    node.start_mark,
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
