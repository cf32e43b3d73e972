# SPDX-License-Identifier: Apache-2.0
"""What a GGUF file says of its descent, and its chat templates, as text by key.

Source: ``docs/gguf.md`` of the ggml project, "General metadata".
"""

from __future__ import annotations

import re

from pedigree.errors import ArtifactError, quote
from pedigree.ranges import RangeSource
from pedigree.tensors.gguf_header import GgufHeader

_LINEAGE = re.compile(
    r"general\.(?:name|architecture|license|quantized_by|finetune|basename"
    r"|size_label|license\..+|base_model\..+|source\..+|dataset\..+|type)"
)
_TEMPLATE = re.compile(r"tokenizer\.chat_template(?:\..+)?", re.DOTALL)
_LISTS = ("general.datasets",)
"""Keys of lists of texts."""
_LIST_READ_BYTES = 4096
_LIST_MAX = 8
"""Texts of a list that are told, as numbered keys; nobody keeps more."""
_STRING, _LENGTH_BYTES = 8, 8
_LONG_TEMPLATES_MAX = 4
_TEMPLATE_READ_BYTES = 1 << 20
"""Whoever looks at templates takes one of a quarter of this for hostile."""


def words_of(header: GgufHeader, file: RangeSource) -> dict[str, str]:
    """What a file says in words.

    Args:
        header: Its header.
        file: The file, of which long texts and lists are read.

    Raises:
        ArtifactError: Too many long chat templates (``LimitExceeded``).
        SourceError: The bytes could not be had.
    """
    return _lists(header, file) | _told(header) | _long_templates(header, file)


def _told(header: GgufHeader) -> dict[str, str]:
    """Short texts and numbers."""
    return {
        key: str(value)
        for key, value in header.scalars.items()
        if _LINEAGE.fullmatch(key) or _TEMPLATE.fullmatch(key)
    }


def _long_templates(header: GgufHeader, file: RangeSource) -> dict[str, str]:
    """Chat templates that the header passed over for their length, by key."""
    found = {
        key: place
        for key, place in header.arrays.items()
        if _TEMPLATE.fullmatch(key) and place.end - place.begin > _LENGTH_BYTES
    }
    if len(found) > _LONG_TEMPLATES_MAX:
        raise ArtifactError(
            f"file {quote(file.path)} has {len(found)} long chat templates, allowed "
            f"are {_LONG_TEMPLATES_MAX}",
            reason="LimitExceeded",
            path=file.path,
        )
    return {
        key: file.read(
            place.begin + _LENGTH_BYTES,
            min(place.end - place.begin - _LENGTH_BYTES, _TEMPLATE_READ_BYTES),
        ).decode("utf-8", "replace")
        for key, place in found.items()
    }


def _lists(header: GgufHeader, file: RangeSource) -> dict[str, str]:
    """The first texts of lists, as keys that end in their number."""
    found: dict[str, str] = {}
    for key in _LISTS:
        place = header.arrays.get(key)
        if place is None or place.kind != _STRING:
            continue
        size = min(place.end - place.begin, _LIST_READ_BYTES)
        raw, at = file.read(place.begin, size), 0
        for number in range(min(place.length, _LIST_MAX)):
            begin = at + _LENGTH_BYTES
            at = begin + int.from_bytes(raw[at:begin], "little")
            if at > size:  # a text that is longer than any that counts
                break
            found[f"{key}.{number}"] = raw[begin:at].decode("utf-8", "replace")
    return found
