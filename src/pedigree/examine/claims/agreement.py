# SPDX-License-Identifier: Apache-2.0
"""Files of one model that declare different things of it.

Only what can be compared exactly is: licences and architectures that are known here,
base models that are named like ``org/name``.  Everything else is unknown, and unknown
is no contradiction.

A GGUF file carries the base of the model that was converted, a card of the converted
model names that model itself.  So the two differ in sound models, and are compared
only if the card says a relation other than ``quantized``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from pedigree.errors import quote
from pedigree.evidence.licences import known_licence
from pedigree.examine.claims.card import CARD
from pedigree.examine.claims.classes import GGUF_NAMES, gguf_of
from pedigree.examine.claims.configs import ADAPTER_CONFIG, CONFIG
from pedigree.examine.claims.fields import Field
from pedigree.examine.claims.gguf import SUFFIX
from pedigree.policy.references import plain_name
from pedigree.tensors.remarks import Declared, Remark

REASON = "DeclarationsDisagree"
_REPOSITORY = re.compile(r"[^\s/:]+/[^\s/:]+")
"""A name of the Hub's form; paths and titles are not compared."""


def disagreements(declared: Sequence[Declared]) -> Iterator[Remark]:
    """Pairs of files that cannot both be right, one remark for each field.

    Args:
        declared: Everything that the files declare.
    """
    yield from _between(declared, Field.LICENSE, _licence, "licence")
    yield from _bases(declared)
    yield from _architectures(declared)


def _licence(value: str) -> str:
    known = known_licence(value)
    return known.id if known is not None else ""


def repository(value: str) -> str:
    """A base model's name in the form of the Hub, or empty if it has another form."""
    name = plain_name(value)
    local = value.strip().startswith((".", "/", "~", "\\"))
    return name if _REPOSITORY.fullmatch(name) and not local else ""


def _bases(declared: Sequence[Declared]) -> Iterator[Remark]:
    relations = {
        item.value.casefold()
        for item in declared
        if item.field == Field.RELATION and item.source == CARD
    }
    comparable = bool(relations) and "quantized" not in relations
    kept = [
        item
        for item in declared
        if item.source in (CARD, ADAPTER_CONFIG)
        or (comparable and item.source.lower().endswith(SUFFIX))
    ]
    yield from _between(kept, Field.BASE_MODEL, repository, "base model")


def _between(
    declared: Sequence[Declared], field: Field, means: Callable[[str], str], what: str
) -> Iterator[Remark]:
    """The first two files whose known values have nothing in common."""
    told: dict[str, list[Declared]] = {}
    for item in declared:
        if item.field == field and means(item.value):
            told.setdefault(item.source, []).append(item)
    files = list(told.items())
    for index, (first, here) in enumerate(files):
        for second, there in files[index + 1 :]:
            if not {means(x.value) for x in here} & {means(x.value) for x in there}:
                yield _remark(what, first, here[0].value, second, there[0].value)
                return


def _architectures(declared: Sequence[Declared]) -> Iterator[Remark]:
    """A class of a configuration, and what GGUF calls models of it."""
    told = [item for item in declared if item.field == Field.ARCHITECTURE]
    here = [item for item in told if item.source == CONFIG]
    called = {gguf_of(item.value) for item in here}
    if not called or "" in called:
        return
    for item in told:
        known = item.source.lower().endswith(SUFFIX) and item.value in GGUF_NAMES
        if known and item.value not in called:
            yield _remark(
                "architecture", CONFIG, here[0].value, item.source, item.value
            )
            return


def _remark(what: str, first: str, value: str, second: str, other: str) -> Remark:
    return Remark(
        REASON,
        second,
        f"{quote(first, 80)} declares the {what} {quote(value, 80)}, but "
        f"{quote(second, 80)} declares {quote(other, 80)}; ask the "
        "publisher which holds",
    )
