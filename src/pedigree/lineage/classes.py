# SPDX-License-Identifier: Apache-2.0
"""The words lineage is told in.  No numerics here: admission imports this."""

from __future__ import annotations

from enum import StrEnum


class LineageClass(StrEnum):
    """What two models are to each other, as their weights tell it."""

    IDENTICAL = "Identical"
    """The same weights, whatever the files are called or how they are split."""
    DERIVED = "Derived"
    """One descends from the other, or both from a third that was not looked at."""
    COMMON_ANCESTOR = "CommonAncestor"
    """Both descend from a third, and B does not descend from A.  Said by scans only."""
    SHARED_INIT = "SharedInit"
    """Trained apart from one random initialisation."""
    NO_EVIDENCE = "NoEvidence"
    """No test found dependence; what would have been seen is stated."""
    INCONCLUSIVE = "Inconclusive"
    """The tests could not be run, with the reason."""

    @property
    def descends(self) -> bool:
        """Whether the class puts a model under a reference."""
        return self in (LineageClass.IDENTICAL, LineageClass.DERIVED)


class Direction(StrEnum):
    """Which way descent runs, where the weights tell."""

    UNDIRECTED = "undirected"
    A_TO_B = "a-to-b"
    B_TO_A = "b-to-a"
