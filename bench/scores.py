# SPDX-License-Identifier: Apache-2.0
"""Counts, intervals and ROC points of verdicts whose truth is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bench.engine import RELATED
from bench.genealogy import EXPECTED, Truth, ancestors, is_base
from bench.machine import interval
from bench.relations import relation_summary

Pair = Mapping[str, Any]


def summary(pairs: Sequence[Pair], zoo: Mapping[str, Any]) -> dict[str, Any]:
    """All that is counted of the pairs of a zoo."""
    related = [pair for pair in pairs if Truth(pair["truth"]).related]
    apart = [pair for pair in pairs if pair["truth"] == Truth.INDEPENDENT]
    twins = [pair for pair in pairs if pair["truth"] == Truth.SHARED_INIT]
    significant = [pair for pair in apart if pair["log10P"] <= -6]
    return {
        "related": _share(related, lambda pair: pair["verdict"] in RELATED),
        "rightClass": _share(related, _right),
        "independent": {
            **_share(apart, lambda pair: pair["verdict"] in (*RELATED, "SharedInit")),
            "significant": len(significant),
            "smallestLog10P": min((pair["log10P"] for pair in apart), default=0),
        },
        "sharedInit": _share(twins, _right),
        "verdictsByTruth": {
            kind: Counter(p["verdict"] for p in pairs if p["truth"] == kind)
            for kind in Truth
        },
        "byKind": _by_kind(related),
        "bases": _bases(pairs, zoo),
        "relations": relation_summary(pairs, zoo),
        "roc": roc(related, apart),
        "exceptions": _exceptions(pairs),
        "secondsPerComparison": _mean([pair["seconds"] for pair in pairs]),
    }


def _right(pair: Pair) -> bool:
    return pair["verdict"] in EXPECTED[Truth(pair["truth"])]


def _share(pairs: Sequence[Pair], hit: Any) -> dict[str, Any]:
    count = sum(1 for pair in pairs if hit(pair))
    return {
        "pairs": len(pairs),
        "count": count,
        "interval95": interval(count, len(pairs)),
    }


def _by_kind(related: Sequence[Pair]) -> dict[str, Any]:
    """Detection by the change that made the second model."""
    kinds: dict[str, list[Pair]] = {}
    for pair in related:
        kinds.setdefault(pair["kind"], []).append(pair)
    return {
        kind: {
            **_share(mine, lambda pair: pair["verdict"] in RELATED),
            "rightClass": sum(1 for pair in mine if _right(pair)),
            "weakestLog10P": max(pair["log10P"] for pair in mine),
        }
        for kind, mine in sorted(kinds.items())
    }


def _bases(pairs: Sequence[Pair], zoo: Mapping[str, Any]) -> dict[str, Any]:
    """Is a descendant's own base the one with the smallest p-value?"""
    found: dict[str, dict[str, float]] = {}
    for pair in pairs:
        for base, other in ((pair["a"], pair["b"]), (pair["b"], pair["a"])):
            if is_base(base, zoo) and not is_base(other, zoo):
                found.setdefault(other, {})[base] = pair["log10P"]
    wrong = []
    for name, scores in found.items():
        own = ancestors(name, zoo) & set(scores)
        strongest = min(scores, key=lambda base: scores[base])
        if own and (strongest not in own or scores[strongest] >= 0):
            wrong.append([name, strongest, scores[strongest]])
    asked = [name for name in found if ancestors(name, zoo) & set(found[name])]
    return {
        "models": len(asked),
        "ownBaseFirst": len(asked) - len(wrong),
        "wrong": wrong,
    }


def roc(related: Sequence[Pair], apart: Sequence[Pair]) -> dict[str, Any]:
    """Area under the curve of -log10 p, and its corners (rate false, rate true, p).

    The area is the share of (related, independent) pairs in the right order, ties half.
    """
    good = sorted(pair["log10P"] for pair in related)
    bad = sorted(pair["log10P"] for pair in apart)
    if not good or not bad:
        return {"area": None, "points": []}
    area = 0.0
    for score in good:
        below = sum(1 for other in bad if other < score)
        equal = sum(1 for other in bad if other == score)
        area += len(bad) - below - equal / 2
    points = []
    for limit in (0, -1, -2, -3, -4, -6, -8, -12, -20, -50, -100):
        false = sum(1 for score in bad if score <= limit) / len(bad)
        true = sum(1 for score in good if score <= limit) / len(good)
        points.append([limit, round(false, 5), round(true, 5)])
    return {
        "area": round(area / len(good) / len(bad), 6),
        "points": points,
        "trueRateWithoutFalse": round(
            sum(1 for score in good if score < bad[0]) / len(good), 5
        ),
    }


def _exceptions(pairs: Sequence[Pair]) -> list[list[Any]]:
    """Every pair whose class is not right, by name."""
    return [
        [
            pair["a"],
            pair["b"],
            pair["truth"],
            pair["verdict"],
            pair["relation"] or pair["reason"],
            pair["log10P"],
        ]
        for pair in pairs
        if not _right(pair)
    ]


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(1, len(values)), 4)
