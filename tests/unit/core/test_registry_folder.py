# SPDX-License-Identifier: Apache-2.0
"""The registry folder and the store: whole entries or none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import made_models as made
from pedigree.digests import sha256
from pedigree.errors import ArtifactError, ConfigError, PedigreeError, SourceRefused
from pedigree.evidence import registry_digest
from pedigree.fingerprint.model import Fingerprint
from pedigree.registry import FingerprintStore, ReferenceSet, Registry


@pytest.fixture(scope="module")
def prints(tmp_path_factory: pytest.TempPathFactory) -> list[Fingerprint]:
    folder = tmp_path_factory.mktemp("models")
    return [
        made.fingerprint(made.write(folder / str(seed), made.llama(seed)))
        for seed in range(3)
    ]


def test_what_is_added_is_there_when_opened_again(
    tmp_path: Path, prints: list[Fingerprint]
) -> None:
    registry = Registry.open(tmp_path / "r", create=True)
    registry.add("org/base", prints[0], family="f", publisher="p", aliases=("Base",))
    again = Registry.open(tmp_path / "r")
    entry = again.entry("org/base")
    assert (entry.family, entry.publisher, entry.aliases) == ("f", "p", ("Base",))
    assert entry.fingerprint == prints[0].digest
    assert again.fingerprint("org/base") == prints[0]
    assert again.verify() == ()


def test_the_digest_of_a_set_does_not_depend_on_order(
    tmp_path: Path, prints: list[Fingerprint]
) -> None:
    for name in ("one", "two"):
        order = prints if name == "one" else prints[::-1]
        registry = Registry.open(tmp_path / name, create=True)
        for made_ in order:
            registry.add(f"m{made_.digest.hex[:6]}", made_)
    digests = {
        Registry.open(tmp_path / name).references().digest for name in ("one", "two")
    }
    wanted = registry_digest({f"m{p.digest.hex[:6]}": str(p.digest) for p in prints})
    assert digests == {wanted}


def test_adding_the_same_again_changes_nothing(
    tmp_path: Path, prints: list[Fingerprint]
) -> None:
    registry = Registry.open(tmp_path, create=True)
    registry.add("a", prints[0])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*son*")}
    registry.add("a", prints[0])
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_taken_name_is_refused_unless_replaced(
    tmp_path: Path, prints: list[Fingerprint]
) -> None:
    registry = Registry.open(tmp_path, create=True)
    registry.add("a", prints[0])
    with pytest.raises(ConfigError) as refused:
        registry.add("a", prints[1])
    assert refused.value.reason == "NameTaken"
    registry.add("a", prints[1], replace=True)
    assert Registry.open(tmp_path).fingerprint("a") == prints[1]


def test_two_writers_lose_nothing(tmp_path: Path, prints: list[Fingerprint]) -> None:
    first = Registry.open(tmp_path, create=True)
    second = Registry.open(tmp_path, create=True)
    first.add("a", prints[0])
    second.add("b", prints[1])
    assert [e.name for e in Registry.open(tmp_path).entries] == ["a", "b"]


@pytest.mark.parametrize("name", ["", "../up", "a b", "-x", "a" * 300, "a\n", "ä"])
def test_a_name_that_cannot_be_a_name_is_refused(
    tmp_path: Path, prints: list[Fingerprint], name: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        Registry.open(tmp_path, create=True).add(name, prints[0])
    assert refused.value.reason == "EntryInvalid"
    assert not (tmp_path / "registry.json").exists()


def test_a_folder_without_catalogue_is_no_registry(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match=r"no registry\.json"):
        Registry.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "MalformedCatalogue"),
        ("[]", "MalformedCatalogue"),
        ('{"schema": "pedigree.dev/registry/v1"}', "MalformedCatalogue"),
        ('{"schema": "pedigree.dev/registry/v7"}', "UnsupportedCatalogue"),
        ("[" * 100_000, "MalformedCatalogue"),
        (
            json.dumps(
                {"schema": "pedigree.dev/registry/v1", "references": [{"name": 1}]}
            ),
            "MalformedCatalogue",
        ),
    ],
    ids=range(6),
)
def test_a_broken_catalogue_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "catalogue.json").write_text(text)
    with pytest.raises(ArtifactError) as refused:
        Registry.open(tmp_path)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("damage", "reason"), [("gone", "NotFound"), ("swapped", "DigestMismatch")]
)
def test_verify_names_a_damaged_reference_and_use_refuses_it(
    tmp_path: Path, prints: list[Fingerprint], damage: str, reason: str
) -> None:
    registry = Registry.open(tmp_path, create=True)
    registry.add("good", prints[0])
    registry.add("bad", prints[1])
    path = tmp_path / "fingerprints" / f"{prints[1].digest.hex}.safetensors"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(prints[2].encoded)
    assert [(p.name, p.reason) for p in registry.verify()] == [("bad", reason)]
    with pytest.raises(PedigreeError):
        registry.references()


def test_nothing_half_written_is_left_behind(
    tmp_path: Path, prints: list[Fingerprint]
) -> None:
    Registry.open(tmp_path, create=True).add("a", prints[0])
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    index = next((tmp_path / "index").iterdir())
    body = f"{prints[0].digest.hex}.safetensors"
    assert names == sorted([".lock", "registry.json", index.name, body])
    assert sha256(index.read_bytes()).hex == index.stem


def test_a_folder_that_cannot_be_written_is_refused_with_its_path(
    tmp_path: Path, prints: list[Fingerprint]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(PedigreeError, match="file"):
        FingerprintStore(tmp_path / "file").put(sha256(b""), prints[0])


def test_the_store_returns_what_was_put(
    tmp_path: Path, prints: list[Fingerprint]
) -> None:
    store, model = FingerprintStore(tmp_path), sha256(b"model")
    assert store.get(model) is None
    store.put(model, prints[0])
    assert store.get(model) == prints[0]
    store.put(model, prints[1])
    assert FingerprintStore(tmp_path).get(model) == prints[1]


def test_a_damaged_store_entry_is_as_good_as_none(
    tmp_path: Path, prints: list[Fingerprint]
) -> None:
    store, model = FingerprintStore(tmp_path), sha256(b"model")
    store.put(model, prints[0])
    os.truncate(store.path(model), 1000)
    assert store.get(model) is None
    store.put(model, prints[0])
    assert store.get(model) == prints[0]


def test_a_reference_set_is_a_mapping_in_order_of_name(
    prints: list[Fingerprint],
) -> None:
    references = ReferenceSet({"b": prints[0], "a": prints[1]})
    assert list(references) == ["a", "b"]
    assert references["b"] == prints[0]
    assert len(references) == 2
