# SPDX-License-Identifier: Apache-2.0
"""From a model reference to evidence.

What is offered here is loaded when it is first asked for: whoever only reads what a
model's files declare needs neither the hashing nor the signatures.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    """One of ``__all__``."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = "listing" if name == "Progress" else "examination"
    return getattr(import_module(f"pedigree.examine.{place}"), name)
