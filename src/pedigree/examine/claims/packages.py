# SPDX-License-Identifier: Apache-2.0
"""Descriptions of packages: KitOps, ModelPack, Kubeflow.

``Kitfile`` is a file of the package.  The other two are documents of a registry; no
convention puts them beside a model.  They are read where somebody did, under the names
that are given here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pedigree.examine.claims.fields import Field, taken
from pedigree.examine.claims.nodes import (
    declared_in,
    entries,
    member,
    members,
    pairs_in,
)
from pedigree.tensors.remarks import Declared

KITFILE = "Kitfile"
MODEL_CONFIG = "model-config.json"
"""The configuration of a ModelPack artifact, as a file."""
MODEL_ARTIFACT = "model-artifact.json"
"""A ``ModelArtifact`` of Kubeflow's model registry, as a file."""
_KIT_MODEL = {"name": Field.MODEL_NAME, "license": Field.LICENSE}


def kitfile_declarations(text: bytes) -> list[Declared]:
    """What a ``Kitfile`` declares of its model, or else of the whole package.

    Args:
        text: The whole file.

    Raises:
        ArtifactError: It is not YAML (``MalformedDeclaration``).
    """
    pairs = pairs_in(text, path=KITFILE, what="package description")
    found = list(declared_in(member(pairs, "model"), _KIT_MODEL, KITFILE))
    told = {item.field for item in found}
    whole = declared_in(member(pairs, "package"), _KIT_MODEL, KITFILE)
    found += [item for item in whole if item.field not in told]
    names = {"name": Field.DATASETS}
    for key, node in pairs:
        for entry in entries(node) if key == "datasets" else ():
            found += declared_in(members(entry), names, KITFILE)
    return found


def modelpack_declarations(config: dict[str, Any]) -> Iterator[Declared]:
    """What the configuration of a ModelPack artifact declares.

    Args:
        config: The parsed document.
    """
    told = _map(config.get("descriptor"))
    made = _map(config.get("config"))
    yield from taken(Field.LICENSE, told.get("licenses"), MODEL_CONFIG)
    yield from taken(Field.ARCHITECTURE, made.get("architecture"), MODEL_CONFIG)
    yield from taken(Field.PARAMETERS, made.get("paramSize"), MODEL_CONFIG)
    yield from taken(Field.MODEL_NAME, told.get("name"), MODEL_CONFIG)
    yield from taken(Field.SOURCE_URI, told.get("sourceURL"), MODEL_CONFIG)


def kubeflow_declarations(artifact: dict[str, Any]) -> Iterator[Declared]:
    """What an artifact of Kubeflow's model registry declares.

    Args:
        artifact: The parsed document.
    """
    yield from taken(Field.MODEL_NAME, artifact.get("name"), MODEL_ARTIFACT)
    group, name = artifact.get("modelSourceGroup"), artifact.get("modelSourceName")
    if isinstance(name, str):
        whole = f"{group}/{name}" if isinstance(group, str) and group else name
        yield from taken(Field.SOURCE_URI, whole, MODEL_ARTIFACT)
    yield from taken(Field.SOURCE_URI, artifact.get("uri"), MODEL_ARTIFACT)


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
