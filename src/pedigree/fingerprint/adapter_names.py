# SPDX-License-Identifier: Apache-2.0
"""Which matrices of a base model the factors of an adapter change.

Names as PEFT writes them: ``base_model.model.<module>.lora_A.weight``, or with the
adapter's own name before ``weight``.  The change is ``B @ A``, of shape (out, in); for
modules stored transposed, as GPT-2's, it is turned when added.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pedigree.fingerprint.layouts import Shape
from pedigree.fingerprint.roles import Family
from pedigree.fingerprint.slots import Role

_FACTOR = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])"
    r"(?:\.[^.]{1,64})?\.weight",
    re.DOTALL,
)
_MAGNITUDE = ".lora_magnitude_vector"
_FUSED = {3: Role.QKV, 2: Role.GATE_UP}


@dataclass(frozen=True, slots=True)
class AdapterModules:
    """The modules of an adapter.

    Attributes:
        factors: By layer and role, the names of A, shape (r, in), and B, (out, r).
            Fused matrices have the role QKV or GATE_UP.
        family: Of the names.
        notes: Keys of :data:`~pedigree.fingerprint.slots.NOTES`, sorted.
    """

    factors: Mapping[tuple[int, Role], tuple[str, str]]
    family: str = ""
    notes: tuple[str, ...] = ()


def adapter_modules(
    shapes: Mapping[str, Shape], families: Iterable[Family]
) -> AdapterModules:
    """Bring an adapter's factors to the roles of the matrices they change.

    Args:
        shapes: Shape of every stored tensor by name.
        families: Tried in order; the one that knows most modules is taken.

    Returns:
        Only whole pairs whose ranks agree; none when no family knows the modules.
    """
    pairs = dict(_pairs(shapes))
    best = AdapterModules({})
    for family in families:
        found = _apply(family, pairs)
        if len(found.factors) > len(best.factors):
            best = found
    notes = set(best.notes)
    if any(_MAGNITUDE in name for name in shapes):
        notes.add("DoraMagnitude")
    return AdapterModules(best.factors, best.family, tuple(sorted(notes)))


def _pairs(shapes: Mapping[str, Shape]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Module and the names of its factors."""
    sides: dict[str, dict[str, str]] = {}
    for name in sorted(shapes):
        match = _FACTOR.fullmatch(name)
        if match:
            sides.setdefault(match["module"], {}).setdefault(match["side"], name)
    for module, found in sides.items():
        if found.keys() != {"A", "B"}:
            continue
        a, b = shapes[found["A"]], shapes[found["B"]]
        if len(a) == len(b) == 2 and a[0] == b[1] and 0 not in (*a, *b):
            yield module, (found["A"], found["B"])


def _apply(family: Family, pairs: Mapping[str, tuple[str, str]]) -> AdapterModules:
    factors: dict[tuple[int, Role], tuple[str, str]] = {}
    notes = set()
    for module, names in pairs.items():
        found = family.find(module + ".weight")
        if found is None:
            continue
        if found.expert >= 0:
            notes.add("AdapterExperts")
            continue
        role = _FUSED.get(len(found.roles), found.roles[0])
        factors.setdefault((found.layer, role), names)
    return AdapterModules(factors, family.name if factors else "", tuple(sorted(notes)))
