# SPDX-License-Identifier: Apache-2.0
"""Facts that follow from the files of a model beside its weights.

Each gatherer looks at one side of what an examination has seen and reads what it needs
more; none knows of another.  Wrong bytes are remarks; only a source that fails ends an
examination.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pedigree.examine.listing import Listing
from pedigree.limits import Limits
from pedigree.ranges import ModelSource
from pedigree.tensors.config import read_declarations
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


def declarations(seen: Seen) -> Facts:
    """What the files declare of the model.

    Raises:
        SourceError: The bytes could not be had.
    """
    declared, remarks = read_declarations(seen.source, seen.limits)
    return Facts(declared=tuple(declared), remarks=tuple(remarks))


GATHERERS: tuple[Callable[[Seen], Facts], ...] = (declarations,)
"""Every look, in the order in which their facts are told."""


def gather(seen: Seen) -> Facts:
    """All facts of all gatherers, each told once.

    Raises:
        SourceError: The bytes could not be had.
    """
    found = [look(seen) for look in GATHERERS]
    return Facts(
        declared=tuple(dict.fromkeys(d for facts in found for d in facts.declared)),
        remarks=tuple(dict.fromkeys(r for facts in found for r in facts.remarks)),
    )
