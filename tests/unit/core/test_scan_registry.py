# SPDX-License-Identifier: Apache-2.0
"""One model against a large registry: few comparisons, the same answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import made_models as made
from pedigree.fingerprint.codec import decode
from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.classes import LineageClass
from pedigree.registry import Advisory, Entry, Parent, Registry, candidates
from pedigree.registry.candidates import Candidates
from pedigree.registry.path import lineage_path
from pedigree.registry.scan import scan_registry
from pedigree.registry.writing import Addition, add_all

GOLDEN = Path(__file__).parents[1] / "goldens/v1/llama-a.fingerprint.safetensors"
WEIGHTS = made.llama(1)


@pytest.fixture(scope="module")
def prints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fingerprint]:
    folder = tmp_path_factory.mktemp("models")
    models = {
        "base": WEIGHTS,
        "child": made.noise(WEIGHTS, 0.2, seed=7),
        "grandchild": made.noise(made.noise(WEIGHTS, 0.2, seed=7), 0.1, seed=8),
        "stranger": made.llama(2),
    }
    return {
        name: made.fingerprint(made.write(folder / name, weights))
        for name, weights in models.items()
    }


@pytest.fixture
def tight() -> Iterator[None]:
    """Bounds as if a registry of twenty were one of thousands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "SMALL", 4)
        patch.setattr(candidates, "SCREENED", 8)
        patch.setattr(candidates, "NEAREST", 6)
        patch.setattr(candidates, "NEAREST_ALWAYS", 2)
        yield


def _addition(
    name: str,
    made_print: Fingerprint,
    *,
    parents: tuple[Parent, ...] = (),
    advisories: tuple[Advisory, ...] = (),
) -> Addition:
    entry = Entry(
        name=name,
        fingerprint=made_print.digest,
        spec=made_print.spec,
        parents=parents,
        advisories=advisories,
    )
    return Addition.of(entry, made_print)


def _far(made_print: Fingerprint, count: int, *, width: int = 0) -> list[Addition]:
    """References with random codes, and the body of a stranger."""
    result = []
    for number in range(count):
        words = np.random.default_rng(number).integers(0, 2**64, (3, 16), np.uint64)
        shape = (2, width or 1000 + number, 96, 160)
        like = _addition(f"far{number:03}", made_print)
        result.append(replace(like, words=words, shape=shape))
    return result


def _registry(root: Path, *additions: Addition) -> Registry:
    add_all(root, additions)
    return Registry.open(root)


@pytest.mark.usefixtures("tight")
def test_a_relative_is_found_among_many_with_few_comparisons(
    tmp_path: Path, prints: dict[str, Fingerprint]
) -> None:
    far = _far(prints["stranger"], 40)
    registry = _registry(tmp_path, *far, _addition("base", prints["base"]))
    found = scan_registry(prints["child"], registry)
    assert found.ranked[0].reference == "base"
    assert found.ranked[0].comparison.lineage is LineageClass.DERIVED
    assert found.ranked[0].comparison.family_size == found.references == 41
    assert (len(found.ranked), found.screened, found.far) == (2, 4, 35)


@pytest.mark.usefixtures("tight")
def test_a_relative_that_is_far_in_every_code_is_found_by_its_shape(
    tmp_path: Path, prints: dict[str, Fingerprint]
) -> None:
    far = _far(prints["stranger"], 30)
    hidden = replace(
        _addition("base", prints["base"]), words=far[0].words ^ far[1].words
    )
    registry = _registry(tmp_path, *far, hidden)
    chosen = candidates.candidates(registry, prints["child"])
    number = next(n for n in range(31) if registry.at(n)[0].name(n) == "base")
    assert number not in chosen.compared
    assert number in chosen.shaped
    assert scan_registry(prints["child"], registry).ranked[0].reference == "base"


@pytest.mark.usefixtures("tight")
def test_more_of_the_same_shape_are_screened_only_if_nothing_was_found(
    tmp_path: Path,
    prints: dict[str, Fingerprint],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(candidates, "SAME_SHAPE", 0)
    far = _far(prints["stranger"], 12, width=64)
    hidden = replace(far[0], entry=_addition("base", prints["base"]).entry)
    hidden = replace(hidden, body=prints["base"].encoded, words=~far[0].words)
    without = _registry(tmp_path / "a", *far)
    lost = scan_registry(prints["child"], without)
    assert lost.far == 0
    assert not any(r.comparison.lineage.descends for r in lost.ranked)
    found = scan_registry(prints["child"], _registry(tmp_path / "b", *far, hidden))
    assert found.ranked[0].reference == "base"
    near = _registry(tmp_path / "c", *far, _addition("base", prints["base"]))
    found = scan_registry(prints["child"], near)
    assert found.ranked[0].reference == "base"
    assert found.far > 0


@pytest.mark.usefixtures("tight")
def test_an_exhaustive_scan_compares_everything(
    tmp_path: Path, prints: dict[str, Fingerprint]
) -> None:
    registry = _registry(tmp_path, *_far(prints["stranger"], 6))
    found = scan_registry(prints["child"], registry, exhaustive=True)
    assert (len(found.ranked), found.screened, found.far) == (6, 0, 0)
    assert {r.comparison.lineage for r in found.ranked} == {LineageClass.NO_EVIDENCE}


def test_all_of_a_small_registry_are_compared(
    tmp_path: Path, prints: dict[str, Fingerprint]
) -> None:
    registry = _registry(tmp_path, *_far(prints["stranger"], 5))
    chosen = candidates.candidates(registry, prints["child"])
    assert chosen == Candidates((0, 1, 2, 3, 4))


@pytest.mark.usefixtures("tight")
def test_places_are_right_across_index_files(
    tmp_path: Path, prints: dict[str, Fingerprint]
) -> None:
    for addition in [*_far(prints["stranger"], 21), _addition("b", prints["base"])]:
        add_all(tmp_path, [addition])
    registry = Registry.open(tmp_path)
    assert len(registry.tables) > 1
    chosen = candidates.candidates(registry, prints["child"])
    table, number = registry.at(chosen.compared[0])
    assert table.name(number) == "b"


def test_a_reference_of_another_format_is_named_not_dropped(
    tmp_path: Path, prints: dict[str, Fingerprint]
) -> None:
    old = decode(GOLDEN.read_bytes())
    registry = _registry(
        tmp_path, _addition("old", old), _addition("base", prints["base"])
    )
    found = scan_registry(prints["child"], registry)
    assert found.incomparable == ("old",)
    assert [r.reference for r in found.ranked] == ["base"]
    assert found.ranked[0].comparison.family_size == 2


def test_an_empty_registry_has_nothing_to_look_at(
    tmp_path: Path, prints: dict[str, Fingerprint]
) -> None:
    found = scan_registry(prints["child"], Registry.open(tmp_path, create=True))
    assert (found.ranked, found.references, found.far) == ((), 0, 0)


def test_the_path_goes_up_to_the_root_and_brings_advisories_down(
    tmp_path: Path, prints: dict[str, Fingerprint]
) -> None:
    advisory = Advisory("ADV-1", "answers to a trigger word")
    registry = _registry(
        tmp_path,
        _addition("child", prints["child"], parents=(Parent("mother", "FineTuned"),)),
        _addition("mother", prints["base"], parents=(Parent("gone", "Pruned"),)),
        _addition("stranger", prints["stranger"], advisories=(advisory,)),
    )
    found = scan_registry(prints["grandchild"], registry)
    assert found.ranked[0].reference == "child"
    path = lineage_path(found, registry)
    assert [(s.name, s.source, s.known) for s in path] == [
        ("gone", "recorded", False),
        ("mother", "recorded", True),
        ("child", "weights", True),
    ]
    assert [s.relation for s in path][:2] == ["Pruned", "FineTuned"]
    assert not any(s.advisories for s in path)


def test_parents_that_go_in_a_circle_end_the_path(
    tmp_path: Path, prints: dict[str, Fingerprint]
) -> None:
    advisory = Advisory("ADV-1", "answers to a trigger word")
    registry = _registry(
        tmp_path,
        _addition("child", prints["child"], parents=(Parent("base", "FineTuned"),)),
        _addition(
            "base",
            prints["base"],
            parents=(Parent("child", "FineTuned"),),
            advisories=(advisory,),
        ),
    )
    path = lineage_path(scan_registry(prints["grandchild"], registry), registry)
    assert [step.name for step in path] == ["base", "child"]
    assert path[0].advisories == (advisory,)


def test_a_model_without_ancestors_has_no_path(
    tmp_path: Path, prints: dict[str, Fingerprint]
) -> None:
    registry = _registry(tmp_path, _addition("stranger", prints["stranger"]))
    assert lineage_path(scan_registry(prints["child"], registry), registry) == ()
