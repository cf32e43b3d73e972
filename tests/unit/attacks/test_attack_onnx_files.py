# SPDX-License-Identifier: Apache-2.0
"""ONNX models that point at files elsewhere, by their numbers.

ONNX is not read: whatever a model of it names is not followed, the evidence says which
format it is, and nothing is compared.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from artifact_world.weights import matrix, weights
from pedigree import refs
from pedigree.errors import SourceRefused
from pedigree.evidence import Severity
from pedigree.examine import Examination, ExamineSettings, examine
from pedigree.sources import SourceSettings

SECRET = b"what lies outside the model"


def _field(number: int, raw: bytes) -> bytes:
    """A protobuf field of bytes, shorter than 128."""
    return bytes([number << 3 | 2, len(raw)]) + raw


def onnx(location: str) -> bytes:
    """A model of one initializer, whose data is said to be in another file."""
    pair = _field(1, b"location") + _field(2, location.encode())
    tensor = _field(8, b"w") + _field(13, pair) + bytes([14 << 3, 1])
    graph = _field(2, b"g") + _field(5, tensor)
    return bytes([1 << 3, 8]) + _field(7, graph)


def _examine(folder: Path) -> Examination:
    return examine(
        refs.parse(f"file://{folder}"),
        settings=ExamineSettings(sources=SourceSettings()),
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every file that is opened by name while a test runs."""
    seen: list[str] = []
    real = os.open

    def noted(path: Any, *rest: Any, **more: Any) -> int:
        seen.append(os.fspath(path) if not isinstance(path, int) else "")
        return real(path, *rest, **more)

    monkeypatch.setattr("pedigree.sources.files.os.open", noted)
    return seen


@pytest.mark.parametrize(
    ("number", "location"),
    [
        ("CVE-2022-25882", "../secret/key"),
        ("CVE-2024-27318", "sub/../../secret/key"),
        ("CVE-2024-27318", "/etc/passwd"),
        ("CVE-2026-27489", "data/../../secret/key"),
        ("CVE-2026-34447", "..\\secret\\key"),
        ("CVE-2026-34447", "key\x00.onnx_data"),
    ],
)
def test_no_file_that_an_onnx_model_names_is_opened(
    tmp_path: Path, opened: list[str], number: str, location: str
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(SECRET)
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.onnx").write_bytes(onnx(location))
    found = _examine(model)
    assert found.evidence.formats == ("onnx",)
    assert found.evidence.files == 1
    assert found.fingerprint is None
    errors = {f.reason for f in found.evidence.findings if f.severity is Severity.ERROR}
    assert errors, number
    assert any(path.endswith("model.onnx") for path in opened)
    assert not any("key" in path or "passwd" in path for path in opened)


@pytest.mark.parametrize("name", ["weights.onnx_data", "w"])
def test_cve_2024_27318_a_link_out_of_the_folder_is_refused(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.onnx").write_bytes(onnx(name))
    (model / name).symlink_to(tmp_path / "secret")
    with pytest.raises(SourceRefused) as caught:
        _examine(model)
    assert caught.value.reason == "LinkOutside"


def test_cve_2026_34446_a_hard_link_is_a_file_of_the_model_and_in_its_digest(
    tmp_path: Path,
) -> None:
    """A second name of a file looks like any file: what it holds is what counts."""
    (tmp_path / "secret").write_bytes(SECRET)
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.onnx").write_bytes(onnx("w.onnx_data"))
    without = _examine(model).evidence
    (model / "w.onnx_data").hardlink_to(tmp_path / "secret")
    found = _examine(model).evidence
    assert found.files == 2
    assert found.size_bytes == without.size_bytes + len(SECRET)
    assert found.digest != without.digest
    told = " ".join(finding.message for finding in found.findings)
    assert SECRET.decode() not in told


def test_onnx_beside_weights_that_are_read_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(weights({"a": matrix()}))
    (tmp_path / "model.onnx").write_bytes(onnx("x"))
    found = _examine(tmp_path)
    assert set(found.evidence.formats) == {"onnx", "safetensors"}
    assert "model.onnx" in {finding.path for finding in found.evidence.findings}
