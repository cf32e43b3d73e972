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


def _loaded(folder: Path) -> set[str]:
    code = (
        "import json, sys; from pedigree.cli import main;"
        f"code = main(['examine', '--json', {str(folder)!r}]);"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stderr)}


def test_a_plain_model_is_examined_without_what_only_others_need(
    tmp_path: Path,
) -> None:
    made_models.write(tmp_path / "model", made_models.llama(1))
    assert not _loaded(tmp_path / "model") & LATER


def test_a_signature_is_what_loads_its_verifier(tmp_path: Path) -> None:
    made_models.write(tmp_path, made_models.llama(1))
    (tmp_path / "model.sig").write_bytes(b"{}")
    assert "cryptography" in _loaded(tmp_path)
