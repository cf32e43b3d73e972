# SPDX-License-Identifier: Apache-2.0
"""The eight context signals of two models named on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pedigree.cli.models import Subject

if TYPE_CHECKING:
    from pedigree.lineage.context.features import ContextFeatures
    from pedigree.lineage.context.model import ContextSignal


def context_of(a: Subject, b: Subject, *, asked: bool) -> tuple[ContextSignal, ...]:
    """Signals of two models; what was not read says so.

    Small models are read whole for them, others only if somebody asked.  There is
    nothing for a stored fingerprint, which has no files.

    Args:
        a: First model.
        b: Second model.
        asked: Whether to read models of any size.

    Raises:
        SourceError: The bytes could not be had.
    """
    left, right = _features(a, asked=asked), _features(b, asked=asked)
    if left is None or right is None:
        return ()
    from pedigree.lineage.context.features import context_signals

    return context_signals(left, right)


def _features(subject: Subject, *, asked: bool) -> ContextFeatures | None:
    if subject.source is None or subject.checkpoint is None:
        return None
    from pedigree.lineage.context.features import default_cost, read_features
    from pedigree.lineage.context.model import Cost

    cost = Cost.EVERYTHING if asked else default_cost(subject.checkpoint)
    return read_features(subject.source, subject.checkpoint, cost)
