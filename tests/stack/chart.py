# SPDX-License-Identifier: Apache-2.0
"""Renders the shipped chart with a real Helm and installs it with kubectl."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from controlplane import ControlPlane

CHART = Path(__file__).parents[2] / "charts" / "pedigree"
RELEASE = "pedigree"
TIMEOUT_S = 60.0  # about a hundred times what it takes

CRD = "CustomResourceDefinition"
WEBHOOKS = "ValidatingWebhookConfiguration"

Document = dict[str, Any]


class ChartError(Exception):
    """Helm refused to render the chart; the message is what it said."""


def render(helm: Path, *, namespace: str, values: Mapping[str, Any]) -> list[Document]:
    """What ``helm install`` would send to the API server, the CRDs included.

    Args:
        helm: The program.
        namespace: Of the release.
        values: What differs from the chart's values.yaml.

    Raises:
        ChartError: The values are refused.
    """
    text = run(
        helm,
        "template",
        RELEASE,
        str(CHART),
        f"--namespace={namespace}",
        "--include-crds",
        "--values=-",
        text=json.dumps(values),
    )
    return [document for document in yaml.safe_load_all(text) if document]


def run(helm: Path, *arguments: str, text: str = "") -> str:
    """Run Helm, isolated from the user's own settings; return what it printed.

    Raises:
        ChartError: It ended with an error.
    """
    result = subprocess.run(
        [helm, *arguments],
        input=text,
        capture_output=True,
        text=True,
        env={"HOME": "/nonexistent", "PATH": ""},
        timeout=TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        raise ChartError(result.stderr.strip())
    return result.stdout


def install(plane: ControlPlane, documents: Sequence[Document]) -> None:
    """Apply the documents as Helm would order them; to repeat it is fine.

    The namespaces that they are in are made first, then the CRDs, which are waited for,
    and last the webhook configuration, so that it gates nothing of the installation.
    """
    crds = [each for each in documents if each["kind"] == CRD]
    webhooks = [each for each in documents if each["kind"] == WEBHOOKS]
    rest = [each for each in documents if each["kind"] not in {CRD, WEBHOOKS}]
    metadata = [each["metadata"] for each in rest]
    names = sorted({each["namespace"] for each in metadata if "namespace" in each})
    _apply(plane, [*map(_namespace, names), *crds])
    if crds:
        plane.kubectl(
            "wait",
            "--for=condition=Established",
            f"--timeout={TIMEOUT_S:g}s",
            *(f"customresourcedefinition/{crd['metadata']['name']}" for crd in crds),
        )
    _apply(plane, rest)
    _apply(plane, webhooks)


def environment(documents: Sequence[Document], component: str) -> dict[str, str]:
    """The environment that a component's Deployment gives it.

    Raises:
        KeyError: The documents have no such Deployment, as when the webhook's Service
            is an ExternalName.
    """
    return {
        each["name"]: each["value"] for each in container(documents, component)["env"]
    }


def container(documents: Sequence[Document], component: str) -> Document:
    """The one container of a component's Deployment; see ``environment``."""
    deployment = find(documents, "Deployment", f"pedigree-{component}")
    found: Document
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


def find(documents: Sequence[Document], kind: str, name: str) -> Document:
    """The document of this kind and name.

    Raises:
        KeyError: There is none.
    """
    for document in documents:
        if document["kind"] == kind and document["metadata"]["name"] == name:
            return document
    raise KeyError(f"no {kind} named {name} was rendered")


def _namespace(name: str) -> Document:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _apply(plane: ControlPlane, documents: Sequence[Document]) -> None:
    if documents:
        items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        plane.kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--filename=-",
            input=json.dumps(items),
        )
