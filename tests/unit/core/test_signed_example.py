# SPDX-License-Identifier: Apache-2.0
"""The example policy on signatures, from the command line as its page shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from artifact_world.weights import lay_out, matrix, weights
from made_signatures import new_key, public_pem, signed
from pedigree.cli import main

ROOT = Path(__file__).parents[3]
POLICY = ROOT / "examples" / "policies" / "signed-models.yaml"
KEY = new_key()
FILES = {"model.safetensors": weights({"a": matrix()})}
OBJECT = {
    "apiVersion": "pedigree.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "chat", "namespace": "team-a"},
    "spec": {"models": [{"name": "base", "source": {"uri": "file:///models/chat"}}]},
}


def _gate(folder: Path, files: dict[str, bytes], *options: str) -> int:
    model = folder / "chat"
    model.mkdir()
    lay_out(model, files)
    (folder / "acme.pub").write_bytes(public_pem(KEY))
    (folder / "chat.yaml").write_text(yaml.safe_dump(OBJECT))
    return main(
        [
            *("gate", f"-f={folder / 'chat.yaml'}", f"--policy={POLICY}"),
            *(f"--mount=/models={folder}", *options),
        ]
    )


def _trusted(folder: Path, name: str = "acme") -> str:
    return f"--trusted-key={name}={folder / 'acme.pub'}"


def test_a_model_that_acme_signed_is_admitted_with_what_may_stand_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**FILES, "model.sig": signed(FILES, KEY), "NOTES.md": b"new"}
    assert _gate(tmp_path, files, _trusted(tmp_path)) == 0
    assert "Allow: team-a/chat" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "name", "said"),
    [
        ({"run.py": b"pass"}, "acme", "does not cover 'run.py'"),
        ({}, "other", "is by 'other'"),
        ({"model.sig": b"{}"}, "acme", "Malformed"),
    ],
)
def test_any_other_is_denied_and_told_why(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: dict[str, bytes],
    name: str,
    said: str,
) -> None:
    files = {**FILES, "model.sig": signed(FILES, KEY), **more}
    assert _gate(tmp_path, files, _trusted(tmp_path, name)) == 1
    text = capsys.readouterr().out
    assert "NotSigned" in text
    assert said in text


def test_the_page_on_signatures_shows_the_rule_of_the_example() -> None:
    page = (ROOT / "docs" / "signatures.md").read_text()
    (rule,) = yaml.safe_load(POLICY.read_text())["spec"]["rules"]
    shown = page.partition("    rules:\n")[2].partition("\n\n")[0]
    assert yaml.safe_load(shown) == [rule]
