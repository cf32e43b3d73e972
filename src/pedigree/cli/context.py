# SPDX-License-Identifier: Apache-2.0
"""The eight context signals of models named on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pedigree.cli.models import Subject
from pedigree.cli.progress import byte_progress

if TYPE_CHECKING:
    from pedigree.lineage.context.features import ContextFeatures
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
    left, right = features_of(a, asked=True), features_of(b, asked=True)
    if left is None or right is None:
        return ()
    from pedigree.lineage.context.features import context_signals

    return context_signals(left, right)


def features_of(subject: Subject, *, asked: bool) -> ContextFeatures | None:
    """What the signals look at; None if not asked for or there are no files.

    Args:
        subject: A model.
        asked: Whether to read it if it is not small.

    Raises:
        SourceError: The bytes could not be had.
    """
    if subject.source is None or subject.checkpoint is None:
        return None
    if not asked and not _is_small(subject):
        return None
    # Loaded only if needed: comparing two large models takes hardly longer.
    from pedigree.lineage.context.features import read_features

    with byte_progress(f"context of {subject.name}") as progress:
        return read_features(subject.source, subject.checkpoint, progress=progress)


def _is_small(subject: Subject) -> bool:
    if subject.checkpoint is None:
        return False
    tensors = subject.checkpoint.tensors.values()
    return sum(info.nbytes for info in tensors) <= SMALL_BYTES


def signal_dicts(signals: Iterable[ContextSignal]) -> list[dict[str, Any]]:
    """JSON form."""
    return [
        {
            "name": signal.name,
            "value": signal.value,
            "reason": str(signal.reason) if signal.reason else "",
            "detail": signal.detail,
        }
        for signal in signals
    ]


def signal_row(signals: Iterable[ContextSignal]) -> list[str]:
    """Their values for a table."""
    return ["-" if s.value is None else f"{s.value:.4f}" for s in signals]
