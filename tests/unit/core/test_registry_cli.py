# SPDX-License-Identifier: Apache-2.0
"""What the verbs of ``pedigree registry`` say, and how they exit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import made_models as made
from pedigree.cli import main, registry_exchange


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    base = made.llama(1)
    weights = {"base": base, "child": made.noise(base, 0.2, seed=3)}
    return {
        name: str(made.write(folder / name, values)) for name, values in weights.items()
    }


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def _add(folder: Path, name: str, model: str, *more: str) -> int:
    return main(["registry", "add", "--registry", str(folder), name, model, *more])


def test_facts_given_to_add_are_shown(
    tmp_path: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    facts = ["--parent", "org/base:FineTuned", "--advisory", "ADV-1:has a trigger"]
    assert _add(tmp_path, "a", models["child"], *facts, "--profile", "fast") == 0
    assert "parent 'org/base' is not in this registry" in capsys.readouterr().out
    assert _add(tmp_path, "b", models["child"], "--parent", "a:FineTuned") == 0
    assert "note" not in capsys.readouterr().out
    shown = _json(capsys, "registry", "show", "--registry", str(tmp_path), "a")
    assert shown["reference"]["parents"] == [
        {"name": "org/base", "relation": "FineTuned"}
    ]
    assert shown["reference"]["advisories"] == [
        {"id": "ADV-1", "text": "has a trigger"}
    ]
    assert shown["reference"]["profile"] == "fast"
    assert main(["registry", "show", "--registry", str(tmp_path), "a"]) == 0
    assert "ADV-1: has a trigger" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--parent", "--advisory"])
def test_a_fact_without_its_second_half_is_wrong_usage(
    tmp_path: Path,
    models: dict[str, str],
    option: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _add(tmp_path, "a", models["base"], option, "only") == 2
    assert "wanted" in capsys.readouterr().err
    assert not (tmp_path / "registry.json").exists()


def test_export_import_and_merge_bring_the_same_references(
    tmp_path: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, file = (str(tmp_path / name) for name in ("a", "b", "out"))
    _add(Path(a), "base", models["base"])
    out = _json(capsys, "registry", "export", "--registry", a, file)
    assert out["references"] == 1
    assert out["bytes"] == Path(file).stat().st_size
    taken = _json(capsys, "registry", "import", "--registry", b, file)
    assert (taken["added"], taken["same"]) == (1, 0)
    taken = _json(capsys, "registry", "merge", "--registry", b, a)
    assert (taken["added"], taken["same"], taken["conflicts"]) == (0, 1, [])
    assert main(["registry", "verify", "--registry", b]) == 0


def test_a_conflict_is_wrong_usage_until_it_is_settled(
    tmp_path: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    _add(Path(a), "x", models["base"])
    _add(Path(b), "x", models["child"])
    assert main(["registry", "merge", "--registry", a, b]) == 2
    assert "--on-conflict" in capsys.readouterr().err
    merge = ["registry", "merge", "--registry", a, b, "--on-conflict", "keep"]
    kept = _json(capsys, *merge)
    assert [(c["name"], c["settled"]) for c in kept["conflicts"]] == [("x", "keep")]
    assert main(merge) == 0
    assert "conflict: x (keep)" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["file", "--kit", "folder"], ["absent"]])
def test_import_says_what_it_wants(tmp_path: Path, arguments: list[str]) -> None:
    command = ["registry", "import", "--registry", str(tmp_path / "r"), *arguments]
    assert main(command) in (2, 3)
    assert not (tmp_path / "r").exists()


def test_the_null_bank_tells_its_version_and_sizes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = _json(capsys, "registry", "null-bank")
    assert shown["schema"] == registry_exchange.SCHEMA_NULL_BANK
    assert shown["version"]
    assert {"MATCH/whole", "QF/whole"} <= set(shown["laws"])
    assert main(["registry", "null-bank"]) == 0
    assert "MATCH/whole" in capsys.readouterr().out


def test_scan_names_the_path_and_what_is_known_against_it(
    tmp_path: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    advisory = ["--advisory", "ADV-1:has a trigger"]
    _add(tmp_path, "base", models["base"], "--parent", "root:Pruned", *advisory)
    scan = ["scan", models["child"], "--registry", str(tmp_path)]
    found = _json(capsys, *scan)
    assert [step["name"] for step in found["path"]] == ["root", "base"]
    assert [step["known"] for step in found["path"]] == [False, True]
    assert found["path"][1]["advisories"] == [{"id": "ADV-1", "text": "has a trigger"}]
    assert (found["screened"], found["far"], found["incomparable"]) == (0, 0, [])
    assert main([*scan, "--exhaustive"]) == 0
    text = capsys.readouterr().out
    assert "path: root -> base -> " in text
    assert "advisory ADV-1 (base): has a trigger" in text


def test_scan_of_a_registry_with_records_of_the_kit_alone_has_an_answer(
    tmp_path: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    from pedigree.digests import sha256
    from pedigree.lineage.context.norms import Norms, read_norms
    from pedigree.registry import Entry
    from pedigree.registry.catalogue import KIT_SPEC
    from pedigree.registry.kit_signals import KitSignals, encode_signals
    from pedigree.registry.writing import Addition, add_all

    norms = read_norms(made.checkpoint(Path(models["base"])))
    assert isinstance(norms, Norms)
    vectors = {"nlf": norms.joined.astype("<f4")}
    body = encode_signals(KitSignals({"hidden_size": 64}, "direct", vectors))
    entry = Entry(name="kit/own/base", fingerprint=sha256(body), spec=KIT_SPEC)
    add_all(tmp_path, [Addition.of_kit(entry, body)])
    found = _json(capsys, "scan", models["child"], "--registry", str(tmp_path))
    assert [(m["reference"], m["related"]) for m in found["kit"]] == [
        ("kit/own/base", True)
    ]
    assert main(["scan", models["child"], "--registry", str(tmp_path)]) == 0
    assert "related by the kit's record kit/own/base" in capsys.readouterr().out
