# SPDX-License-Identifier: Apache-2.0
"""From a model reference to evidence."""

from pedigree.examine.examination import (
    Examination,
    ExamineSettings,
    FingerprintStore,
    examine,
)
from pedigree.examine.listing import Progress

__all__ = [
    "Examination",
    "ExamineSettings",
    "FingerprintStore",
    "Progress",
    "examine",
]
