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

from collections.abc import Callable, Iterator, Sequence

from pedigree.errors import quote
from pedigree.evidence.licences import known_licence
from pedigree.examine.claims.card import CARD
from pedigree.examine.claims.classes import GGUF_NAMES, gguf_of
from pedigree.examine.claims.configs import ADAPTER_CONFIG, CONFIG
from pedigree.examine.claims.fields import Field
from pedigree.examine.claims.gguf import SUFFIX
from pedigree.examine.claims.names import repository
from pedigree.tensors.remarks import Declared, Remark

REASON = "DeclarationsDisagree"


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


def _bases(declared: Sequence[Declared]) -> Iterator[Remark]:
    """One remark at most: of the model's own base, else of adapters among themselves.

    An adapter beside a model may be trained on that model, whose card names another.
    """
    adapters = [
        Declared(Field.BASE_MODEL.value, item.value, item.source)
        for item in declared
        if item.field in (Field.BASE_MODEL, Field.ADAPTER_BASE)
        and _is_adapter(item.source)
    ]
    for told in (_own_bases(declared), adapters):
        found = list(_between(told, Field.BASE_MODEL, repository, "base model"))
        if found:
            yield found[0]
            return


def _is_adapter(source: str) -> bool:
    return source.rpartition("/")[2] == ADAPTER_CONFIG


def _own_bases(declared: Sequence[Declared]) -> list[Declared]:
    relations = {
        item.value.casefold()
        for item in declared
        if item.field == Field.RELATION and item.source == CARD
    }
    comparable = bool(relations) and "quantized" not in relations
    return [
        item
        for item in declared
        if item.source == CARD
        or _is_adapter(item.source)
        or (comparable and item.source.lower().endswith(SUFFIX))
    ]


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
