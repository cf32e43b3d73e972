# SPDX-License-Identifier: Apache-2.0
"""Family trees: cheapest arborescences, and a family of changed copies."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import made_models as made
from pedigree.lineage.arborescence import cheapest
from pedigree.lineage.tree import reconstruct
from pedigree.lineage.tree_text import document, dot, lines


@pytest.mark.parametrize("seed", range(20))
def test_the_arborescence_is_the_cheapest_there_is(seed: int) -> None:
    costs = np.random.default_rng(seed).random((4, 4))
    total, parents = cheapest(costs, 0)
    best = np.inf
    for chosen in product(range(4), repeat=3):
        pointers = [-1, *chosen]
        if any(p == c for c, p in enumerate(pointers)) or not _reaches(pointers):
            continue
        best = min(best, sum(costs[p, c] for c, p in enumerate(pointers) if p >= 0))
    assert total == pytest.approx(best)
    assert _reaches(parents)


def _reaches(parents: list[int]) -> bool:
    for start in range(len(parents)):
        node, steps = start, 0
        while node != 0 and steps <= len(parents):
            node, steps = parents[node], steps + 1
        if node != 0:
            return False
    return True


def test_what_cannot_be_reached_costs_infinitely_much() -> None:
    costs = np.full((3, 3), np.inf)
    costs[0, 1] = 1.0
    assert cheapest(costs, 0) == (float("inf"), [])


def test_a_family_is_drawn_from_its_root(tmp_path: Path) -> None:
    base = made.read(made.EXAMPLES / "llama-a")
    models = {
        "base": made.fingerprint(made.EXAMPLES / "llama-a"),
        "dropped": made.fingerprint(
            made.write(tmp_path / "d", made.drop_layer(base, 1))
        ),
        "pruned": made.fingerprint(made.write(tmp_path / "p", made.prune(base, 0.5))),
        "other": made.fingerprint(made.EXAMPLES / "llama-b"),
    }
    tree = reconstruct(models)
    assert {(e.parent, e.child) for e in tree.edges} == {
        ("base", "dropped"),
        ("base", "pruned"),
    }
    assert all(edge.directed for edge in tree.edges)
    assert tree.families[0].root == "base"
    assert tree.families[0].rooted
    text = "\n".join(lines(tree))
    assert "-> dropped" in text
    assert "other  (no relatives here)" in text
    assert '"base" -> "pruned"' in dot(tree)
    assert document(tree)["sharedInit"] == []
