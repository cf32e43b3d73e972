# SPDX-License-Identifier: Apache-2.0
"""Is the kind of descent told right, and which way it runs?

What should be told follows from how a model was made: the words of a ``zoo.json``, or
the steps of a variant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.genealogy import Truth, ancestors
from bench.machine import interval
from bench.variants.catalogue import STEPS, parse

WORDS = {
    "(not merged)": "Adapter",
    "LoRA r=8, merged": "LoraMerged",
    "pruning": "Pruned",
    "half pruned": "Pruned",
    "width pruned": "WidthPruned",
    "dropped": "LayersDropped",
    "upcycled": "Upcycled",
    "vocabulary": "VocabularyChanged",
    "continued pretraining": "ContinuedPretraining",
    "continued as long": "ContinuedPretraining",
    "fine-tun": "FineTuned",
}
"""In a ``zoo.json``; the first that occurs."""
STEP_RELATIONS = {
    "launder": "Laundered",
    "int8": "Quantised",
    "int4": "Quantised",
    "int4-rows": "Quantised",
    "fp8": "Quantised",
    "fp8-scaled": "Quantised",
    "prune": "Pruned",
    "drop": "LayersDropped",
    "duplicate": "DepthUpscaled",
    "prune-neurons": "WidthPruned",
    "upcycle": "Upcycled",
}
"""Of steps that have a name of their own."""


def expected(facts: Mapping[str, Any]) -> set[str]:
    """Kinds that should be told of a model and its parent; empty if none is sure."""
    how = str(facts.get("how", ""))
    if "variantOf" not in facts:
        told = [kind for word, kind in WORDS.items() if word in how]
        return set(told[:1])
    steps = [name for name, _ in parse(how)]
    if any(STEPS[name].others for name in steps):
        return set()  # a merge shows with all of its parents only
    return {STEP_RELATIONS[name] for name in steps if name in STEP_RELATIONS}


def relation_summary(
    pairs: Sequence[Mapping[str, Any]], zoo: Mapping[str, Any]
) -> dict[str, Any]:
    """Kinds by kind, and directions, of models and their direct parents."""
    kinds: dict[str, list[bool]] = {}
    wrong: list[list[Any]] = []
    directions = {"right": 0, "undirected": 0, "wrong": 0}
    against: list[list[str]] = []
    for pair in pairs:
        a, b = pair["a"], pair["b"]
        if pair["truth"] != Truth.DERIVED:
            continue
        up = "a-to-b" if a in ancestors(b, zoo) else "b-to-a"
        told = pair["direction"]
        key = "undirected" if told == "undirected" else "wrong"
        directions["right" if told == up else key] += 1
        if told not in (up, "undirected"):
            against.append([a, b, told])
        child, parent = (b, a) if up == "a-to-b" else (a, b)
        if zoo[child].get("parents") != [parent]:
            continue
        for kind in sorted(expected(zoo[child])):
            right = kind in pair["relations"]
            kinds.setdefault(kind, []).append(right)
            if not right:
                wrong.append([parent, child, kind, pair["relations"]])
    return {
        "kinds": {
            kind: {
                "pairs": len(hits),
                "told": sum(hits),
                "interval95": interval(sum(hits), len(hits)),
            }
            for kind, hits in sorted(kinds.items())
        },
        "notTold": wrong,
        "directions": directions,
        "directionsWrong": against,
    }
