# SPDX-License-Identifier: Apache-2.0
"""An adapter alone in a folder names its base among those that a registry knows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import made_adapters
import made_models as made
from pedigree.cli import main
from pedigree.examine.doubts import doubts
from pedigree.fingerprint import build
from pedigree.fingerprint.build import automatic_profile
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.spec import V2, Profile
from pedigree.lineage.classes import LineageClass
from pedigree.registry import Entry, Parent, Registry, candidates
from pedigree.registry.scan import Scan, scan_registry
from pedigree.registry.writing import Addition, add_all

BASES = {f"base-{seed}": made_adapters.base(seed) for seed in (1, 2, 3, 4)}
OWN = "base-2"


@pytest.fixture(scope="module")
def prints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fingerprint]:
    folder = tmp_path_factory.mktemp("bases")
    return {
        name: made.fingerprint(made.write(folder / name, weights))
        for name, weights in BASES.items()
    }


@pytest.fixture(scope="module")
def known(
    prints: dict[str, Fingerprint], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    add_all(folder, [_addition(name, found) for name, found in prints.items()])
    return folder


def _addition(
    name: str, found: Fingerprint, parents: tuple[Parent, ...] = ()
) -> Addition:
    entry = Entry(name=name, fingerprint=found.digest, spec=found.spec, parents=parents)
    return Addition.of(entry, found)


def _scan(registry: Path, folder: Path) -> Scan:
    return scan_registry(made.fingerprint(folder), Registry.open(registry))


def _named(found: Scan) -> list[str]:
    return [r.reference for r in found.ranked if r.comparison.lineage.descends]


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "LoRA": ({}, {}),
    "LoRA of q and v": ({"modules": made_adapters.ATTENTION}, {}),
    "DoRA": ({"magnitudes": True}, {"use_dora": True}),
    "rsLoRA": ({"scale": 16.0}, {"use_rslora": True}),
    "named": ({"name": "default"}, {}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base", BASES)
def test_an_adapter_alone_names_its_base_and_no_other(
    base: str, kind: str, known: Path, tmp_path: Path
) -> None:
    shape, config = KINDS[kind]
    tensors = made_adapters.factors(BASES[base], 77, **shape)
    found = _scan(known, made_adapters.write(tmp_path, tensors, **config))
    assert _named(found) == [base]
    first = found.ranked[0].comparison
    assert (first.lineage, first.relation) == (LineageClass.DERIVED, "Adapter")
    assert first.log10_p < -6
    assert all(r.comparison.log10_p > -3 for r in found.ranked[1:])


def test_several_adapters_of_one_base_all_name_it(known: Path, tmp_path: Path) -> None:
    for seed in range(3):
        tensors = made_adapters.factors(BASES[OWN], seed)
        folder = made_adapters.write(tmp_path / str(seed), tensors)
        assert _named(_scan(known, folder)) == [OWN]


def test_a_base_that_an_adapter_only_declares_is_not_named(
    known: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = made_adapters.factors(BASES[OWN], 5)
    folder = made_adapters.write(tmp_path, tensors, base_model_name_or_path="base-3")
    assert main(["scan", str(folder), "--registry", str(known), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    named = {match["reference"]: match["verdict"] for match in told["matches"]}
    assert told["matches"][0]["reference"] == OWN
    assert named[OWN] == "Derived"
    assert named["base-3"] == "NoEvidence"


def test_the_base_comes_before_a_model_that_the_adapter_was_merged_into(
    prints: dict[str, Fingerprint], tmp_path: Path
) -> None:
    tensors = made_adapters.factors(BASES[OWN], 5)
    merged = made_adapters.merged(BASES[OWN], tensors)
    child = made.fingerprint(made.write(tmp_path / "merged", merged))
    add_all(
        tmp_path / "registry",
        [
            *(_addition(name, found) for name, found in prints.items()),
            _addition("a-merged", child, (Parent(OWN, "merge"),)),
        ],
    )
    found = _scan(
        tmp_path / "registry", made_adapters.write(tmp_path / "adapter", tensors)
    )
    assert _named(found) == [OWN, "a-merged"]
    first, second = (ranked.comparison for ranked in found.ranked[:2])
    assert second.distance < 0.85 * first.distance


def test_an_adapter_that_was_not_trained_names_nobody(
    known: Path, tmp_path: Path
) -> None:
    tensors = made_adapters.factors(BASES[OWN], 5, towards=0.0)
    found = _scan(known, made_adapters.write(tmp_path, tensors))
    assert _named(found) == []
    assert all(r.comparison.lineage.name == "NO_EVIDENCE" for r in found.ranked)


def test_an_adapter_is_read_deep_however_small_the_models_are_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(V2, auto_deep_bytes=1000)
    tensors = made_adapters.factors(BASES[OWN], 5)
    adapter = made.checkpoint(made_adapters.write(tmp_path / "a", tensors))
    both = {**BASES[OWN], "x.lora_A.weight": np.ones((2, 2), np.float32)}
    model = made.checkpoint(made.write(tmp_path / "b", both))
    assert automatic_profile(adapter, spec) is Profile.DEEP
    assert automatic_profile(model, spec) is Profile.FAST
    monkeypatch.setattr(build, "ADAPTER_DEEP_BYTES", 1001)
    assert automatic_profile(adapter, spec) is Profile.FAST


def test_a_finding_says_what_can_be_found_of_an_adapter(tmp_path: Path) -> None:
    tensors = made_adapters.factors(BASES[OWN], 5)
    whole = made.fingerprint(made_adapters.write(tmp_path / "a", tensors))
    strange = {name.replace("_proj", "_odd"): x for name, x in tensors.items()}
    bare = made.fingerprint(made_adapters.write(tmp_path / "b", strange))
    told = [next(doubts(found)) for found in (whole, bare)]
    assert [finding.reason for finding in told] == ["AdapterWeights"] * 2
    assert "base; it is found among references" in told[0].message
    assert "base; nothing but exact copies" in told[1].message


@pytest.mark.parametrize("modules", [made_adapters.EVERY, made_adapters.ATTENTION])
def test_an_adapter_names_its_base_in_a_registry_too_large_to_compare_whole(
    modules: tuple[str, ...],
    prints: dict[str, Fingerprint],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(candidates, "SMALL", 3)
    monkeypatch.setattr(candidates, "SCREENED", 5)
    far = [
        replace(
            _addition(f"far{number:02}", prints["base-1"]),
            words=np.zeros((3, 16), np.uint64),
            shape=(4, 1000 + number, 160, 160),
        )
        for number in range(12)
    ]
    bases = [_addition(name, found) for name, found in prints.items()]
    add_all(tmp_path / "registry", [*far, *bases])
    tensors = made_adapters.factors(BASES[OWN], 9, modules=modules)
    folder = made_adapters.write(tmp_path / "adapter", tensors)
    found = _scan(tmp_path / "registry", folder)
    assert _named(found) == [OWN]
    assert (len(found.ranked), found.screened, found.far) == (1, 3, 12)
    monkeypatch.setattr(candidates, "ADAPTED_MAX", 1)
    assert _scan(tmp_path / "registry", folder).far == 15
