# SPDX-License-Identifier: Apache-2.0
"""The safetensors files of a model: index, shards, headers, merged to one map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pedigree.errors import ArtifactError, quote
from pedigree.limits import Limits
from pedigree.ranges import ModelSource, RangeSource
from pedigree.tensors.formats import SAFETENSORS
from pedigree.tensors.header import PREFIX_BYTES, header_length, parse_header
from pedigree.tensors.layout import Header, TensorInfo, WeightSet
from pedigree.tensors.placement import check_placement, opening_remarks
from pedigree.tensors.shards import (
    WeightFiles,
    find_index,
    with_index,
    without_index,
)

_FIRST_READ_BYTES = 65_536
"""Holds the whole header of most files, so that one read does (arbitrary)."""


def open_safetensors(
    source: ModelSource, sizes: Mapping[str, int], limits: Limits
) -> WeightSet:
    """Read the headers of the safetensors files of a model.

    Args:
        source: The model.
        sizes: Bytes of each file that counts, by path.
        limits: Bounds.

    Raises:
        ArtifactError: A header or index is refused (reasons of
            :mod:`pedigree.tensors.header` and :mod:`pedigree.tensors.shards`), header
            and index disagree (``DuplicateTensor``, ``MissingTensor``), or no file
            holds a tensor (``NoReadableWeights``).
        SourceError: The bytes could not be had.
    """
    weights = _find_weights(source, sizes, limits)
    files = {path: source.open(path) for path in weights.paths}
    headers = {path: _read_header(file, limits) for path, file in files.items()}
    tensors = _merge(headers, set(weights.placement.values()), limits)
    remarks = opening_remarks(weights, headers, tensors)
    check_placement(weights, tensors)
    return WeightSet(
        form=SAFETENSORS,
        files=files,
        tensors=tensors,
        metadata={path: header.metadata for path, header in headers.items()},
        remarks=tuple(remarks),
    )


def _find_weights(
    source: ModelSource, sizes: Mapping[str, int], limits: Limits
) -> WeightFiles:
    paths = sorted(sizes)
    index_path = find_index(paths)
    if index_path is None:
        return without_index(paths)
    size = sizes[index_path]
    if size > limits.json_max_bytes:
        raise ArtifactError(
            f"index {quote(index_path)} is {size} bytes, "
            f"allowed are {limits.json_max_bytes}",
            reason="LimitExceeded",
            path=index_path,
        )
    text = source.open(index_path).read(0, size)
    return with_index(index_path, text, paths, limits)


def _read_header(file: RangeSource, limits: Limits) -> Header:
    data = file.read(0, min(file.size, _FIRST_READ_BYTES))
    wanted = PREFIX_BYTES + header_length(
        data[:PREFIX_BYTES], path=file.path, file_size=file.size, limits=limits
    )
    if wanted > len(data):
        data += file.read(len(data), wanted - len(data))
    return parse_header(data, path=file.path, file_size=file.size, limits=limits)


def _merge(
    headers: Mapping[str, Header], shards: set[str], limits: Limits
) -> dict[str, TensorInfo]:
    """All tensors by name; parts in folders are told apart by their folder."""
    found: dict[str, TensorInfo] = {}
    for path, header in headers.items():
        in_folder = "/" in path and path not in shards
        folder = path.rpartition("/")[0] + "/" if in_folder else ""
        for info in header.tensors:
            name = folder + info.name
            if name in found:
                raise ArtifactError(
                    f"tensor {quote(name)} is in {quote(found[name].path)} and in "
                    f"{quote(path)}, wanted one of them; servers disagree on which "
                    "counts",
                    reason="DuplicateTensor",
                    path=path,
                )
            found[name] = replace(info, name=name) if folder else info
    if len(found) > limits.tensors_max:
        raise ArtifactError(
            f"model has {len(found)} tensors, allowed are {limits.tensors_max}",
            reason="LimitExceeded",
        )
    if not found:
        raise ArtifactError(
            f"weight files {quote(sorted(headers))} hold no tensor, wanted weights",
            reason="NoReadableWeights",
            path=next(iter(headers)),
        )
    return dict(sorted(found.items()))
