# SPDX-License-Identifier: Apache-2.0
"""Facts that follow from the files of a model beside its weights.

Each gatherer looks at one side of what an examination has seen and reads what it needs
more; none knows of another.  Wrong bytes are remarks; only a source that fails ends an
examination.
"""

from __future__ import annotations

from collections.abc import Callable

from pedigree.examine.claims import look as claims
from pedigree.examine.claims.fields import by_weight
from pedigree.examine.safety import look as safety
from pedigree.examine.seen import Facts, Seen

__all__ = ["GATHERERS", "Facts", "Seen", "gather"]

GATHERERS: tuple[Callable[[Seen], Facts], ...] = (claims.facts, safety.facts)
"""Every look, in the order in which their facts are told."""


def gather(seen: Seen) -> Facts:
    """All facts of all gatherers, each told once; declarations by their weight.

    Raises:
        SourceError: The bytes could not be had.
    """
    found = [look(seen) for look in GATHERERS]
    return Facts(
        declared=tuple(by_weight(d for facts in found for d in facts.declared)),
        remarks=tuple(dict.fromkeys(r for facts in found for r in facts.remarks)),
    )
