# SPDX-License-Identifier: Apache-2.0
"""Weights of a model that a command did not compare, told beside its answer.

An answer about a part of a model must not be taken for one about all of it: a server
may load the other part.  The gate holds such models (`docs/policy.md`, ancestors); who
asks ``scan`` or ``compare`` gets the same facts as warnings.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pedigree.cli.render import visible

if TYPE_CHECKING:
    from pedigree.ranges import ModelSource
    from pedigree.tensors.checkpoint import Checkpoint
    from pedigree.tensors.remarks import Remark

SHOWN_MAX = 3
_BESIDE = "UnreadWeights"
"""As :data:`pedigree.evidence.terms.UNREAD_WEIGHTS`, which takes long to load."""


def unread_of(source: ModelSource, checkpoint: Checkpoint) -> tuple[Remark, ...]:
    """What of a model's weights was not read, and so not compared.

    Args:
        source: The model's files.
        checkpoint: Its weights, as they were opened.
    """
    from pedigree.examine.listing import unread_formats

    beside = (x for x in checkpoint.remarks if x.reason == _BESIDE)
    return (*unread_formats(entry.path for entry in source.files()), *beside)


def warn_of(name: str, unread: Sequence[Remark]) -> None:
    """Lines on stderr, also where the answer goes to a program."""
    for remark in unread[:SHOWN_MAX]:
        text = f"warning: {name}: {remark.reason}: {remark.message}"
        sys.stderr.write(visible(text) + "\n")
    if len(unread) > SHOWN_MAX:
        left = len(unread) - SHOWN_MAX
        sys.stderr.write(visible(f"warning: {name}: and {left} more") + "\n")
