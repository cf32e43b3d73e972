# SPDX-License-Identifier: Apache-2.0
"""What an examination loads: each library takes longer than a small model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import made_models

LATER = {
    "cryptography",
    "fastapi",
    "httpx2",
    "huggingface_hub",
    "jinja2",
    "kubernetes",
    "matplotlib",
    "obstore",
    "rich",
    "yaml",
}

UNCOMPARED = {
    "pedigree.evidence",
    "pedigree.examine.examination",
    "pedigree.examine.safety.heads",
    "pedigree.examine.safety.templates",
    "pedigree.policy.references",
    "pedigree.registry",
    "pedigree.signatures",
}
"""Parts that say nothing about two models beside each other."""


def _loaded(*arguments: str) -> set[str]:
    """Names of all modules that a command loads."""
    code = (
        "import json, sys; from pedigree.cli import main;"
        f"code = main([*{arguments!r}, '--json']);"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stderr))


def test_a_plain_model_is_examined_without_what_only_others_need(
    tmp_path: Path,
) -> None:
    made_models.write(tmp_path / "model", made_models.llama(1))
    assert not _loaded("examine", str(tmp_path / "model")) & LATER


def test_a_signature_is_what_loads_its_verifier(tmp_path: Path) -> None:
    made_models.write(tmp_path, made_models.llama(1))
    (tmp_path / "model.sig").write_bytes(b"{}")
    assert "cryptography" in _loaded("examine", str(tmp_path))


def test_two_models_are_compared_without_what_an_examination_needs(
    tmp_path: Path,
) -> None:
    a, b = (
        made_models.write(tmp_path / str(seed), made_models.llama(seed))
        for seed in (1, 2)
    )
    template = {"chat_template": "{{ messages }}"}
    for folder in (a, b):
        (folder / "config.json").write_text('{"model_type": "llama"}')
        (folder / "README.md").write_text("---\nbase_model: org/base\n---\n")
        (folder / "tokenizer_config.json").write_text(json.dumps(template))
    loaded = _loaded("compare", str(a), str(b))
    assert not loaded & (LATER - {"yaml"} | UNCOMPARED)
    assert {"yaml", "pedigree.examine.safety.template_files"} <= loaded
