# SPDX-License-Identifier: Apache-2.0
"""One model against all known ones, as evidence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import numpy as np

import made_models as made
from pedigree.evidence import Lineage, lineage_from_dict, lineage_to_dict
from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.classes import LineageClass
from pedigree.registry import ReferenceSet
from pedigree.registry.scan import compare_all, scan

NOW = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)


@cache
def example(name: str) -> Fingerprint:
    return made.fingerprint(made.EXAMPLES / name)


BASES = ("llama-a", "llama-b", "gpt2-a")


def _scan(model: Fingerprint, names: tuple[str, ...] = BASES) -> Lineage:
    references = {name: example(name) for name in names}
    return scan(model, references, now=NOW, engine="test")


def test_the_parent_is_found_and_unrelated_references_are_left_out() -> None:
    found = _scan(example("llama-a.sft"))
    assert [match.reference for match in found.matches] == ["llama-a"]
    assert found.matches[0].lineage is LineageClass.DERIVED
    assert found.references == 3
    assert (
        found.registry_digest
        == ReferenceSet({name: example(name) for name in BASES}).digest
    )


def test_a_copy_comes_before_a_relative() -> None:
    found = _scan(example("llama-a.sft"), ("llama-a", "llama-a.sft", "llama-b"))
    assert [match.reference for match in found.matches] == ["llama-a.sft", "llama-a"]
    assert found.matches[0].lineage is LineageClass.IDENTICAL
    assert found.matches[0].relation == "Copy"


def test_the_order_of_references_changes_nothing() -> None:
    model = example("gpt2-a.sft")
    assert _scan(model, BASES) == _scan(model, BASES[::-1])


def test_numbers_are_integers_rounded_towards_zero() -> None:
    model = example("llama-a.sft")
    exact = compare_all(model, {name: example(name) for name in BASES})[0].comparison
    match = _scan(model).matches[0]
    assert isinstance(match.log10_p, int)
    assert exact.log10_p <= match.log10_p < exact.log10_p + 1
    assert 900 <= match.effect_permille <= 1000
    assert exact.deciding is not None
    assert match.test == exact.deciding.name


def test_evidence_survives_being_stored() -> None:
    found = _scan(example("llama-a.sft"))
    assert lineage_from_dict(lineage_to_dict(found)) == found


def test_what_cannot_be_told_is_kept_with_its_reason(tmp_path: Path) -> None:
    odd = {"x": np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)}
    found = _scan(made.fingerprint(made.write(tmp_path, odd)))
    assert [m.lineage for m in found.matches] == [LineageClass.INCONCLUSIVE] * 3
    assert {m.reason for m in found.matches} == {"UnknownArchitecture"}
    assert {m.log10_p for m in found.matches} == {0}


def test_no_references_are_no_matches() -> None:
    found = _scan(example("llama-a"), ())
    assert (found.references, found.matches) == (0, ())


def test_times_are_universal() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    references = {"llama-a": example("llama-a")}
    found = scan(example("llama-a"), references, now=east, engine="test")
    assert found.judged_at == "2026-11-23T04:05:06Z"


def test_all_references_are_ranked_for_people() -> None:
    ranked = compare_all(
        example("llama-a.sft"), {name: example(name) for name in BASES}
    )
    assert ranked[0].reference == "llama-a"
    assert {r.comparison.lineage for r in ranked[1:]} == {LineageClass.NO_EVIDENCE}
