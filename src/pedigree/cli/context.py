# SPDX-License-Identifier: Apache-2.0
"""The eight context signals of two models named on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pedigree.cli.models import Subject

if TYPE_CHECKING:
    from pedigree.lineage.context.model import ContextSignal


SMALL_BYTES = 64 << 20
"""Two models of at most this many tensor bytes each are read whole unasked."""


def context_of(a: Subject, b: Subject, *, asked: bool) -> tuple[ContextSignal, ...]:
    """Signals of two models; nothing if they were not asked for or there are no files.

    Args:
        a: First model.
        b: Second model.
        asked: Whether to read models of any size.

    Raises:
        SourceError: The bytes could not be had.
    """
    if not asked and not (_is_small(a) and _is_small(b)):
        return ()
    # Loaded only if needed: comparing two large models takes hardly longer.
    from pedigree.lineage.context.features import context_signals, read_features

    features = [
        read_features(subject.source, subject.checkpoint)
        for subject in (a, b)
        if subject.source is not None and subject.checkpoint is not None
    ]
    return context_signals(*features) if len(features) == 2 else ()


def _is_small(subject: Subject) -> bool:
    if subject.checkpoint is None:
        return False
    tensors = subject.checkpoint.tensors.values()
    return sum(info.nbytes for info in tensors) <= SMALL_BYTES
