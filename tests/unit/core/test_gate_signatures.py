# SPDX-License-Identifier: Apache-2.0
"""``pedigree gate`` under a policy that asks who signed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from made_signatures import NOW, new_key, public_pem, signed, statement_of
from made_sigstore import MadeSigstore
from pedigree.cli import main

EXAMPLES = Path(__file__).parents[3] / "examples"
MANIFEST = EXAMPLES / "manifests" / "approved.yaml"
KEY = new_key()
POLICY = {
    "apiVersion": "pedigree.dev/v1alpha1",
    "kind": "ClusterLineagePolicy",
    "metadata": {"name": "signed"},
    "spec": {
        "rules": [
            {
                "name": "signed",
                "signature": {
                    "required": "Always",
                    "signers": ["acme"],
                    "allowUnsignedFiles": ["*.md"],
                },
            }
        ]
    },
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The folder of models, with its only one signed, and a policy beside it."""
    source = yaml.safe_load(MANIFEST.read_text())["spec"]["models"][0]["source"]["uri"]
    name = str(source).removeprefix("file:///models/")
    folder = tmp_path / "models" / name
    shutil.copytree(EXAMPLES / "models" / name, folder)
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    (folder / "model.sig").write_bytes(signed(files, KEY))
    (tmp_path / "acme.pub").write_bytes(public_pem(KEY))
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    return folder


def _gate(folder: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> Any:
    root = folder.parent.parent
    arguments = ["gate", "-f", str(MANIFEST), f"--policy={root / 'policy.yaml'}"]
    code = main([*arguments, f"--mount=/models={root / 'models'}", "--json", *flags])
    verdict = json.loads(capsys.readouterr().out)["objects"][0]["verdict"]
    return code, verdict["reason"]


def test_a_signed_model_is_admitted_for_who_knows_the_signer(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = f"--trusted-key=acme={models.parent.parent / 'acme.pub'}"
    assert _gate(models, capsys, key) == (0, "LineageVerified")
    assert _gate(models, capsys) == (1, "NotSigned")
    other = key.replace("acme=", "house=", 1)
    assert _gate(models, capsys, other) == (1, "NotSigned")
    (models / "NOTES.md").write_text("not signed, and allowed not to be")
    assert _gate(models, capsys, key) == (0, "LineageVerified")
    (models / "modeling.py").write_text("import os")
    assert _gate(models, capsys, key) == (1, "NotSigned")


def test_an_identity_of_sigstore_is_given_like_a_key(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, made = models.parent.parent, MadeSigstore()
    who = {"issuer": "https://issuer.example", "subject": "releases@example.com"}
    files = {p.name: p.read_bytes() for p in models.iterdir() if p.name != "model.sig"}
    payload = json.dumps(statement_of(files)).encode()
    (models / "model.sig").write_bytes(
        made.sign(payload, at=NOW, issuer=who["issuer"], subject=who["subject"])
    )
    (root / "acme.json").write_text(json.dumps(who))
    (root / "root.json").write_bytes(made.trusted_root())
    flags = [f"--trusted-identity=acme={root / 'acme.json'}"]
    flags.append(f"--trusted-root=house={root / 'root.json'}")
    assert _gate(models, capsys, *flags) == (0, "LineageVerified")
    (models / "modeling.py").write_text("import os")
    assert _gate(models, capsys, *flags) == (1, "NotSigned")
    (models / "modeling.py").unlink()
    (root / "acme.json").write_text(json.dumps({**who, "subject": "*@example.net"}))
    assert _gate(models, capsys, *flags) == (1, "NotSigned")
    policy = f"--policy={root / 'policy.yaml'}"
    assert main(["gate", "-f", str(MANIFEST), policy, *flags[:1]]) == 2
    assert "names no root" in capsys.readouterr().err
