# SPDX-License-Identifier: Apache-2.0
"""The order in which the kit meets tensors, on which two of its signals depend.

It loads shards by name and the tensors of each by place in the file.  Models above 20
GB it reads otherwise: by name, and 32 rows of each matrix only.
"""

from __future__ import annotations

import re

from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.layout import TensorInfo

SAMPLED_ABOVE_BYTES = 20_000_000_000
SAMPLED_ROWS = 32
_LAYER = re.compile(r"(?:layers?|h|block)\.\s*(\d{1,6})\.")


def is_sampled(checkpoint: Checkpoint) -> bool:
    """Whether the kit would read only rows of this model."""
    size = sum(info.nbytes for info in checkpoint.tensors.values())
    return size > SAMPLED_ABOVE_BYTES


def kit_order(checkpoint: Checkpoint) -> list[TensorInfo]:
    """All tensors, as the kit would meet them."""
    return sorted(checkpoint.tensors.values(), key=lambda info: (info.path, info.begin))


def layer_of(name: str) -> int | None:
    """Layer that the kit reads out of a tensor's name; None if none."""
    match = _LAYER.search(name)
    return int(match.group(1)) if match else None
