# SPDX-License-Identifier: Apache-2.0
"""Small files of a model, read once: held from the listing, else fetched, bounded."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pedigree.limits import Limits
from pedigree.manifest import is_ignored
from pedigree.ranges import ModelSource
from pedigree.tensors.documents import check_size, json_value

JSON_MAX_BYTES = 8 << 20
"""Configurations of tokenizers with many added tokens have over a million bytes."""
_JSON_VALUES_MAX = 500_000


class Texts:
    """The small files of one model.

    Args:
        source: The model.
        limits: Bounds.
        held: Files that are at hand, by path.

    Attributes:
        sizes: Bytes of every file that is part of the model, by path.
    """

    def __init__(
        self,
        source: ModelSource,
        limits: Limits,
        held: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        self._source, self._limits, self._held = source, limits, held
        self.sizes = {
            entry.path: entry.size
            for entry in source.files()
            if not is_ignored(entry.path)
        }
        self._read: dict[str, Any] = {}

    def whole(self, path: str, most: int) -> bytes:
        """All bytes of a file.

        Raises:
            ArtifactError: It has more than ``most`` bytes (``LimitExceeded``).
            SourceError: The bytes could not be had.
        """
        size = self.sizes[path]
        check_size(path, size, most)
        held = self._held.get(path)
        return self._source.open(path).read(0, size) if held is None else held

    def json(self, path: str) -> Any:
        """What a JSON file says; parsed once.

        Raises:
            ArtifactError: It is too large or not JSON of one meaning.
            SourceError: The bytes could not be had.
        """
        if path not in self._read:
            allowed = min(JSON_MAX_BYTES, self._limits.json_max_bytes)
            self._read[path] = json_value(
                self.whole(path, allowed), path, values_max=_JSON_VALUES_MAX
            )
        return self._read[path]
