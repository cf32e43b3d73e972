# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest
from bench.genealogy import Truth, truth
from bench.machine import interval
from bench.relations import expected
from bench.scores import roc, summary

ZOO: dict[str, Any] = {
    "base": {"parents": []},
    "other": {"parents": []},
    "child": {"parents": ["base"], "linked": True},
    "grandchild": {"parents": ["child"], "linked": True},
    "sibling": {"parents": ["base"], "linked": True},
    "student": {"parents": ["base"], "linked": "distilled"},
    "twin": {"parents": ["base"], "linked": "shared-init"},
    "copy": {"parents": ["child"], "linked": True, "sameValues": True},
    "merge": {"parents": ["child", "other"], "linked": True},
}


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ("base", "grandchild", Truth.DERIVED),
        ("grandchild", "sibling", Truth.SIBLINGS),
        ("copy", "child", Truth.IDENTICAL),
        ("copy", "grandchild", Truth.DERIVED),
        ("copy", "base", Truth.DERIVED),
        ("student", "base", Truth.INDEPENDENT),
        ("student", "twin", Truth.INDEPENDENT),
        ("twin", "base", Truth.SHARED_INIT),
        ("twin", "grandchild", Truth.SHARED_INIT),
        ("merge", "other", Truth.DERIVED),
        ("merge", "base", Truth.DERIVED),
        ("base", "other", Truth.INDEPENDENT),
    ],
)
def test_the_truth_of_two_models_follows_from_their_parents(
    a: str, b: str, wanted: Truth
) -> None:
    assert truth(a, b, ZOO) == truth(b, a, ZOO) == wanted


def test_intervals_are_those_of_clopper_and_pearson() -> None:
    assert interval(10, 10) == [0.69150, 1.0]  # 0.025 ** (1 / 10)
    assert interval(0, 10) == [0.0, 0.30850]
    assert interval(5, 10) == [0.18709, 0.81291]
    assert interval(0, 0) is None


def pair(a: str, b: str, verdict: str, log10_p: float) -> dict[str, Any]:
    return {
        "a": a,
        "b": b,
        "truth": str(truth(a, b, ZOO)),
        "kind": "as given",
        "verdict": verdict,
        "relation": "",
        "relations": ["FineTuned"],
        "direction": "a-to-b",
        "reason": "",
        "log10P": log10_p,
        "seconds": 0.01,
    }


def test_the_area_counts_pairs_in_the_right_order() -> None:
    good = [{"log10P": -50.0}, {"log10P": -1.0}]
    bad = [{"log10P": 0.0}, {"log10P": -1.0}, {"log10P": -2.0}]
    found = roc(good, bad)
    assert found["area"] == pytest.approx((3 + 1.5) / 6)
    assert found["trueRateWithoutFalse"] == 0.5


def test_every_wrong_class_is_listed_by_name() -> None:
    pairs = [
        pair("base", "child", "Derived", -80),
        pair("base", "grandchild", "NoEvidence", -2),
        pair("base", "other", "Derived", -7),
        pair("base", "twin", "SharedInit", -30),
        pair("other", "child", "NoEvidence", 0),
        pair("other", "grandchild", "NoEvidence", -3),
    ]
    found = summary(pairs, ZOO)
    assert [row[:2] for row in found["exceptions"]] == [
        ["base", "grandchild"],
        ["base", "other"],
    ]
    assert found["related"]["count"] == 1
    assert found["independent"]["count"] == 1
    assert found["independent"]["significant"] == 1
    assert found["sharedInit"]["count"] == 1
    assert found["relations"]["directions"] == {
        "right": 2,
        "undirected": 0,
        "wrong": 0,
    }
    assert found["bases"]["wrong"] == [["grandchild", "other", -3]]


@pytest.mark.parametrize(
    ("facts", "kinds"),
    [
        ({"how": "50% magnitude pruning and recovery"}, {"Pruned"}),
        ({"how": "MLP width pruned to half, healed"}, {"WidthPruned"}),
        (
            {"how": "vocabulary rebuilt and continued pretraining"},
            {"VocabularyChanged"},
        ),
        ({"how": "trained from scratch on code"}, set()),
        (
            {"how": "drop=1+launder+int4", "variantOf": "x"},
            {"LayersDropped", "Laundered", "Quantised"},
        ),
        ({"how": "linear=0.5+launder", "variantOf": "x"}, set()),
    ],
)
def test_the_kind_of_descent_follows_from_how_a_model_was_made(
    facts: dict[str, str], kinds: set[str]
) -> None:
    assert expected(facts) == kinds
