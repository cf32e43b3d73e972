# SPDX-License-Identifier: Apache-2.0
"""A scan holds declared bases against the weights, and licences against bases."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import made_adapters
import made_models as made
from pedigree.cli import main
from pedigree.cli.scan_claims import NAMES_MAX, _references
from pedigree.digests import sha256
from pedigree.registry.catalogue import KIT_SPEC, Entry
from pedigree.registry.scan import Scan

ROOT = made.read(made.EXAMPLES / "llama-a")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("registry"))
    for name, alias, terms in (
        ("llama-a", "org/Base-A", "llama3.1"),
        ("llama-b", "org/Base-B", "gemma"),
    ):
        add = ["registry", "add", "--registry", folder, name]
        options = ["--alias", alias, "--license", terms]
        assert main([*add, str(made.EXAMPLES / name), *options]) == 0
    return folder


def _scan(
    folder: Path, capsys: pytest.CaptureFixture[str], registry: str, card: str
) -> tuple[Any, str]:
    shutil.copytree(made.EXAMPLES / "llama-a", folder)
    model = str(made.write(folder, made.noise(ROOT, 0.1, seed=1)))
    (folder / "README.md").write_text(f"---\n{card}\n---\n")
    capsys.readouterr()
    assert main(["scan", model, "--registry", registry, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["scan", model, "--registry", registry]) == 0
    return found, capsys.readouterr().out


def test_a_base_that_the_weights_contradict_is_told_with_both_sides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], registry: str
) -> None:
    card = "base_model: org/base-b\nbase_model_relation: finetune"
    found, text = _scan(tmp_path / "m", capsys, registry, card)
    base, relation = found["claims"]
    assert (base["value"], base["source"]) == ("org/base-b", "README.md")
    assert base["agreement"] == "Contradicted"
    assert base["evidence"].startswith("the weights say Derived from llama-a (")
    assert "log10 p -" in base["evidence"]
    assert relation["agreement"] == "NotCompared"
    line = "claim baseModel 'org/base-b' (README.md): Contradicted: the weights say"
    assert line in text


def test_a_base_that_the_weights_bear_out_agrees_under_its_alias(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], registry: str
) -> None:
    card = "base_model: hf://org/base-a@main\nbase_model_relation: quantized"
    found, _ = _scan(tmp_path / "m", capsys, registry, card)
    base, relation = found["claims"]
    assert base["agreement"] == "Agrees"
    assert relation["agreement"] == "Contradicted"
    assert relation["evidence"].startswith("the weights say ")


def test_a_name_that_no_reference_has_is_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], registry: str
) -> None:
    found, _ = _scan(tmp_path / "m", capsys, registry, "base_model: org/base-a-chat")
    (base,) = found["claims"]
    assert base["agreement"] == "NotCompared"
    assert base["evidence"] == "no reference is called that"


def test_licence_indicators_follow_the_verified_base(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], registry: str
) -> None:
    card = "base_model: org/none\nlicense: apache-2.0\nmodel_name: Sunny"
    found, text = _scan(tmp_path / "m", capsys, registry, card)
    assert [(item["reason"], item["severity"]) for item in found["licence"]] == [
        ("LicenceDiffersFromBase", "Warning"),
        ("NamePrefixMissing", "Warning"),
        ("NoticeMissing", "Warning"),
    ]
    assert all(item["advice"] and item["controls"] for item in found["licence"])
    assert "licence Warning: 'README.md' declares the licence 'apache-2.0'" in text
    assert "its base 'llama-a'" in text
    assert text.count("indicator, not legal advice") == 3


def test_a_model_that_keeps_the_terms_gets_no_indicator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], registry: str
) -> None:
    folder = tmp_path / "m"
    card = "license: llama3.1\nmodel_name: Llama-Sunny"
    found, _ = _scan(folder, capsys, registry, card)
    assert [item["reason"] for item in found["licence"]] == ["NoticeMissing"]
    for name in ("LICENSE", "NOTICE"):
        (folder / name).write_text("text")
    assert main(["scan", str(folder), "--registry", registry, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["licence"] == []


def test_a_stored_fingerprint_declares_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], registry: str
) -> None:
    stored = str(tmp_path / "a.fingerprint.safetensors")
    assert main(["fingerprint", str(made.EXAMPLES / "llama-a"), "--out", stored]) == 0
    capsys.readouterr()
    assert main(["scan", stored, "--registry", registry, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["claims"], found["licence"]) == ([], [])


@pytest.mark.parametrize(
    ("declared", "agreement"), [("base-1", "Agrees"), ("base-2", "Contradicted")]
)
def test_an_adapter_s_named_base_is_held_against_what_its_weights_name(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    declared: str,
    agreement: str,
) -> None:
    registry = str(tmp_path / "registry")
    bases = {f"base-{seed}": made_adapters.base(seed) for seed in (1, 2)}
    for name, weights in bases.items():
        folder = str(made.write(tmp_path / name, weights))
        assert main(["registry", "add", "--registry", registry, name, folder]) == 0
    model = made_adapters.write(
        tmp_path / "adapter",
        made_adapters.factors(bases["base-1"], 77),
        base_model_name_or_path=declared,
    )
    capsys.readouterr()
    assert main(["scan", str(model), "--registry", registry, "--json"]) == 0
    base, relation = json.loads(capsys.readouterr().out)["claims"]
    assert (base["value"], base["source"]) == (declared, "adapter_config.json")
    assert base["agreement"] == agreement
    assert base["evidence"].startswith("the weights say Derived from base-1 (Adapter,")
    if agreement == "Agrees":
        assert relation["agreement"] == "Agrees"


def test_entries_of_the_kit_have_no_weights_and_are_no_base_to_contradict() -> None:
    """A name that means one is not compared: its weights were never seen."""

    class OneOfEach:
        entries = (
            Entry(name="own", fingerprint=sha256(b"a"), spec="v2"),
            Entry(name="kit", fingerprint=sha256(b"b"), spec=KIT_SPEC),
        )

        def __len__(self) -> int:
            return 2

    nothing = Scan(ranked=(), references=1, screened=0, incomparable=())
    registry: Any = OneOfEach()
    found = _references(registry, nothing, named_bases=True)
    assert [reference.name for reference in found] == ["own"]


def test_of_very_many_references_only_compared_ones_are_asked_for_their_names() -> None:
    class Many:
        def __len__(self) -> int:
            return NAMES_MAX + 1

    nothing = Scan(ranked=(), references=1, screened=0, incomparable=())
    many: Any = Many()
    assert _references(many, nothing, named_bases=True) == []
