# SPDX-License-Identifier: Apache-2.0
"""Keys of GGUF files: what a converter wrote down of the model it converted.

A base model is named by its address where there is one, since the key for names holds
titles ("Llama 3.1 8B") that name no model.  Of an adapter the base that it declares is
the model that it belongs to.  Keys: ggml, ``docs/gguf.md``, "General metadata", "Source
metadata" and "LoRA metadata".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pedigree.examine.claims.fields import VALUES_MAX, Field, taken
from pedigree.tensors.remarks import Declared

SUFFIX = ".gguf"
_SINGLE = (
    ("general.license", Field.LICENSE),
    ("general.license.name", Field.LICENSE_NAME),
    ("general.license.link", Field.LICENSE_LINK),
    ("general.architecture", Field.ARCHITECTURE),
    ("general.size_label", Field.PARAMETERS),
    ("general.name", Field.MODEL_NAME),
    ("general.quantized_by", Field.QUANTIZED_BY),
)
_PLACES = ("repo_url", "url", "name", "doi", "uuid")
"""Ways in which a model is told, the most exact first; then numbers that are no names,
which count as one only where there is none."""
_BASE = (
    ("version", Field.BASE_VERSION),
    ("organization", Field.BASE_ORGANIZATION),
    ("doi", Field.BASE_ID),
    ("uuid", Field.BASE_ID),
)
"""What else is told of a base."""
_SOURCE = (
    *("general.source.repo_url", "general.source.url"),
    "general.source.huggingface.repository",
    *("general.source.doi", "general.source.uuid"),
)


def gguf_declarations(keys: Mapping[str, str], path: str) -> Iterator[Declared]:
    """What one GGUF file declares.

    Args:
        keys: Its keys of general meaning, as text.
        path: The file.
    """
    bases = list(_listed(keys, "general.base_model", Field.BASE_MODEL, path))
    yield from bases
    if bases and keys.get("general.type") == "adapter":
        yield Declared(Field.RELATION.value, "adapter", path)
    for key, field in _SINGLE:
        yield from taken(field, keys.get(key), path)
    source = next((keys[key] for key in _SOURCE if keys.get(key)), None)
    yield from taken(Field.SOURCE_URI, source, path)
    for index in range(VALUES_MAX):
        for place, field in _BASE:
            told = keys.get(f"general.base_model.{index}.{place}")
            yield from taken(field, told, path)
    yield from _listed(keys, "general.dataset", Field.DATASETS, path)
    for index in range(VALUES_MAX):
        yield from taken(Field.DATASETS, keys.get(f"general.datasets.{index}"), path)


def _listed(
    keys: Mapping[str, str], prefix: str, field: Field, path: str
) -> Iterator[Declared]:
    """Numbered entries; a stated count is not needed and not believed.

    Of one entry a second value is told if it names another repository: a lie must not
    hide behind the place that counts.
    """
    for index in range(VALUES_MAX):
        every = (keys.get(f"{prefix}.{index}.{place}") for place in _PLACES)
        told = [value for value in every if value]
        yield from taken(field, told if len(told) < 2 else _different(told), path)


def _different(told: list[str]) -> list[str]:
    """The first of some values, and the first of every other repository."""
    from pedigree.examine.claims.names import repository  # loads parts of policies

    named = {repository(value): value for value in reversed(told)}
    others = [value for name, value in named.items() if name]
    return [*dict.fromkeys([told[0], *others[::-1]])]
