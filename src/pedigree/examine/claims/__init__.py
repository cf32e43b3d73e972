# SPDX-License-Identifier: Apache-2.0
"""What a model's files declare of it, and where that cannot be true.

One module for each kind of file; :mod:`pedigree.examine.claims.reading` has them all.
"""

from pedigree.examine.claims.against_weights import contradictions
from pedigree.examine.claims.agreement import disagreements
from pedigree.examine.claims.fields import Field
from pedigree.examine.claims.reading import read_declarations
from pedigree.examine.seen import Facts, Seen

__all__ = ["Field", "contradictions", "facts", "read_declarations"]


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
