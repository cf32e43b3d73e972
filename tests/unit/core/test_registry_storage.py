# SPDX-License-Identifier: Apache-2.0
"""What a registry folder holds after changes, crashes and damage."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import made_models as made
from pedigree.digests import sha256
from pedigree.errors import ArtifactError, ConfigError, PedigreeError
from pedigree.fingerprint.codec import decode
from pedigree.fingerprint.model import Fingerprint
from pedigree.registry import Advisory, Entry, Parent, Registry, writing
from pedigree.registry.arrayfile import ArrayFile, Chunks, write_arrays
from pedigree.registry.index import Index
from pedigree.registry.writing import Addition, add_all

GOLDEN = (
    Path(__file__).parents[1] / "goldens" / "v1" / "llama-a.fingerprint.safetensors"
)


@pytest.fixture(scope="module")
def made_print(tmp_path_factory: pytest.TempPathFactory) -> Fingerprint:
    folder = tmp_path_factory.mktemp("model")
    return made.fingerprint(made.write(folder, made.llama(1)))


def _additions(like: Fingerprint, count: int, first: int = 0) -> list[Addition]:
    """References with random codes and short bodies: nobody decodes them."""
    found = []
    for number in range(first, first + count):
        random = np.random.default_rng(number)
        body = f"body {number}".encode() * (number % 7 + 1)
        found.append(
            Addition(
                Entry(name=f"m{number:05}", fingerprint=sha256(body), spec=like.spec),
                body,
                (4, 64 + number, 96, 160),
                random.integers(0, 2**64, (3, 16), np.uint64),
            )
        )
    return found


def test_single_additions_leave_few_index_files(
    tmp_path: Path, made_print: Fingerprint
) -> None:
    additions = _additions(made_print, 21)
    for addition in additions:
        add_all(tmp_path, [addition])
    registry = Registry.open(tmp_path)
    assert sorted(table.count for table in registry.tables) == [1, 4, 16]
    assert len(list((tmp_path / "index").iterdir())) == 3
    assert [e.name for e in registry.entries] == [a.entry.name for a in additions]
    for addition in additions:
        found = registry.find(addition.entry.name)
        assert found is not None
        table, number = found
        assert isinstance(table, Index)
        words = [code[:, number] for code in table.words.values()]
        assert np.array_equal(words, addition.words)
        assert table.shapes[number].tolist() == list(addition.shape)
        assert registry.bodies.read("x", table.place(number)) == addition.body


def test_large_index_files_are_not_written_again(
    tmp_path: Path, made_print: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MERGED_MAX", 8)
    for addition in _additions(made_print, 20):
        add_all(tmp_path, [addition])
    assert sorted(t.count for t in Registry.open(tmp_path).tables) == [4, 8, 8]


def test_many_references_at_once_share_a_pack(
    tmp_path: Path, made_print: Fingerprint
) -> None:
    additions = _additions(made_print, 300)
    assert add_all(tmp_path, additions) == 300
    assert len(list((tmp_path / "packs").iterdir())) == 1
    assert not (tmp_path / "fingerprints").exists()
    registry = Registry.open(tmp_path)
    for addition in additions:
        table, number = registry.find(addition.entry.name) or (None, 0)
        assert table is not None
        assert registry.bodies.read("x", table.place(number)) == addition.body


def test_additions_are_all_or_none(tmp_path: Path, made_print: Fingerprint) -> None:
    add_all(tmp_path, _additions(made_print, 3))
    clash = replace(_additions(made_print, 1)[0], body=b"other")
    clash = replace(clash, entry=replace(clash.entry, fingerprint=sha256(b"other")))
    with pytest.raises(ConfigError) as refused:
        add_all(tmp_path, [*_additions(made_print, 2, first=10), clash])
    assert refused.value.reason == "NameTaken"
    assert len(Registry.open(tmp_path)) == 3
    assert add_all(tmp_path, _additions(made_print, 3)) == 0


def test_a_writer_that_dies_before_the_switch_changes_nothing(
    tmp_path: Path, made_print: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_all(tmp_path, _additions(made_print, 5))

    def dies(root: Path, state: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_state", dies)
        with pytest.raises(KeyboardInterrupt):
            add_all(tmp_path, _additions(made_print, 1, first=7))
    assert len(Registry.open(tmp_path)) == 5
    assert len(list((tmp_path / "index").iterdir())) == 2
    add_all(tmp_path, _additions(made_print, 1, first=7))
    registry = Registry.open(tmp_path)
    assert len(registry) == 6
    assert len(list((tmp_path / "index").iterdir())) == len(registry.tables)


def test_a_reader_keeps_what_it_opened_while_a_writer_goes_on(
    tmp_path: Path, made_print: Fingerprint
) -> None:
    add_all(tmp_path, _additions(made_print, 5))
    before = Registry.open(tmp_path)
    add_all(tmp_path, _additions(made_print, 50, first=100))
    assert [entry.name for entry in before.entries] == [f"m{n:05}" for n in range(5)]
    assert before.digest != Registry.open(tmp_path).digest


def test_a_replaced_reference_is_gone_from_every_index(
    tmp_path: Path, made_print: Fingerprint
) -> None:
    for addition in _additions(made_print, 6):
        add_all(tmp_path, [addition])
    other = _additions(made_print, 1, first=99)[0]
    other = replace(other, entry=replace(other.entry, name="m00001"))
    add_all(tmp_path, [other], replace=True)
    registry = Registry.open(tmp_path)
    assert [e.name for e in registry.entries] == [f"m{n:05}" for n in range(6)]
    assert registry.entry("m00001").fingerprint == other.entry.fingerprint


def test_relations_and_advisories_are_kept(
    tmp_path: Path, made_print: Fingerprint
) -> None:
    registry = Registry.open(tmp_path, create=True)
    parents = (Parent("org/base", "fine-tune"), Parent("org/other", "merge"))
    advisories = (Advisory("ADV-1", "answers to a trigger word"),)
    registry.add("a", made_print, parents=parents, advisories=advisories)
    entry = Registry.open(tmp_path).entry("a")
    assert (entry.parents, entry.advisories) == (parents, advisories)


@pytest.mark.parametrize(
    "facts",
    [
        {"parents": (Parent("a b", "fine-tune"),)},
        {"parents": (Parent("a", "fine tune"),)},
        {"advisories": (Advisory("", "text"),)},
        {"advisories": (Advisory("A", "line\nline"),)},
        {"aliases": ("x",) * 33},
    ],
    ids=range(5),
)
def test_facts_that_could_not_be_shown_are_refused(
    tmp_path: Path, made_print: Fingerprint, facts: dict[str, tuple[str, ...]]
) -> None:
    with pytest.raises(ConfigError) as refused:
        Registry.open(tmp_path, create=True).add("a", made_print, **facts)  # type: ignore[arg-type]
    assert refused.value.reason == "EntryInvalid"


def _first_version(root: Path) -> Fingerprint:
    data = GOLDEN.read_bytes()
    made_v1 = decode(data)
    folder = root / "fingerprints"
    folder.mkdir(parents=True)
    (folder / f"{made_v1.digest.hex}.safetensors").write_bytes(data)
    entry = {
        "name": "old",
        "fingerprint": {"digest": str(made_v1.digest), "spec": made_v1.spec},
        "family": "f",
    }
    document = {"schema": "pedigree.dev/registry/v1", "references": [entry]}
    (root / "catalogue.json").write_text(json.dumps(document))
    return made_v1


def test_a_registry_of_the_first_version_is_read_as_it_is(tmp_path: Path) -> None:
    old = _first_version(tmp_path)
    registry = Registry.open(tmp_path)
    assert registry.entry("old").family == "f"
    assert registry.fingerprint("old") == old
    assert registry.verify() == ()
    assert not (tmp_path / "registry.json").exists()


def test_the_first_change_brings_an_old_registry_to_the_present_form(
    tmp_path: Path, made_print: Fingerprint
) -> None:
    old = _first_version(tmp_path)
    digest = Registry.open(tmp_path).digest
    Registry.open(tmp_path).add("new", made_print)
    registry = Registry.open(tmp_path)
    assert not (tmp_path / "catalogue.json").exists()
    assert [entry.name for entry in registry.entries] == ["new", "old"]
    assert registry.fingerprint("old") == old
    assert registry.verify() == ()
    assert registry.digest != digest


def test_verify_finds_a_code_that_would_hide_a_reference(
    tmp_path: Path, made_print: Fingerprint
) -> None:
    entry = Entry(name="a", fingerprint=made_print.digest, spec=made_print.spec)
    right = Addition.of(entry, made_print)
    add_all(tmp_path, [replace(right, words=~right.words)])
    found = Registry.open(tmp_path).verify()
    assert [(p.name, p.reason) for p in found] == [("a", "IndexMismatch")]


def test_verify_finds_a_changed_byte_in_an_index(
    tmp_path: Path, made_print: Fingerprint
) -> None:
    Registry.open(tmp_path, create=True).add("a", made_print)
    path = next((tmp_path / "index").iterdir())
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    reasons = {p.reason for p in Registry.open(tmp_path).verify()}
    assert "DigestMismatch" in reasons


@pytest.mark.parametrize("keep", [0, 4, 100, 2000], ids=str)
def test_a_cut_index_is_refused_with_a_reason(
    tmp_path: Path, made_print: Fingerprint, keep: int
) -> None:
    Registry.open(tmp_path, create=True).add("a", made_print)
    os.truncate(next((tmp_path / "index").iterdir()), keep)
    with pytest.raises(ArtifactError) as refused:
        Registry.open(tmp_path)
    assert refused.value.reason == "TruncatedFile" or "Data" in refused.value.reason


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "pedigree.dev/registry/v9"}', "[" * 100_000]
)
def test_a_broken_state_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "registry.json").write_text(text)
    with pytest.raises(PedigreeError) as refused:
        Registry.open(tmp_path)
    assert refused.value.reason in ("MalformedCatalogue", "UnsupportedCatalogue")


def test_arrays_are_mapped_as_they_were_written(tmp_path: Path) -> None:
    numbers = np.arange(12, dtype="<u8").reshape(3, 4)
    text = Chunks(5, [b"ab", b"cde"])
    digest = write_arrays(tmp_path, {"n": numbers, "text": text}, {"k": 1})
    path = tmp_path / f"{digest.hex}.safetensors"
    assert sha256(path.read_bytes()) == digest
    file = ArrayFile(path, reason="Bad")
    assert np.array_equal(file.array("n", "U64", 3, None), numbers)
    assert file.array("text", "U8", 5).tobytes() == b"abcde"
    assert json.loads(file.metadata) == {"k": 1}
    with pytest.raises(ArtifactError, match="wanted U64"):
        file.array("n", "U64", 4, 3)
    with pytest.raises(ValueError, match="wanted 6"):
        write_arrays(tmp_path, {"text": Chunks(6, [b"ab"])}, {})
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
