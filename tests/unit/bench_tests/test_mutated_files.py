# SPDX-License-Identifier: Apache-2.0
"""Damaged models end in a refusal, or match what they matched before."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import mutated_files
from bench.fuzzing.damage import KINDS
from bench.mutated_files import Outcome, World, build, outcome, run

from made_models import EXAMPLES

CASES = 66
STORAGES = ("bf16", "sharded", "zip", "gguf-q8_0", "gptq")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("world"), STORAGES)


def test_undamaged_models_match_the_known_one_and_no_other(world: World) -> None:
    for name, matches in world.matches.items():
        first = name.partition(".")[0]
        assert matches == ({first} if first != "stranger" else set()), name


def test_damage_gives_no_exception_and_no_match(world: World) -> None:
    report = run(world, count=CASES, seed=3)
    assert report.exceptions == []
    assert report.wrong == []
    assert report.outcomes.keys() == KINDS.keys()
    told = {what for found in report.outcomes.values() for what in found}
    assert {"refused", "as undamaged"} <= told


def test_a_match_out_of_damage_and_an_exception_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        mutated_files, "outcome", lambda *_: Outcome(frozenset({"elsewhere"}))
    )
    report = run(world, count=11)
    assert sum(found["wrong match"] for found in report.outcomes.values()) == 11
    assert report.wrong[0]["matched"] == ["elsewhere"]

    def broken(*_: object) -> Outcome:
        raise KeyError("x")

    monkeypatch.setattr(mutated_files, "outcome", broken)
    report = run(world, count=11)
    assert sum(found["exception"] for found in report.outcomes.values()) == 11
    assert "KeyError" in report.exceptions[0]["trace"]


def test_a_real_model_by_a_relative_path_matches_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES)
    (tmp_path / "one").mkdir()
    monkeypatch.setattr(mutated_files, "_REAL_MAX_BYTES", 4 << 20)
    world = build(tmp_path / "one", ("bf16",), Path())
    assert {"real/llama-a", "real/llama-a.sft"} <= world.matches["real/llama-a.sft"]


def test_a_model_that_is_refused_undamaged_is_no_model_to_damage(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="refused undamaged: TruncatedFile"):
        world.take("x", tmp_path)


def test_a_model_whose_weights_are_replaced_by_anothers_matches_that_one(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(
        world.models["second.bf16"]["model.safetensors"]
    )
    assert outcome(tmp_path, world.registry).matched == {"second"}
