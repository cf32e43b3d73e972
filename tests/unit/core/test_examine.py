# SPDX-License-Identifier: Apache-2.0
"""From a reference to evidence."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from artifact_world.hub import SimulatedHub, serve
from artifact_world.weights import (
    file_of,
    index_of,
    lay_out,
    matrix,
    source_of,
    tensor,
    weights,
)
from pedigree import __version__, refs
from pedigree.digests import Digest
from pedigree.errors import SourceRefused, SourceUnavailable
from pedigree.evidence import Severity, from_object, to_object, to_spec
from pedigree.examine import Examination, ExamineSettings, examine
from pedigree.fingerprint.model import Fingerprint
from pedigree.sources import SourceSettings

NOW = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
ONE = weights({"a": matrix()})


class Shelf:
    """Fingerprints kept in memory."""

    def __init__(self) -> None:
        self.kept: dict[Digest, Fingerprint] = {}

    def get(self, model_digest: Digest) -> Fingerprint | None:
        return self.kept.get(model_digest)

    def put(self, model_digest: Digest, fingerprint: Fingerprint) -> None:
        self.kept[model_digest] = fingerprint


def _examine(
    folder: Path, files: dict[str, bytes] | None = None, **options: object
) -> Examination:
    lay_out(folder, files or {})
    settings = ExamineSettings(sources=SourceSettings())
    return examine(
        refs.parse(f"file://{folder}"),
        **{"settings": settings, "now": NOW, **options},  # type: ignore[arg-type]
    )


def _errors(examination: Examination) -> list[tuple[str, str]]:
    return [
        (finding.reason, finding.path)
        for finding in examination.evidence.findings
        if finding.severity is Severity.ERROR
    ]


def test_an_example_model_has_evidence_and_a_fingerprint() -> None:
    found = _examine(EXAMPLES / "llama-a")
    evidence = found.evidence
    assert str(evidence.root_digest).startswith("sha256:9ca22f87ee54")
    assert evidence.formats == ("safetensors",)
    assert evidence.architecture == "llama"
    assert evidence.parameters == 1_262_720
    assert evidence.findings == ()
    assert evidence.engine == __version__
    assert evidence.examined_at == "2026-11-23T04:05:06Z"
    assert evidence.lineage is None
    assert found.fingerprint is not None
    assert evidence.fingerprint == found.fingerprint.digest
    assert evidence.resolutions == (found.resolution,)
    assert found.resolution.identity == source_of(EXAMPLES / "llama-a").identity
    assert found.bytes_read == evidence.size_bytes
    assert from_object(to_object(evidence)).digest == evidence.digest


def test_examining_twice_gives_the_same_evidence() -> None:
    first, second = (_examine(EXAMPLES / "gpt2-a").evidence for _ in range(2))
    assert first == second


def test_a_kept_fingerprint_saves_reading_the_weights() -> None:
    shelf = Shelf()
    first = _examine(EXAMPLES / "llama-a", store=shelf)
    assert shelf.kept == {first.evidence.digest: first.fingerprint}
    stages: set[str] = set()
    second = _examine(
        EXAMPLES / "llama-a",
        store=shelf,
        progress=lambda stage, done, total: stages.add(stage),
    )
    assert stages == {"hash"}
    assert second.reused
    assert not first.reused
    assert second.evidence == first.evidence


def test_weights_whose_roles_are_unknown_are_a_finding(tmp_path: Path) -> None:
    files = {"model.safetensors": weights({"some.matrix": matrix()})}
    evidence = _examine(tmp_path, files).evidence
    assert evidence.architecture == ""
    assert [finding.reason for finding in evidence.findings] == ["UnknownArchitecture"]
    assert evidence.fingerprint is not None


def test_files_that_change_names_are_another_model(tmp_path: Path) -> None:
    # Equal root digests bind contents in the order of their names, not the names.
    shelf = Shelf()
    right = {"a.txt": ONE, "model.safetensors": weights({"b": matrix()})}
    wrong = {"model.safetensors": ONE, "z.txt": right["model.safetensors"]}
    first = _examine(tmp_path / "right", right, store=shelf)
    second = _examine(tmp_path / "wrong", wrong, store=shelf)
    assert first.evidence.root_digest == second.evidence.root_digest
    assert first.evidence.digest != second.evidence.digest
    assert _errors(first) == [("HiddenWeights", "a.txt")]
    assert _errors(second) == [("HiddenWeights", "z.txt")]


def _nan() -> bytes:
    return weights({"a": np.array([1, np.nan], np.float32)})


@pytest.mark.parametrize(
    ("files", "reason", "path"),
    [
        ({"model.safetensors": (2**40).to_bytes(8, "little") + b"{}"},
         "HeaderTooLarge", "model.safetensors"),
        ({"model.safetensors": b"abc"}, "TruncatedFile", "model.safetensors"),
        ({"model.safetensors": ONE[:-1]}, "TruncatedFile", "model.safetensors"),
        ({"model.safetensors": file_of({"a": tensor("F99", [1], 0, 4)}, bytes(4))},
         "UnknownDtype", "model.safetensors"),
        ({"model.safetensors": file_of(
            {"a": tensor("F32", [1], 0, 4), "b": tensor("F32", [1], 0, 4)}, bytes(4))},
         "OverlappingTensors", "model.safetensors"),
        ({"model.safetensors": file_of(b'{"a":{},"a":{}}')},
         "DuplicateKey", "model.safetensors"),
        ({"model.safetensors.index.json": index_of({"a": "../x.safetensors"})},
         "IndexOutsideFolder", "model.safetensors.index.json"),
        ({"model.safetensors.index.json": index_of({"a": "x.safetensors"})},
         "MissingShard", "model.safetensors.index.json"),
        ({"model.safetensors": _nan()}, "NonFiniteTensor", "model.safetensors"),
        ({"model.safetensors": ONE, "config.json": b"{"},
         "MalformedConfig", "config.json"),
        ({"config.json": b"{}"}, "NoReadableWeights", ""),
    ],
)  # fmt: skip
def test_wrong_bytes_are_a_finding_and_not_a_crash(
    tmp_path: Path, files: dict[str, bytes], reason: str, path: str
) -> None:
    found = _examine(tmp_path, files)
    assert _errors(found) == [(reason, path)]
    assert found.evidence.files == len(files)
    assert from_object(to_object(found.evidence)).digest == found.evidence.digest
    if reason != "MalformedConfig":
        assert found.fingerprint is None
        assert found.evidence.fingerprint is None


def test_a_broken_model_is_not_kept(tmp_path: Path) -> None:
    shelf = Shelf()
    _examine(tmp_path, {"model.safetensors": _nan()}, store=shelf)
    assert shelf.kept == {}


def test_formats_that_are_not_read_are_told(tmp_path: Path) -> None:
    files = {"model.safetensors": ONE, "pytorch_model.bin": b"x", "q.gguf": b"y"}
    files["model.onnx"] = b"z"
    evidence = _examine(tmp_path, files).evidence
    assert evidence.formats == ("gguf", "onnx", "pytorch", "safetensors")
    assert [(f.reason, f.severity, f.path) for f in evidence.findings] == [
        ("UnknownArchitecture", Severity.WARNING, ""),  # one lone tensor
        ("UnreadFormat", Severity.WARNING, "pytorch_model.bin"),
        ("UnreadFormat", Severity.WARNING, "q.gguf"),
        ("UnsupportedFormat", Severity.WARNING, "model.onnx"),
    ]
    assert "only the safetensors was compared" in evidence.findings[1].message


def test_a_model_in_an_unread_format_alone_is_an_error(tmp_path: Path) -> None:
    found = _examine(tmp_path, {"model.onnx": b"x"})
    assert found.evidence.formats == ("onnx",)
    assert sorted(_errors(found)) == [
        ("NoReadableWeights", ""),
        ("UnsupportedFormat", "model.onnx"),
    ]


def test_the_most_severe_findings_come_first(tmp_path: Path) -> None:
    files = {"model.safetensors": _nan(), "a.bin": b"x", "run.py": b""}
    findings = _examine(tmp_path, files).evidence.findings
    assert [finding.severity for finding in findings] == [
        Severity.ERROR,
        Severity.WARNING,
        Severity.WARNING,
    ]


def test_what_the_files_declare_is_a_claim(tmp_path: Path) -> None:
    card = b"---\nbase_model: org/base\n---\n"
    evidence = _examine(
        tmp_path, {"model.safetensors": ONE, "README.md": card}
    ).evidence
    (claim,) = evidence.claims
    assert (claim.field, claim.value, claim.source) == (
        "baseModel",
        "org/base",
        "README.md",
    )


def test_signing_a_model_does_not_make_it_another_one(tmp_path: Path) -> None:
    before = _examine(tmp_path, {"model.safetensors": ONE}).evidence
    after = _examine(tmp_path, {"model.sig": b"signature"}).evidence
    assert after.digest == before.digest
    assert after.files == before.files == 1


@pytest.mark.parametrize("stage", ["hash", "fingerprint"])
@pytest.mark.parametrize("change", ["content", "added", "removed"])
def test_a_model_that_changes_while_it_is_read_has_no_evidence(
    tmp_path: Path, stage: str, change: str
) -> None:
    lay_out(tmp_path, {"model.safetensors": ONE, "notes.txt": b"x"})
    done = itertools.count()

    def meddle(now: str, *_: int) -> None:
        if now != stage or next(done):
            return
        if change == "content":
            (tmp_path / "model.safetensors").write_bytes(weights({"a": matrix(4, 4)}))
        elif change == "added":
            (tmp_path / "other.safetensors").write_bytes(ONE)
        else:
            (tmp_path / "notes.txt").unlink()

    shelf = Shelf()
    with pytest.raises((SourceUnavailable, SourceRefused)) as caught:
        _examine(tmp_path, progress=meddle, store=shelf)
    assert caught.value.reason in ("ChangedWhileReading", "NotFound")
    assert shelf.kept == {}


def test_an_examination_can_be_stopped(tmp_path: Path) -> None:
    asked = itertools.count()
    with pytest.raises(SourceUnavailable, match="stopped after") as caught:
        _examine(
            tmp_path,
            {"model.safetensors": ONE, "a.txt": b"x"},
            cancelled=lambda: next(asked) >= 1,
        )
    assert caught.value.reason == "Cancelled"


def test_an_examination_ends_at_its_deadline(tmp_path: Path) -> None:
    seconds = itertools.count()
    with pytest.raises(SourceUnavailable, match="out of time") as caught:
        _examine(
            tmp_path,
            {f"{i}.txt": b"x" for i in range(20)},
            settings=ExamineSettings(sources=SourceSettings(), deadline_s=10),
            clock=lambda: float(next(seconds)),
        )
    assert caught.value.reason == "DeadlineExceeded"


def test_progress_is_told_to_its_end() -> None:
    told: list[tuple[str, int, int]] = []
    _examine(EXAMPLES / "gpt2-a", progress=lambda *step: told.append(step))
    for stage in ("hash", "fingerprint"):
        steps = [(done, total) for name, done, total in told if name == stage]
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1] > 0


def test_a_folder_of_version_control_alone_has_no_evidence(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused) as caught:
        _examine(tmp_path, {".git/HEAD": b"x"})
    assert caught.value.reason == "EmptyFolder"


@pytest.fixture
def hub() -> Iterator[SimulatedHub]:
    with serve(SimulatedHub()) as served:
        yield served


def test_a_model_on_the_hub_has_the_evidence_of_its_download(
    hub: SimulatedHub, tmp_path: Path
) -> None:
    files = {path.name: path.read_bytes() for path in (EXAMPLES / "llama-b").iterdir()}
    commit = hub.commit({**files, ".gitattributes": b"*.safetensors filter=lfs"})
    settings = ExamineSettings(sources=SourceSettings(hub_endpoint=hub.endpoint))
    there = examine(refs.parse("hf://org/model"), settings=settings, now=NOW)
    here = _examine(EXAMPLES / "llama-b")
    resolution = there.resolution
    assert resolution.uri == "hf://org/model"
    assert resolution.pinned_uri == f"hf://org/model@{commit}"
    assert resolution.identity == f"commit:{commit}"
    assert there.fingerprint == here.fingerprint
    same = dataclasses.replace(there.evidence, resolutions=here.evidence.resolutions)
    assert same == here.evidence


def test_large_files_on_the_hub_are_not_read_for_their_digest(
    hub: SimulatedHub,
) -> None:
    hub.commit({"big.bin": bytes(200_000), "model.safetensors": ONE})
    settings = ExamineSettings(sources=SourceSettings(hub_endpoint=hub.endpoint))
    found = examine(refs.parse("hf://org/model"), settings=settings, now=NOW)
    assert found.bytes_read < 10_000
    asked = hub.paths_asked("big.bin")  # what it is, for its name tells little
    assert {each.headers.get("range") for each in asked} == {"bytes=0-511"}


def test_hidden_weights_on_the_hub_are_found_by_their_first_bytes(
    hub: SimulatedHub,
) -> None:
    hidden = weights({"a": matrix(50, 20)})
    hub.commit({"notes.dat": hidden, "model.safetensors": ONE})
    settings = ExamineSettings(sources=SourceSettings(hub_endpoint=hub.endpoint))
    found = examine(refs.parse("hf://org/model"), settings=settings, now=NOW)
    assert _errors(found) == [("HiddenWeights", "notes.dat")]
    assert found.bytes_read < len(hidden)


def test_a_second_model_in_a_folder_is_a_finding(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "llama-a.sft", tmp_path / "two")
    plain = _examine(tmp_path / "two").evidence
    assert plain.findings == ()
    shutil.copytree(EXAMPLES / "gpt2-a", tmp_path / "two" / "other")
    evidence = _examine(tmp_path / "two").evidence
    assert [finding.reason for finding in evidence.findings] == ["UncomparedWeights"]
    assert "47.0 % of the weights" in evidence.findings[0].message


def test_no_list_of_findings_pushes_out_the_one_that_policies_look_at(
    tmp_path: Path,
) -> None:
    shutil.copytree(EXAMPLES / "llama-a.sft", tmp_path / "two")
    shutil.copytree(EXAMPLES / "gpt2-a", tmp_path / "two" / "other")
    for number in range(60):
        (tmp_path / "two" / f"{number}.py").write_text("pass")
    stored = to_spec(_examine(tmp_path / "two").evidence)
    assert stored["findings"][0]["reason"] == "UncomparedWeights"
