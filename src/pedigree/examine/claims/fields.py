# SPDX-License-Identifier: Apache-2.0
"""What can be declared of a model, and what of it is kept.

Every value is a text from strangers: bounded, printable, never empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from pedigree.tensors.remarks import Declared

VALUES_MAX = 8
"""Values taken of one list, such as the base models of a merge."""
VALUE_MAX_CHARS = 256


class Field(StrEnum):
    """Names of what is declared, in the order in which evidence keeps them.

    Stored evidence has room for few claims: what policies compare stands first.
    """

    BASE_MODEL = "baseModel"
    RELATION = "relation"
    LICENSE = "license"
    LICENSE_NAME = "licenseName"
    """What stands for the licence where that is ``other``."""
    BASE_REVISION = "baseModelRevision"
    ARCHITECTURE = "architecture"
    PARAMETERS = "parameters"
    CHAT_TEMPLATE = "chatTemplate"
    """Digest of a template; told by :mod:`pedigree.examine.safety`."""
    MODEL_NAME = "modelName"
    QUANTIZED_BY = "quantizedBy"
    ADAPTER_BASE = "adapterBase"
    """Base of an adapter that lies beside the model and is no part of it."""
    SOURCE_URI = "sourceUri"
    """Where the model, or what it was made from, is said to be."""
    LICENSE_LINK = "licenseLink"
    BASE_VERSION = "baseModelVersion"
    BASE_ORGANIZATION = "baseModelOrganization"
    BASE_ID = "baseModelId"
    """DOI or UUID of the base."""
    DATASETS = "datasets"


_RANKS = {str(field): rank for rank, field in enumerate(Field)}


def is_value(value: object) -> bool:
    """Whether a declared value is kept."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= VALUE_MAX_CHARS
        and value.isprintable()
    )


def taken(field: Field, values: object, source: str) -> Iterator[Declared]:
    """Declarations of one value or of a list of values.

    Args:
        field: What is declared.
        values: Any parsed JSON; what is no text is passed over.
        source: File that declares it.
    """
    items = values if isinstance(values, list) else [values]
    for value in items[:VALUES_MAX]:
        if isinstance(value, str) and is_value(value):
            yield Declared(field.value, value, source)


def by_weight(declared: Iterable[Declared]) -> list[Declared]:
    """Each declaration once, those that policies compare first."""
    return sorted(
        dict.fromkeys(declared), key=lambda item: _RANKS.get(item.field, len(_RANKS))
    )
