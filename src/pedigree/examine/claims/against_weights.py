# SPDX-License-Identifier: Apache-2.0
"""Declarations that the weights themselves contradict, whatever they descend from.

Lineage is compared later, against references (:mod:`pedigree.policy.claims`).  Here
are architecture and number of weights, which every examination knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pedigree.errors import quote
from pedigree.examine.claims.classes import FAMILIES, family_of
from pedigree.examine.claims.configs import CONFIG
from pedigree.examine.claims.fields import Field
from pedigree.tensors.remarks import Declared, Remark

REASON = "DeclarationContradicted"
FACTOR = 2.0
"""How far a stated size may be off.  Names round, and count embeddings or not; a model
of another size differs by more.  Arbitrary."""
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*([kmbtq]?)", re.IGNORECASE)
_SCALES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12, "q": 10**15}


def contradictions(
    declared: Sequence[Declared], architecture: str, parameters: int
) -> Iterator[Remark]:
    """What the files declare and their weights contradict.

    Args:
        declared: Everything that the files declare.
        architecture: Family of the role map that fitted the weights, or empty.
        parameters: Number of weights read; 0 if unknown, and for an adapter.
    """
    classes = [
        item
        for item in declared
        if item.field == Field.ARCHITECTURE and item.source == CONFIG
    ]
    wanted = {family_of(item.value) for item in classes}
    if classes and "" not in wanted and architecture in FAMILIES - wanted:
        yield _remark(
            classes[0],
            "architecture",
            f"the tensors are named and shaped as in {architecture}",
        )
    for item in declared:
        size = _number(item.value) if item.field == Field.PARAMETERS else 0.0
        if size and parameters and not 1 / FACTOR <= parameters / size <= FACTOR:
            yield _remark(item, "size", f"there are {parameters:,} weights")
            return


def _number(text: str) -> float:
    """Number of weights in a text such as ``6.7B``; 0 if it is none."""
    found = _SIZE.fullmatch(text.strip())
    return float(found[1]) * _SCALES[found[2].lower()] if found else 0.0


def _remark(item: Declared, what: str, found: str) -> Remark:
    return Remark(
        REASON,
        item.source,
        f"{quote(item.source, 80)} declares the {what} {quote(item.value, 80)}, but "
        f"{found}",
    )
