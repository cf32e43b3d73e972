# SPDX-License-Identifier: Apache-2.0
"""The demonstration as a stranger runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.demo]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def story() -> str:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'examples'}"}
    result = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "promise",
    [
        "support-bot: Pass LineageVerified",
        "cheap-bot: Fail LineageDenied",
        "Error from server (LineageDenied)",
        "honest-bot: Fail ClaimContradicted",
        "twin-bot: Unknown LineageUnknown",
        "broken-bot: Fail ArtifactInvalid",
        "support-bot: Fail LineageDenied",
        "no byte of weights was read",
        "kubectl get modeldeployments.pedigree.dev",
        "pedigree_admission_requests_total",
        "pedigree audit verify",
    ],
)
def test_the_demonstration_shows_what_it_promises(story: str, promise: str) -> None:
    # The narrator wraps at any space.
    assert " ".join(promise.split()) in " ".join(story.split())


def test_the_demonstration_leaves_no_process_behind(story: str) -> None:
    running = [
        path.read_bytes().replace(b"\0", b" ")
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    ]
    assert [line for line in running if b"pedigree-demo-" in line] == []
