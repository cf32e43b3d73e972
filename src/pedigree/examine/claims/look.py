# SPDX-License-Identifier: Apache-2.0
"""What the files declare and where they disagree, in one call."""

from __future__ import annotations

from pedigree.examine.claims.agreement import disagreements
from pedigree.examine.claims.reading import read_declarations
from pedigree.examine.seen import Facts, Seen


def facts(seen: Seen) -> Facts:
    """What the files declare, and which of them disagree.

    Raises:
        SourceError: The bytes could not be had.
    """
    declared, remarks = read_declarations(seen.source, seen.limits, seen.metadata)
    return Facts(
        declared=tuple(declared),
        remarks=(*remarks, *disagreements(declared)),
    )
