# SPDX-License-Identifier: Apache-2.0
"""What an examination has seen, and what a look at it gives.

Apart from :mod:`pedigree.examine.facts`, which names every look, so that looks can
import this and be imported there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pedigree.examine.listing import Listing
from pedigree.limits import Limits
from pedigree.ranges import ModelSource
from pedigree.tensors.remarks import Declared, Remark


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What an examination has when the weights are read.

    Attributes:
        source: The model.
        listing: Its files, hashed.
        metadata: What each file of weights says of itself (safetensors
            ``__metadata__``, GGUF keys), by path; empty if none could be read.
        limits: Bounds.
    """

    source: ModelSource
    listing: Listing
    metadata: Mapping[str, Mapping[str, str]]
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one look gave.

    Attributes:
        declared: What the files declare.
        remarks: What is noteworthy.
    """

    declared: tuple[Declared, ...] = ()
    remarks: tuple[Remark, ...] = ()
