# SPDX-License-Identifier: Apache-2.0
"""What people and programs see of a comparison."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import made_models as made
from pedigree.cli import main
from pedigree.lineage.results import TESTS

LLAMA, SFT, TWIN = (
    str(made.EXAMPLES / name) for name in ("llama-a", "llama-a.sft", "llama-b")
)


@cache
def said(*arguments: str) -> str:
    """What a command prints; it must exit with 0."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(arguments) == 0
    return out.getvalue()


def document(*arguments: str) -> Any:
    return json.loads(said(*arguments, "--json"))


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A child that lacks the second layer, with a card that says where it is from."""
    folder = tmp_path_factory.mktemp("models") / "child"
    weights = made.drop_layer(made.read(made.EXAMPLES / "llama-a"), 1)
    made.write(folder, weights)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(LLAMA) / name, folder / name)
    card = "---\nbase_model: org/llama-a\nbase_model_relation: quantized\n---\n"
    (folder / "README.md").write_text(card)
    return str(folder)


def test_the_verdict_comes_first_and_every_test_is_listed() -> None:
    text = said("compare", LLAMA, SFT)
    assert text.splitlines()[3].startswith("Derived (FineTuned): A and B are related")
    for name in TESTS:
        assert f"\n{name} " in text
    assert "MB read" in text


def test_json_has_the_documented_fields() -> None:
    found = document("compare", LLAMA, SFT)
    assert found["schema"] == "pedigree.dev/compare/v1"
    assert (found["verdict"], found["relation"]) == ("Derived", "FineTuned")
    assert [test["name"] for test in found["tests"]] == list(TESTS)
    assert found["relations"][0]["kind"] == "FineTuned"
    assert found["layerMap"]["origins"][0].keys() == {"a", "b", "score"}
    assert 0 < found["change"] < 1
    assert found["seconds"] == pytest.approx(
        sum(found["secondsByStage"].values()), abs=0.001
    )
    assert found["bytesRead"] > 5_000_000


def test_context_signals_are_shown_and_marked() -> None:
    text = said("compare", LLAMA, SFT)
    assert "Context, never decides" in text
    context = {
        c["name"]: c["value"] for c in document("compare", LLAMA, SFT)["context"]
    }
    assert context["MFI"] == 1.0
    assert context["WVC"] == pytest.approx(0.9956, abs=1e-4)


def test_a_full_score_of_every_metadata_signal_decides_nothing() -> None:
    found = document("compare", LLAMA, TWIN)
    context = {signal["name"]: signal["value"] for signal in found["context"]}
    assert context["MFI"] == context["TFV"] == context["VOA"] == 1.0
    assert found["verdict"] == "NoEvidence"


def test_large_models_are_not_read_for_context_unless_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pedigree.cli.context.SMALL_BYTES", 1000)
    for arguments, shown in ((("--json",), 0), (("--json", "--context"), 8)):
        assert main(["compare", LLAMA, TWIN, *arguments]) == 0
        found = json.loads(capsys.readouterr().out)
        assert len(found["context"]) == shown


def test_a_missing_layer_shows_in_map_direction_and_relation(halved: str) -> None:
    text = said("compare", LLAMA, halved)
    assert "layer 1 of A has no likeness in B" in text
    assert "B \\ A 0 1 2 3\n" in text
    assert "relation LayersDropped: " in text
    assert "direction a-to-b" in text


def test_claims_of_the_card_are_held_against_the_weights(halved: str) -> None:
    claims = {
        claim["field"]: claim
        for claim in document("compare", LLAMA, halved)["claims"]
        if claim["model"] == "B"
    }
    assert claims["baseModel"]["agreement"] == "Agrees"
    assert claims["relation"]["agreement"] == "Contradicted"
    assert "LayersDropped" in claims["relation"]["evidence"]


def test_a_claim_turns_round_with_the_models(halved: str) -> None:
    found = document("compare", halved, LLAMA)
    assert found["direction"] == "b-to-a"
    claims = {
        claim["field"]: claim for claim in found["claims"] if claim["model"] == "A"
    }
    assert claims["baseModel"]["agreement"] == "Agrees"


def test_a_claim_of_descent_from_an_independent_model_is_contradicted(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(TWIN, folder)
    (folder / "README.md").write_text("---\nbase_model: org/llama-a\n---\n")
    claims = document("compare", LLAMA, str(folder))["claims"]
    by_field = {claim["field"]: claim["agreement"] for claim in claims}
    assert by_field["baseModel"] == "Contradicted"


def test_a_claim_about_a_third_model_is_not_judged(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(SFT, folder)
    (folder / "README.md").write_text("---\nbase_model: org/unheard\n---\n")
    claims = document("compare", LLAMA, str(folder))["claims"]
    assert claims[0]["agreement"] != "Agrees"
    assert {c["agreement"] for c in claims if c["field"] == "baseModel"} == {
        "NotCompared"
    }


def test_kept_fingerprints_have_no_files_to_take_context_from(tmp_path: Path) -> None:
    kept = str(tmp_path / "llama-a.fingerprint.safetensors")
    said("fingerprint", LLAMA, "-o", kept)
    found = document("compare", kept, SFT)
    assert found["verdict"] == "Derived"
    assert found["context"] == []


def test_a_test_that_could_not_run_says_why(tmp_path: Path) -> None:
    other = str(made.write(tmp_path, made.llama(1)))
    found = document("compare", LLAMA, other)
    reasons = {test["name"]: test["reason"] for test in found["tests"]}
    assert reasons["ALIGN-neuron"]
    assert reasons["HASH"] == ""
    assert reasons["ALIGN-neuron"] in said("compare", LLAMA, other)
