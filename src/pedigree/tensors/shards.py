# SPDX-License-Identifier: Apache-2.0
"""Which files of a model hold its weights, and the index that says so.

Every safetensors file is read, or is an error: which one a server loads is its own
choice, and what one server ignores another loads.

With an index, the shards it names are the model, and any other file at the top level
but ``adapter_model.safetensors`` is left unread, which is an error; where servers would
load *different* weights, the model is refused outright.  Without an index, all files at
the top level are the model.  Files in folders are parts of their own (a text encoder, a
projection), told apart by their folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pedigree.errors import ArtifactError, quote
from pedigree.limits import Limits
from pedigree.tensors.formats import SAFETENSORS, format_by_name
from pedigree.tensors.strictjson import load

INDEX_SUFFIX = ".safetensors.index.json"
MAIN_INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """Which files to read, and what must be in them.

    Attributes:
        paths: Files that hold weights, sorted.
        index_path: The index, or empty.
        placement: Tensor name to shard path, as the index says; empty without one.
        unread: Safetensors files that are not read, sorted; none in a sane model.
    """

    paths: tuple[str, ...]
    index_path: str = ""
    placement: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


def find_index(paths: Sequence[str]) -> str | None:
    """The index that rules a model, or None.

    Args:
        paths: All files of the model.

    Raises:
        ArtifactError: Several indexes, none of which has the usual name
            (``AmbiguousWeights``).
    """
    found = [path for path in paths if path.endswith(INDEX_SUFFIX) and "/" not in path]
    if MAIN_INDEX in found:
        return MAIN_INDEX
    if len(found) > 1:
        raise ArtifactError(
            f"model has the indexes {quote(found)}, wanted one or {MAIN_INDEX!r}; "
            "servers would load different weights",
            reason="AmbiguousWeights",
            path=found[0],
        )
    return found[0] if found else None


def without_index(paths: Sequence[str]) -> WeightFiles:
    """Weight files of a model that has no index: all of them."""
    return WeightFiles(tuple(sorted(_safetensors(paths))))


def _safetensors(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if format_by_name(path) == SAFETENSORS]


def with_index(
    index_path: str, text: bytes, paths: Sequence[str], limits: Limits
) -> WeightFiles:
    """Weight files of a model that has an index.

    Args:
        index_path: The index.
        text: Its content.
        paths: All files of the model.
        limits: Bounds.

    Raises:
        ArtifactError: ``MalformedIndex``, ``DuplicateKey``, ``IndexOutsideFolder``,
            ``MissingShard`` or ``AmbiguousWeights``.
    """
    weight_map = _weight_map(index_path, text, limits)
    listed = set(paths)
    for name, shard in weight_map.items():
        _check_shard(index_path, name, shard, listed)
    shards = set(weight_map.values())
    if SINGLE in listed and SINGLE not in shards and index_path == MAIN_INDEX:
        raise ArtifactError(
            f"model has both {SINGLE!r} and {index_path!r}, which does not name it; "
            "wanted one of the two, for servers would load different weights",
            reason="AmbiguousWeights",
            path=index_path,
        )
    weights = _safetensors(paths)
    read = shards.union(path for path in weights if "/" in path or path == ADAPTER)
    unread = tuple(sorted(set(weights) - read))
    return WeightFiles(tuple(sorted(read)), index_path, weight_map, unread)


def _refuse(index_path: str, reason: str, got: str) -> NoReturn:
    raise ArtifactError(
        f"index {quote(index_path)} {got}", reason=reason, path=index_path
    )


def _weight_map(index_path: str, text: bytes, limits: Limits) -> dict[str, str]:
    index: Any = load(
        text,
        what="index",
        path=index_path,
        values_max=4 * limits.tensors_max,
        malformed="MalformedIndex",
    )
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        _refuse(
            index_path,
            "MalformedIndex",
            "has no weight_map, wanted a map of tensor names to shard files",
        )
    if len(weight_map) > limits.tensors_max:
        _refuse(
            index_path,
            "LimitExceeded",
            f"names {len(weight_map)} tensors, allowed are {limits.tensors_max}",
        )
    for name, shard in weight_map.items():
        if not isinstance(shard, str):
            _refuse(
                index_path,
                "MalformedIndex",
                f"maps {quote(name)} to {quote(shard, 64)}, wanted a file name",
            )
    return weight_map


def _check_shard(index_path: str, name: str, shard: str, listed: set[str]) -> None:
    parts = shard.split("/")
    if (
        shard.startswith("/")
        or ".." in parts
        or "\\" in shard
        or "\x00" in shard
        or ":" in parts[0]
    ):
        _refuse(
            index_path,
            "IndexOutsideFolder",
            f"maps {quote(name)} to {quote(shard)}, "
            "wanted a file inside the model's folder",
        )
    if shard not in listed:
        _refuse(
            index_path,
            "MissingShard",
            f"names the shard {quote(shard)}, which the model does not have; "
            "upload or copy the missing file",
        )
    if format_by_name(shard) != SAFETENSORS:
        _refuse(
            index_path,
            "MalformedIndex",
            f"names {quote(shard)} as a shard, wanted a .safetensors file",
        )
