# SPDX-License-Identifier: Apache-2.0
"""References that come from elsewhere: every digest is recomputed, conflicts told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import made_models as made
from pedigree.errors import ArtifactError, ConfigError, PedigreeError
from pedigree.fingerprint.model import Fingerprint
from pedigree.registry import Entry, Parent, Registry
from pedigree.registry.arrayfile import write_arrays
from pedigree.registry.exchange import (
    OnConflict,
    checked,
    export_file,
    merge,
    read_references,
)
from pedigree.registry.index import Index
from pedigree.registry.writing import Addition, add_all


@pytest.fixture(scope="module")
def prints(tmp_path_factory: pytest.TempPathFactory) -> list[Fingerprint]:
    folder = tmp_path_factory.mktemp("models")
    return [
        made.fingerprint(made.write(folder / str(seed), made.llama(seed, layers=1)))
        for seed in range(3)
    ]


def _registry(root: Path, prints: dict[str, Fingerprint]) -> Registry:
    registry = Registry.open(root, create=True)
    for name, made_print in prints.items():
        registry.add(name, made_print, parents=(Parent("base", "FineTuned"),))
    return registry


def test_what_is_exported_comes_back_the_same(
    tmp_path: Path, prints: list[Fingerprint]
) -> None:
    ours = _registry(tmp_path / "a", {"x": prints[0], "y": prints[1]})
    assert export_file(ours, tmp_path / "out.safetensors") == 2
    merge(
        tmp_path / "b", read_references(tmp_path / "out.safetensors"), OnConflict.FAIL
    )
    again = Registry.open(tmp_path / "b")
    assert again.entries == ours.entries
    assert again.digest == ours.digest
    assert again.verify() == ()


def test_single_references_can_be_exported(
    tmp_path: Path, prints: list[Fingerprint]
) -> None:
    ours = _registry(tmp_path / "a", {"x": prints[0], "y": prints[1]})
    export_file(ours, tmp_path / "out", ["y"])
    names = [a.entry.name for a in read_references(tmp_path / "out")]
    assert names == ["y"]
    with pytest.raises(PedigreeError) as refused:
        export_file(ours, tmp_path / "other", ["z"])
    assert refused.value.reason == "NotFound"
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("place", [-3, -20_000, 60])
def test_a_changed_byte_in_an_exported_file_is_refused(
    tmp_path: Path, prints: list[Fingerprint], place: int
) -> None:
    export_file(_registry(tmp_path / "a", {"x": prints[0]}), tmp_path / "out")
    data = bytearray((tmp_path / "out").read_bytes())
    data[place] ^= 4
    (tmp_path / "out").write_bytes(data)
    with pytest.raises(PedigreeError):
        merge(tmp_path / "b", read_references(tmp_path / "out"), OnConflict.FAIL)
    assert len(Registry.open(tmp_path / "b", create=True)) == 0


def test_codes_that_lie_are_computed_again(
    tmp_path: Path, prints: list[Fingerprint]
) -> None:
    entry = Entry(name="x", fingerprint=prints[0].digest, spec=prints[0].spec)
    right = Addition.of(entry, prints[0])
    add_all(tmp_path / "a", [replace(right, words=~right.words)])
    merge(tmp_path / "b", read_references(tmp_path / "a"), OnConflict.FAIL)
    table = Registry.open(tmp_path / "b").tables[0]
    assert isinstance(table, Index)
    words = np.stack([code[:, 0] for code in table.words.values()])
    assert np.array_equal(words, right.words)


def test_a_fingerprint_that_is_not_the_one_named_is_refused(
    prints: list[Fingerprint],
) -> None:
    entry = Entry(name="x", fingerprint=prints[1].digest, spec=prints[0].spec)
    with pytest.raises(ArtifactError) as refused:
        checked(entry, prints[0].encoded)
    assert refused.value.reason == "DigestMismatch"
    entry = Entry(name="x", fingerprint=prints[0].digest, spec="other/v9")
    with pytest.raises(ArtifactError) as refused:
        checked(entry, prints[0].encoded)
    assert refused.value.reason == "SpecMismatch"


@pytest.mark.parametrize(
    ("policy", "wins"), [(OnConflict.KEEP, 0), (OnConflict.REPLACE, 1)]
)
def test_a_conflict_is_settled_as_asked_and_told(
    tmp_path: Path, prints: list[Fingerprint], policy: OnConflict, wins: int
) -> None:
    _registry(tmp_path / "a", {"x": prints[0], "y": prints[2]})
    _registry(tmp_path / "b", {"x": prints[1], "y": prints[2], "z": prints[2]})
    merged = merge(tmp_path / "a", read_references(tmp_path / "b"), policy)
    assert [c.name for c in merged.conflicts] == ["x"]
    assert merged.conflicts[0].ours.fingerprint == prints[0].digest
    assert merged.conflicts[0].theirs.fingerprint == prints[1].digest
    assert (merged.added, merged.same) == (1 + wins, 1)
    assert Registry.open(tmp_path / "a").fingerprint("x") == prints[wins]


def test_a_conflict_is_refused_unless_settled(
    tmp_path: Path, prints: list[Fingerprint]
) -> None:
    _registry(tmp_path / "a", {"x": prints[0]})
    _registry(tmp_path / "b", {"x": prints[1], "z": prints[2]})
    with pytest.raises(ConfigError) as refused:
        merge(tmp_path / "a", read_references(tmp_path / "b"), OnConflict.FAIL)
    assert refused.value.reason == "MergeConflict"
    assert [e.name for e in Registry.open(tmp_path / "a").entries] == ["x"]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    digest = write_arrays(tmp_path, {}, {"schema": "other/v1"})
    with pytest.raises(ArtifactError) as refused:
        list(read_references(tmp_path / f"{digest.hex}.safetensors"))
    assert refused.value.reason == "UnsupportedExport"
    plain = write_arrays(tmp_path, {}, {})
    with pytest.raises(ArtifactError, match="does not say what it is") as refused:
        list(read_references(tmp_path / f"{plain.hex}.safetensors"))
    assert "registry export" in (refused.value.hint or "")
    (tmp_path / "text").write_text("not a file of arrays, but long enough")
    with pytest.raises(ArtifactError):
        list(read_references(tmp_path / "text"))
