# SPDX-License-Identifier: Apache-2.0
"""Whether two models have the same chat template.

A template is a program and may carry instructions: weights that are a copy of the
base's with a template that is not are worth a look.  It never decides on lineage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pedigree.cli.models import Subject


class Sameness(StrEnum):
    """How the templates of two models stand to each other."""

    SAME = "Same"
    """Every template of one is a template of the other."""
    DIFFERENT = "Different"
    ONLY_A = "OnlyA"
    ONLY_B = "OnlyB"
    NONE = "None"
    """Neither has one."""
    NOT_COMPARED = "NotCompared"
    """One of them is a stored fingerprint, which has no template."""


@dataclass(frozen=True, slots=True)
class ComparedTemplates:
    """The templates of a pair.

    Attributes:
        sameness: How they stand to each other.
        a: Digest by place, of the first model.
        b: Of the second.
    """

    sameness: Sameness
    a: Mapping[str, str]
    b: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "sameness": str(self.sameness),
            "a": [{"source": k, "digest": v} for k, v in self.a.items()],
            "b": [{"source": k, "digest": v} for k, v in self.b.items()],
        }

    def line(self) -> str:
        """For people; empty where there is nothing to tell."""
        return {
            Sameness.SAME: "chat templates are the same",
            Sameness.DIFFERENT: f"chat templates differ: A {_short(self.a)}; "
            f"B {_short(self.b)}; read the difference before serving either",
            Sameness.ONLY_A: f"only A has a chat template: {_short(self.a)}",
            Sameness.ONLY_B: f"only B has a chat template: {_short(self.b)}",
        }.get(self.sameness, "")


def compared_templates(a: Subject, b: Subject) -> ComparedTemplates:
    """Compare the digests of all templates of two models.

    Raises:
        SourceError: The bytes could not be had.
    """
    if a.source is None or b.source is None:
        return ComparedTemplates(Sameness.NOT_COMPARED, {}, {})
    ours, theirs = _templates(a), _templates(b)
    if not ours or not theirs:
        sameness = (
            Sameness.ONLY_A if ours else Sameness.ONLY_B if theirs else Sameness.NONE
        )
    elif set(ours.values()) == set(theirs.values()):
        sameness = Sameness.SAME
    else:
        sameness = Sameness.DIFFERENT
    return ComparedTemplates(sameness, ours, theirs)


def _templates(subject: Subject) -> dict[str, str]:
    from pedigree.examine.safety.template_files import templates_of
    from pedigree.limits import DEFAULT

    metadata = subject.checkpoint.metadata if subject.checkpoint else {}
    return templates_of(subject.source, metadata, DEFAULT) if subject.source else {}


def _short(templates: Mapping[str, str]) -> str:
    shown = [f"{digest[:19]} in {place!r}" for place, digest in templates.items()]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" * (len(shown) > 3))
