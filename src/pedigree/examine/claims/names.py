# SPDX-License-Identifier: Apache-2.0
"""Names of models that can be compared: those of the Hub's form."""

from __future__ import annotations

import re

from pedigree.policy.references import plain_name

_REPOSITORY = re.compile(r"[^\s/:]+/[^\s/:]+")
"""A name of the Hub's form; paths and titles are not compared."""
_DOI = re.compile(r"10\.[0-9]{4,9}/")
"""How a DOI begins, which may look like one (DOI Handbook, 2.2.2)."""


def repository(value: str) -> str:
    """A base model's name in the form of the Hub, or empty if it has another form."""
    name = plain_name(value)
    other = value.strip().startswith((".", "/", "~", "\\")) or _DOI.match(name)
    return name if _REPOSITORY.fullmatch(name) and not other else ""
