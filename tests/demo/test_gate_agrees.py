# SPDX-License-Identifier: Apache-2.0
"""The command line says offline what the cluster says, for the same objects."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demo.world import MANIFESTS, TENANT, World

pytestmark = [pytest.mark.cluster, pytest.mark.demo]

TOLD = ("result", "action", "reason", "message", "policyDigest")


def offline(world: World, folder: Path, policy: str) -> dict[str, dict[str, Any]]:
    """Verdicts of ``pedigree gate`` on every manifest of the demonstration, by name."""
    for path in MANIFESTS.glob("*.yaml"):
        text = path.read_text().replace("MODELS", str(world.models))
        (folder / path.name).write_text(text)
    objects = [f"--filename={path}" for path in sorted(folder.glob("[0-9]-*.yaml"))]
    command = [
        *(sys.executable, "-Im", "pedigree", "gate", "--json", *objects),
        f"--policy={folder / policy}",
        f"--reference-models={folder / 'references.yaml'}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stdout + result.stderr  # some are denied
    answers = json.loads(result.stdout)["objects"]
    return {each["name"]: each["verdict"] for each in answers}


def test_gate_gives_offline_the_verdicts_of_the_cluster(
    calm_world: World, tmp_path: Path
) -> None:
    objects = calm_world.get("modeldeployments.pedigree.dev", namespace=TENANT)["items"]
    cluster = {
        each["metadata"]["name"]: {key: each["status"]["verdict"][key] for key in TOLD}
        for each in objects
    }
    verdicts = offline(calm_world, tmp_path, "policy-tightened.yaml")
    assert len(cluster) == 5
    assert {
        name: {key: verdicts[name][key] for key in TOLD} for name in cluster
    } == cluster


def test_gate_gives_offline_the_refusal_of_the_webhook(
    calm_world: World, tmp_path: Path
) -> None:
    verdict = offline(calm_world, tmp_path, "policy.yaml")["cheap-bot-two"]
    token = calm_world.stack.token_file("auditor")
    found = calm_world.stack.ask_audit(
        "/api/v1/verdicts", token, kind="Admission", name="cheap-bot-two"
    )
    (item,) = found["items"]
    recorded = item["entry"]["verdict"]
    assert item["entry"]["decision"] == "Deny"
    assert {key: recorded[key] for key in TOLD} == {key: verdict[key] for key in TOLD}
