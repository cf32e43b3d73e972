# SPDX-License-Identifier: Apache-2.0
"""What is worth telling about a model's files and does not prevent reading them."""

from __future__ import annotations

from dataclasses import dataclass

INFO = "Info"
WARNING = "Warning"
ERROR = "Error"


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing worth telling; becomes a finding of the evidence.

    Attributes:
        reason: Stable CamelCase token.
        path: File it is about; may be empty.
        message: Sentence for people.
        severity: ``INFO``, ``WARNING`` or ``ERROR``.
    """

    reason: str
    path: str
    message: str
    severity: str = WARNING


@dataclass(frozen=True, slots=True)
class Declared:
    """Something a model's own files say about it; becomes a claim of the evidence.

    Attributes:
        field: Such as ``baseModel``; see :mod:`pedigree.examine.claims.fields`.
        value: What is declared.
        source: The file that declares it.
    """

    field: str
    value: str
    source: str
