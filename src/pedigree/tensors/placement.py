# SPDX-License-Identifier: Apache-2.0
"""Whether the index and the headers of a model's weight files agree."""

from __future__ import annotations

from collections.abc import Mapping

from pedigree.errors import ArtifactError, quote
from pedigree.tensors.dtypes import DTYPES
from pedigree.tensors.layout import Header, TensorInfo
from pedigree.tensors.remarks import ERROR, INFO, Remark
from pedigree.tensors.shards import WeightFiles


def check_placement(weights: WeightFiles, tensors: Mapping[str, TensorInfo]) -> None:
    """Refuse an index that places tensors where they are not.

    Raises:
        ArtifactError: Header and index disagree (``MissingTensor``).
    """
    for name, shard in weights.placement.items():
        info = tensors.get(name)
        if info is None or info.path != shard:
            place = f"it is in {quote(info.path)}" if info else "no shard has it"
            raise ArtifactError(
                f"index {quote(weights.index_path)} places tensor {quote(name)} in "
                f"{quote(shard)}, but {place}; the index belongs to other shards",
                reason="MissingTensor",
                path=shard,
            )


def opening_remarks(
    weights: WeightFiles,
    headers: Mapping[str, Header],
    tensors: Mapping[str, TensorInfo],
) -> list[Remark]:
    """What is worth telling about weight files that can be read."""
    remarks = [
        Remark(
            "UnreadWeights",
            path,
            f"weights in {quote(path)} were not compared, for the model's own do not "
            "include them; remove the file or publish it as a model of its own",
            ERROR,
        )
        for path in weights.unread
    ]
    if weights.placement:
        unlisted = [
            name
            for name, info in tensors.items()
            if name not in weights.placement and info.path in weights.placement.values()
        ]
        if unlisted:
            remarks.append(
                Remark(
                    "UnlistedTensors",
                    weights.index_path,
                    f"index does not name {len(unlisted)} tensors of its shards, "
                    f"such as {quote(unlisted[0])}; they were compared too",
                )
            )
    crooked = sum(
        _is_crooked(info) for header in headers.values() for info in header.tensors
    )
    if crooked:
        remarks.append(
            Remark(
                "MisalignedTensors",
                weights.paths[0],
                f"{crooked} tensors do not begin at a multiple of their type's size; "
                "some readers refuse or copy them",
                INFO,
            )
        )
    return remarks


def _is_crooked(info: TensorInfo) -> bool:
    size = DTYPES[info.dtype].bits // 8
    return size > 1 and info.begin % size != 0
