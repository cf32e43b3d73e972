# SPDX-License-Identifier: Apache-2.0
"""The chart, rendered by a real Helm; without a cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helm_or_skip import helm_or_skip
from stack import chart

NAMESPACE = "pedigree-system"
CA = "-----BEGIN CERTIFICATE-----\nbm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----\n"
DIGEST = f"sha256:{'0' * 64}"
# The least that has to be set.
VALUES: dict[str, Any] = {
    "image": {"repository": "images.example/pedigree"},
    "certificates": {"caBundle": CA},
}
# Everything that makes more objects or more of one.
LARGEST: dict[str, Any] = {
    **VALUES,
    "image": {"repository": "images.example/pedigree", "digest": DIGEST},
    "certificates": {"mode": "certManager"},
    "rbac": {
        "auditors": [
            {
                "kind": "Group",
                "name": "auditors",
                "apiGroup": "rbac.authorization.k8s.io",
            }
        ]
    },
    "operator": {
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
        "extraVolumes": [{"name": "models", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "models", "mountPath": "/models"}],
        "persistence": {"storageClassName": "fast"},
    },
    "webhook": {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
}
OUTSIDE: dict[str, Any] = {
    "certificates": {"caBundle": CA},
    "webhook": {"service": {"externalName": "localhost", "port": 9443}},
}

Render = Callable[[dict[str, Any]], list[chart.Document]]


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm, built on first use (which takes minutes)."""
    return helm_or_skip()


@pytest.fixture(scope="session")
def render(helm: Path) -> Render:
    """Renders the chart with values, in the namespace pedigree-system."""
    return lambda values: chart.render(helm, namespace=NAMESPACE, values=values)


@pytest.fixture(scope="session")
def documents(render: Render) -> list[chart.Document]:
    """What ships when only what has no default is set."""
    return render(VALUES)


@pytest.fixture(scope="session", params=["least", "largest", "outside"])
def any_documents(
    request: pytest.FixtureRequest, render: Render
) -> list[chart.Document]:
    """Each of the ways to install it, in turn."""
    ways = {"least": VALUES, "largest": LARGEST, "outside": OUTSIDE}
    return render(ways[request.param])


@pytest.fixture(scope="session", params=["least", "largest"])
def running_documents(
    request: pytest.FixtureRequest, render: Render
) -> list[chart.Document]:
    """Each of the ways in which the components run in the cluster, in turn."""
    return render({"least": VALUES, "largest": LARGEST}[request.param])
