# SPDX-License-Identifier: Apache-2.0
"""Small files of a model, read once: held from the listing, else fetched, bounded."""

from __future__ import annotations

from typing import Any

from pedigree.errors import ArtifactError, quote
from pedigree.examine.seen import Seen
from pedigree.tensors.strictjson import load

JSON_MAX_BYTES = 8 << 20
"""Configurations of tokenizers with many added tokens have over a million bytes."""
_JSON_VALUES_MAX = 500_000


class Texts:
    """The small files of one model.

    Args:
        seen: What the examination has.

    Attributes:
        sizes: Bytes of every file that is part of the model, by path.
    """

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self.sizes = {file.path: file.size for file in seen.listing.manifest.files}
        self._read: dict[str, Any] = {}

    def whole(self, path: str, most: int) -> bytes:
        """All bytes of a file.

        Raises:
            ArtifactError: It has more than ``most`` bytes (``LimitExceeded``).
            SourceError: The bytes could not be had.
        """
        size = self.sizes[path]
        if size > most:
            raise ArtifactError(
                f"file {quote(path)} is {size} bytes, allowed are {most}",
                reason="LimitExceeded",
                path=path,
            )
        held = self._seen.listing.held.get(path)
        return self._seen.source.open(path).read(0, size) if held is None else held

    def json(self, path: str) -> Any:
        """What a JSON file says; parsed once.

        Raises:
            ArtifactError: It is too large or not JSON of one meaning.
            SourceError: The bytes could not be had.
        """
        if path not in self._read:
            allowed = min(JSON_MAX_BYTES, self._seen.limits.json_max_bytes)
            self._read[path] = load(
                self.whole(path, allowed),
                what="configuration",
                path=path,
                values_max=_JSON_VALUES_MAX,
                constants=True,
                malformed="MalformedConfig",
            )
        return self._read[path]
