# SPDX-License-Identifier: Apache-2.0
"""Every parser keeps its promise: bytes give a value or a refusal in our words.

``bench/fuzz.py`` looks for inputs for hours; here its corpus is replayed, and a few
hundred inputs are made of it that are the same in every run.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from bench.fuzzing.catalogue import CORPUS, TARGETS, corpus
from bench.fuzzing.plain import run
from bench.fuzzing.target import Target, execute

from artifact_world.weights import file_of
from pedigree.errors import ArtifactError, PedigreeError

INPUTS = 300
SECONDS_MAX = 1.5

_STATE = (
    b'{"schema":"pedigree.dev/registry/v2","index":[],"references":1e999,'
    b'"digest":"sha256:' + b"0" * 64 + b'"}'
)
FOUND: list[tuple[str, bytes]] = [
    ("places", b"https://host:99999/a.gguf"),
    ("places", b"oci://host:99999/a"),
    ("hub-tree", b'<http://a:99999/>; rel="next"\n[]'),
    ("hub-tree", b'<http://[a/>; rel="next"\n[]'),
    ("registry-export", file_of({"__metadata__": {"pedigree": "[" * 5_000}})),
    ("registry-index", file_of({"__metadata__": {"pedigree": "[" * 5_000}})),
    ("kit-record", b'{"rope_theta":1' + b"0" * 400 + b"}"),
    ("registry-state", _STATE),
    (
        "tokenizer-context",
        b'{"normalizer":{"type":"Sequence","normalizers":2},'
        b'"model":{"type":"Unigram","vocab":[["a",0.0]]}}',
    ),
    ("vocabulary", b"[]"),
    ("manifests", b"!!timestamp x"),
    ("manifests", b"!!bool x"),
    ("manifests", b"!!int ''"),
    ("manifests", b"kind: []\napiVersion: pedigree.dev/v1alpha1"),
    ("tokenizer", b'{"added_tokens":[{"id":3,"content":"a"}],"model":{"vocab":[]}}'),
    ("tokenizer-context", b'{"model":{"type":"Unigram","vocab":[[[],0]]}}'),
    ("tokenizer-context", b'{"model":{"type":"BPE","vocab":{}},"added_tokens":5}'),
    ("registry-entry", b'{"schema":"pedigree.dev/registry/v1","references":"x"}'),
    ("registry-entry", b'{"schema":"pedigree.dev/registry/v1","references":[1]}'),
    ("ledger-entry", b'{"entries":1,"firstBad":null,"head":7,"ok":true}'),
]
"""Inputs that once ended a parser with an exception of Python's."""


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_stays_mended(name: str, data: bytes) -> None:
    found = execute(TARGETS[name], data)
    assert found is None, found.detail


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_reach_the_parser_and_changed_ones_do_not_break_it(name: str) -> None:
    target = TARGETS[name]
    understood = 0
    for data in target.seeds():
        with suppress(PedigreeError):
            target.run(data)
            understood += 1
    assert understood, "a target whose seeds are all refused looks at nothing"
    done = run(target, executions=INPUTS, seconds=SECONDS_MAX)
    broken = {key: found[0].detail for key, found in done.findings.by_key.items()}
    assert not broken


def test_the_corpus_is_of_targets_that_are_there_and_small() -> None:
    folders = {path.name for path in CORPUS.iterdir()}
    assert folders <= set(TARGETS)
    assert sum(len(data) for t in TARGETS.values() for data in corpus(t)) < 1_000_000


def _raises(error: Exception) -> Target:
    def parser(data: bytes) -> None:
        raise error

    return Target("made", parser, lambda: [b"x"])


def test_an_exception_of_python_is_a_finding_and_a_refusal_is_none() -> None:
    assert execute(_raises(ArtifactError("it is wrong")), b"") is None
    found = execute(_raises(KeyError("a")), b"x")
    assert found is not None
    assert found.key.startswith("KeyError")
    assert found.data == b"x"


def test_a_parser_that_takes_too_long_or_too_much_is_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = Target("made", lambda data: sum(range(2_000_000)), lambda: [b"x"])
    assert execute(target, b"") is None
    monkeypatch.setattr("bench.fuzzing.target.SECONDS_MAX", 1e-4)
    slow = execute(target, b"")
    assert slow is not None
    assert slow.key == "slow"
    hungry = Target("made", lambda data: bytes(range(256)) * 16_000, lambda: [b"x"])
    monkeypatch.setattr("bench.fuzzing.target.SECONDS_MAX", 9.0)
    monkeypatch.setattr("bench.fuzzing.target.MEMORY_MAX_KB", -1)
    large = execute(hungry, b"")
    assert large is not None
    assert large.key == "memory"


def test_findings_are_written_with_their_input_and_few_of_a_kind(
    tmp_path: Path,
) -> None:
    target = _raises(TypeError("odd"))
    done = run(target, executions=50, folder=tmp_path)
    (kept,) = done.findings.by_key.values()
    assert len(kept) == 3
    for finding in kept:
        place = tmp_path / "made" / finding.digest
        assert place.read_bytes() == finding.data
        assert json.loads(place.with_suffix(".json").read_text())["key"] == finding.key


def test_the_same_seed_gives_the_same_inputs() -> None:
    def inputs(seed: int) -> list[bytes]:
        seen: list[bytes] = []
        target = Target("made", seen.append, lambda: [b'{"a":1}', b"xyz"])
        run(target, executions=60, seed=seed)
        return seen

    assert inputs(1) == inputs(1)
    assert inputs(1) != inputs(2)
