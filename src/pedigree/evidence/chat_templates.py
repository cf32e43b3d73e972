# SPDX-License-Identifier: Apache-2.0
"""What evidence tells of a model's chat templates, and whether it tells all of them.

A template that is left out must not look like one that is not there: a model could
bring many, or names that leave no room, to hide the one it is served with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pedigree.digests import Digest
from pedigree.evidence.terms import Claim

CHAT_TEMPLATE = "chatTemplate"
"""Field of the claims that hold the digest of a template."""
TEMPLATES_TOLD_MAX = 4
"""Templates told of one model; a model has one, rarely three."""
MORE = "more"
"""Value of the claim that says that there are more than are told."""


@dataclass(frozen=True, slots=True)
class ChatTemplates:
    """The chat templates of one model.

    Attributes:
        told: One claim for each; its value is the digest, its source the place.
        complete: Whether there are no others.
    """

    told: tuple[Claim, ...]
    complete: bool

    @property
    def digests(self) -> tuple[str, ...] | None:
        """Every digest, sorted; None where some are not told."""
        if not self.complete:
            return None
        return tuple(sorted({claim.value for claim in self.told}))


def chat_templates(claims: Iterable[Claim]) -> ChatTemplates:
    """The chat templates among the claims of evidence.

    What is no digest counts as a template that is not told.
    """
    found = [claim for claim in claims if claim.field == CHAT_TEMPLATE]
    told = tuple(claim for claim in found if _is_digest(claim.value))
    complete = len(told) == len(found) <= TEMPLATES_TOLD_MAX
    return ChatTemplates(told, complete)


def _is_digest(text: str) -> bool:
    try:
        Digest.parse(text)
    except ValueError:
        return False
    return True
