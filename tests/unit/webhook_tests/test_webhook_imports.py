# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys

FORBIDDEN = {"numpy", "torch", "safetensors", "huggingface_hub", "pickle5", "kopf"}


def test_the_admission_path_imports_no_numerics() -> None:
    code = (
        "import json, sys, pedigree_webhook.service, pedigree_webhook.__main__;"
        "print(json.dumps(sorted(m.partition('.')[0] for m in sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(result.stdout))
    assert "pedigree_webhook" in loaded
    assert not FORBIDDEN & loaded


def test_reading_and_deciding_needs_no_framework() -> None:
    code = (
        "import json, sys, pedigree_webhook.decide, pedigree_webhook.review;"
        "print(json.dumps(sorted(m.partition('.')[0] for m in sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"fastapi", "kubernetes", "uvicorn"} & set(json.loads(result.stdout))
