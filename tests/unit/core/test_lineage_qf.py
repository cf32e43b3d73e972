# SPDX-License-Identifier: Apache-2.0
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from made_laundering import launder
from made_models import EXAMPLES, Weights, fingerprint, int8, read, write
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.spec import Profile
from pedigree.lineage import match, qf
from pedigree.lineage.results import NotRun, TestResult


def run(a: Fingerprint, b: Fingerprint) -> TestResult:
    return qf.run(a, b, alpha_log10=-7.0)


def made(folder: Path, weights: Weights) -> Fingerprint:
    write(folder, weights)
    shutil.copy(EXAMPLES / "llama-a" / "tokenizer.json", folder)
    return fingerprint(folder)


@pytest.fixture(scope="module")
def models() -> dict[str, Fingerprint]:
    names = ("llama-a", "llama-b", "gpt2-a", "gpt2-a.sft")
    return {name: fingerprint(EXAMPLES / name) for name in names}


def test_a_laundered_model_with_another_embedding_is_found(
    models: dict[str, Fingerprint], tmp_path: Path
) -> None:
    hidden = int8(launder(read(EXAMPLES / "llama-a.sft"), 3, keep_embedding=False))
    b = made(tmp_path, hidden)
    result = run(models["llama-a"], b)
    assert result.log10_p < -20
    assert result.effect > 0.9
    assert match.run(models["llama-a"], b, alpha_log10=None).log10_p > -2


def test_a_fine_tune_without_gates_is_found(models: dict[str, Fingerprint]) -> None:
    assert run(models["gpt2-a"], models["gpt2-a.sft"]).log10_p < -20


def test_models_of_one_recipe_that_never_met_are_not_matched(
    models: dict[str, Fingerprint],
) -> None:
    result = run(models["llama-a"], models["llama-b"])
    assert result.ran
    assert result.log10_p > -2
    assert result.pairs == ()
    assert result.log10_p == run(models["llama-b"], models["llama-a"]).log10_p


def test_both_fingerprints_have_to_be_deep(models: dict[str, Fingerprint]) -> None:
    fast = fingerprint(EXAMPLES / "llama-a", Profile.FAST)
    for a, b in ((models["llama-a"], fast), (fast, models["llama-a"])):
        result = run(a, b)
        assert result.reason is NotRun.NEEDS_DEEP
        assert "does not describe neurons" in result.detail


def test_a_model_that_is_too_large_says_so(models: dict[str, Fingerprint]) -> None:
    parts = {k: v for k, v in models["llama-a"].parts.items() if ".qf." not in k}
    large = replace(models["llama-a"], parts=parts, notes=("QfTooLarge",))
    assert run(models["llama-b"], large).reason is NotRun.QF_TOO_LARGE


def test_blocks_with_and_without_gate_have_no_two_views_in_common(
    models: dict[str, Fingerprint],
) -> None:
    assert run(models["llama-a"], models["gpt2-a"]).reason is NotRun.NOTHING_SHARED
