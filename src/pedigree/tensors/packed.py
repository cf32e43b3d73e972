# SPDX-License-Identifier: Apache-2.0
"""Quantised safetensors: one logical tensor for the stored tensors it is made of.

Formats without types of their own for packed numbers store a weight as several tensors:
packed integers, scales, zeros, an order.  Which belong together is told by their names
and shapes; what does not fit is left as it is stored, with a remark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pedigree.errors import ArtifactError, quote
from pedigree.tensors import (
    packed_awq,
    packed_bnb,
    packed_compressed,
    packed_fp4,
    packed_fp8,
    packed_gptq,
)
from pedigree.tensors.layout import TensorInfo, WeightSet
from pedigree.tensors.packed_groups import QWEIGHT
from pedigree.tensors.remarks import WARNING, Remark

Read = Callable[[TensorInfo], bytes]
Finder = Callable[
    [Mapping[str, TensorInfo], Mapping[str, Any], Read],
    list[tuple[TensorInfo, frozenset[str]]],
]
FINDERS: tuple[Finder, ...] = (
    packed_gptq.find,
    packed_awq.find,
    packed_bnb.find,
    packed_fp8.find,
    packed_compressed.find,
    packed_fp4.find,
)
"""Each gives logical tensors, and the names of the stored tensors each is made of."""

_LEFT = re.compile(r"(\.qweight|_blocks|\.weight_packed|\.SCB|\.weight\.absmax)\Z")
"""Ends of parts that mean nothing as they are stored, one for each weight."""
_READ_MAX_BYTES = 1 << 20
"""Stored tensors that a finder may read are descriptions of a layout."""


def decoded(weights: WeightSet, settings: Mapping[str, Any]) -> WeightSet:
    """Replace the parts of quantised tensors by the tensors they are made of.

    Args:
        weights: As opened; tensors as stored.
        settings: What the model says of its quantisation; hints only.

    Returns:
        The same weights where logical tensors have codings.  Parts that fit no layout
        stay, with one remark ``PackedWeightsNotRead``.

    Raises:
        ArtifactError: A description of a layout is refused by the module of the
            layout, or is too large (``LimitExceeded``).
        SourceError: The bytes could not be had.
    """
    stored = weights.tensors
    tensors = dict(stored)

    def read(info: TensorInfo) -> bytes:
        return _read_small(weights, info)

    for finder in FINDERS:
        for info, names in finder(stored, settings, read):
            free = info.name not in tensors or info.name in names
            if not free or any(tensors.get(name) is not stored[name] for name in names):
                continue  # another layout has its parts, or there is such a tensor
            for name in names:
                del tensors[name]
            tensors[info.name] = info
    return replace(
        weights,
        tensors=dict(sorted(tensors.items())),
        remarks=weights.remarks + _left(tensors, settings),
    )


def _read_small(weights: WeightSet, info: TensorInfo) -> bytes:
    if info.nbytes > _READ_MAX_BYTES:
        raise ArtifactError(
            f"tensor {quote(info.name)} describes how others are packed in "
            f"{info.nbytes} bytes, allowed are {_READ_MAX_BYTES}",
            reason="LimitExceeded",
            path=info.path,
        )
    return weights.files[info.path].read(info.begin, info.nbytes)


def _left(
    tensors: Mapping[str, TensorInfo], settings: Mapping[str, Any]
) -> tuple[Remark, ...]:
    """What is still packed; one remark, as a model may have 100,000 parts."""
    left = [name for name in tensors if _LEFT.search(name)]
    if not left:
        return ()
    first = next((name for name in left if name.endswith(QWEIGHT)), left[0])
    why = "its parts fit no layout that is read"
    if first.endswith(QWEIGHT):
        why = packed_gptq.why_not(tensors, first.removesuffix(QWEIGHT), settings)
    return (
        Remark(
            "PackedWeightsNotRead",
            tensors[first].path,
            f"{len(left)} packed weights are left as they are stored and are not "
            f"compared as weights; the first is {quote(first, 80)}: {why}",
            WARNING,
        ),
    )
