# SPDX-License-Identifier: Apache-2.0
"""The script that makes the environment of the other targets."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "bootstrap.py"


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with an environment that a complete run has left behind."""
    spec = importlib.util.spec_from_file_location("bootstrap_of_tools", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "_pedigree_gate.pth").write_text(str(tmp_path))
    monkeypatch.setattr(module, "VENV", tmp_path)
    monkeypatch.setattr(module, "STAMP", tmp_path / "stamp")
    module.STAMP.write_text(module.wanted_stamp())
    return module


def _steps(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(module, "step", lambda _n, _of, what, _run: found.append(what))
    assert module.main() == 0
    return found


def test_an_environment_that_is_complete_is_left_alone(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _steps(bootstrap, monkeypatch) == []


def test_a_copy_of_pedigree_in_the_environment_gives_way_to_the_link(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(bootstrap.VENV.rglob("*.pth")).unlink()
    assert len(_steps(bootstrap, monkeypatch)) == 3
