# SPDX-License-Identifier: Apache-2.0
import json
import sys
from pathlib import Path

import pytest
from bench import kit_signals
from bench.kit_speed import SUM, describe, rounds
from bench.processes import run_once
from bench.random_models import HALF_BILLION, Size, size_of, tensors_of, write_random

from made_models import checkpoint

ROOT = Path(__file__).parents[3]
SMALL = Size(width=64, layers=2, neurons=96, tokens=128)


def test_a_random_model_is_read_whole_and_has_its_size(tmp_path: Path) -> None:
    write_random(tmp_path, SMALL, 1)
    opened = checkpoint(tmp_path)
    assert opened.parameters == SMALL.parameters
    assert set(opened.tensors) == {name for name, _, _ in tensors_of(SMALL)}
    assert 0.9 < opened.read("model.embed_tokens.weight").std() * 8 < 1.1


def test_another_seed_makes_another_model(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_random(tmp_path / str(seed), SMALL, seed)
    a, b = (checkpoint(tmp_path / str(seed)).read("lm_head.weight") for seed in (1, 2))
    assert not (a == b).all()


@pytest.mark.parametrize("megabytes", [2, 64, 940, 3000, 8000])
def test_a_wanted_size_is_met_within_a_quarter(megabytes: int) -> None:
    assert 0.75 < 2 * size_of(megabytes * 10**6).parameters / megabytes / 1e6 < 1.25


def test_the_model_of_the_comparison_has_half_a_billion_weights() -> None:
    assert 0.46e9 < HALF_BILLION.parameters < 0.48e9


def test_reading_and_summing_reads_every_value(tmp_path: Path) -> None:
    write_random(tmp_path, SMALL, 1)
    path = tmp_path / "model.safetensors"
    ran = run_once([sys.executable, "-c", SUM, str(path)])
    assert float(ran.stdout) == float(ran.stdout)
    assert ran.seconds > 0
    assert ran.peak_bytes > 10_000_000


def test_memory_is_that_of_the_process_and_not_of_who_starts_it() -> None:
    ballast = bytearray(200_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    ran = run_once([sys.executable, "-I", "-S", "-c", "pass"])
    assert ran.peak_bytes < 60_000_000
    assert len(ballast) == 200_000_000


def test_a_command_that_fails_is_not_a_measurement() -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        run_once([sys.executable, "-c", "raise SystemExit(3)"])


def test_commands_take_turns_and_are_summed_up() -> None:
    runs = rounds({"a": [sys.executable, "-c", "print(1)"]}, 2)
    found = describe(runs["a"])
    assert len(found["all"]) == 2
    assert found["least"] <= found["median"]


def test_signals_of_the_examples_are_reported_equal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ROOT / "tests/data/context/kit-pairs.json"
    models = str(ROOT / "examples/models")
    monkeypatch.setattr("sys.argv", ["x", models, "--expected", str(expected)])
    assert kit_signals.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"] == 10
    assert {row["equal"] for row in found["signals"].values()} == {10}
    assert found["signals"]["VOA"]["areaUnderRoc"] < 1
